//! Threat 10: what a request was granted for changes after the decision, while its items are being fetched.
//! Connect answers items late, so that each change comes in between. Nothing is written under the grant that was
//! withdrawn, which the API server's audit log tells, and the request ends where the new facts lead.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, TestOperator, condition, wait};
use serde_json::json;

const ITEM_ROUTE: &str = "GET /v1/vaults/{v}/items/{i}";
/// How late an item is.
const LATE: Duration = Duration::from_millis(1200);

/// Waits until so many fetches have begun.
async fn wait_fetches(bed: &Bed, count: u64) {
    wait::until("the fetch to begin", wait::WAIT, async || {
        let begun = bed.connect.requests().route(ITEM_ROUTE);
        (begun >= count).then_some(()).ok_or_else(|| format!("{begun} fetches"))
    })
    .await;
}

/// A request `orders` that has been granted, with its fetch under way.
async fn under_way(bed: &Bed) -> TestOperator {
    let operator = bed.operator().await;
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(LATE)).on(ITEM_ROUTE));
    bed.request("orders", |_| {}).await;
    wait_fetches(bed, 1).await;
    operator
}

async fn assert_never_written(bed: &Bed) {
    assert_eq!(bed.operator_calls_on_secret("create", "orders").await, 0);
    assert!(bed.secret("orders").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_edit_only_what_the_new_spec_asks_for_is_written() {
    let bed = Bed::new("edited-between").await;
    let history = bed.observe_secrets().await;
    let operator = under_way(&bed).await;
    let data = json!([{"key": "user", "ref": "op://services/orders-db/username"}]);
    bed.patch_request("orders", json!({"spec": {"data": data}})).await;
    bed.wait_ready("orders").await;
    bed.wait_value("orders", "user", &bed.value("orders-db", "username")).await;
    for seen in history.of("orders") {
        let keys: Vec<_> = seen.secret().data.iter().flatten().map(|(k, _)| k.as_str()).collect();
        assert_eq!(keys, ["user"]);
    }
    assert_eq!(bed.operator_calls_on_secret("create", "orders").await, 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_suspension_nothing_is_written_until_it_ends() {
    let bed = Bed::new("suspended-between").await;
    let operator = under_way(&bed).await;
    bed.patch_request("orders", json!({"spec": {"suspend": true}})).await;
    // The status is of a run after the one that was under way.
    bed.wait_reason("orders", Reason::Suspended).await;
    assert_never_written(&bed).await;
    bed.patch_request("orders", json!({"spec": {"suspend": false}})).await;
    bed.wait_ready("orders").await;
    assert_eq!(bed.operator_calls_on_secret("create", "orders").await, 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_deleted_request_nothing_is_written() {
    let bed = Bed::new("deleted-between").await;
    let operator = under_way(&bed).await;
    bed.delete_request("orders").await;
    wait::throughout("no Secret", LATE + Duration::from_millis(800), async || {
        match bed.secret("orders").await {
            None => Ok(()),
            Some(_) => Err("a Secret".to_owned()),
        }
    })
    .await;
    assert_never_written(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_deleted_while_it_is_fetched_gives_its_place_to_the_next() {
    let bed = Bed::new("place-between").await;
    bed.patch_server(json!({"spec": {"limits": {"concurrency": 1}, "pollInterval": "1h"}})).await;
    // Long enough to see the next one wait.
    let settings = Settings { call_timeout: Duration::from_secs(10), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    let hang = bed.connect.fault(FaultSpec::new(FaultKind::Hang).on(ITEM_ROUTE).times(1));
    bed.request("orders", |_| {}).await;
    wait_fetches(&bed, 1).await;
    bed.connect.clear_fault(hang);
    bed.request("next", |_| {}).await;
    wait::until("the next one to wait for the place", wait::WAIT, async || {
        let parked = operator.metric("portcullis_queue", &[("state", "parked")]);
        if parked > 0.0 { Ok(()) } else { Err("it is not parked".to_owned()) }
    })
    .await;
    bed.delete_request("orders").await;
    bed.wait_ready("next").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_namespace_was_relabelled_policy_decides_anew() {
    let bed = Bed::new("label-between").await;
    let rule = json!({"name": "locked", "when": "has(namespace.labels.locked)", "effect": "Deny",
                      "message": "the namespace is locked"});
    let policy = bed.policy("locks", json!({"rules": [rule]})).await;
    let operator = under_way(&bed).await;
    bed.wait_policy(&policy, "True").await;
    bed.label_namespace("locked", Some("yes")).await;
    let request = bed.wait_reason("orders", Reason::Denied).await;
    assert_eq!(condition(&request, "Stalled").unwrap().status, "True");
    assert_never_written(&bed).await;
    bed.label_namespace("locked", None).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_to_deny_stops_what_it_would_have_denied() {
    let bed = Bed::new("policy-between").await;
    let operator = under_way(&bed).await;
    let rule = json!({"name": "none", "when": "true", "effect": "Deny", "message": "no more"});
    let policy = bed.policy("late", json!({"rules": [rule]})).await;
    bed.wait_reason("orders", Reason::Denied).await;
    assert_never_written(&bed).await;
    bed.delete_policy(&policy).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_access_row_nothing_is_written() {
    let bed = Bed::new("access-between").await;
    let operator = under_way(&bed).await;
    let elsewhere = json!([{"name": "other", "namespaces": {"names": ["other"]}, "vaults": [{"name": "services"}]}]);
    bed.set_access(elsewhere).await;
    bed.wait_reason("orders", Reason::VaultNotAllowed).await;
    assert_never_written(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_is_not_written_after_a_denial_and_the_old_one_stays() {
    let bed = Bed::new("update-between").await;
    // A Secret that was first written a moment ago would go again, and this one was.
    let settings = Settings { undo_window: Duration::ZERO, ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let before = bed.secret("orders").await.unwrap();
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(LATE)).on(ITEM_ROUTE));
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    wait_fetches(&bed, 2).await;
    let rule = json!({"name": "none", "when": "true", "effect": "Deny", "message": "no more"});
    bed.policy("late", json!({"rules": [rule]})).await;
    bed.wait_reason("orders", Reason::Denied).await;
    let after = bed.secret("orders").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    operator.stop().await;
}
