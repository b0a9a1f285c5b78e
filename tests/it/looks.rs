//! Looks into vaults: as few lists as can be, and an answer for whoever waits for one.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, wait};
use serde_json::json;

use crate::restart::settled;

const LIST: &str = "GET /v1/vaults/{v}/items";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_of_one_vault_cost_one_list_at_the_start() {
    let bed = Bed::new("restart-lists").await;
    let operator = bed.operator().await;
    let names: Vec<String> = (0..40).map(|n| format!("orders-{n}")).collect();
    for name in &names {
        bed.request(name, |_| {}).await;
    }
    for name in &names {
        bed.wait_ready(name).await;
    }
    operator.stop().await;
    bed.connect.reset_requests();
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(300))).on(LIST));
    let operator = bed.operator().await;
    settled(&bed, &operator, names.len()).await;
    let asked = bed.connect.requests();
    assert_eq!((asked.route(LIST), asked.route(ITEM)), (1, 0), "{:?}", asked.log);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_slower_than_the_time_between_looks_still_tells_what_is_missing() {
    let bed = Bed::new("restart-slow").await;
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(600))).on(LIST));
    let operator = bed.operator().await;
    bed.request_data("typo", &[("k", "op://services/no-such-item/password")]).await;
    bed.wait_reason("typo", Reason::ItemNotFound).await;
    assert!(bed.connect.requests().route(LIST) <= 3, "{:?}", bed.connect.requests().log);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_missing_is_told_also_by_a_poll_that_finds_nothing_new() {
    let bed = Bed::new("restart-vault").await;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}])).await;
    bed.patch_server(json!({"spec": {"pollInterval": "1m"}})).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let polls = || bed.connect.requests().route("GET /v1/vaults");
    let last = polls();
    for n in 0..3 {
        let name = format!("typo-{n}");
        // Until the last poll is no fresh look any more.
        let before = polls();
        let same = async || {
            if polls() == before { Ok(()) } else { Err("a poll".to_owned()) }
        };
        wait::throughout("the long time between polls", Duration::from_millis(300), same).await;
        bed.request_data(&name, &[("k", "op://no-such-vault/x/y")]).await;
        bed.wait_reason(&name, Reason::VaultNotFound).await;
    }
    assert!(polls() <= last + 3);
    operator.stop().await;
}
