//! Fetching ahead, which takes nobody's place: neither another server's, nor that of whoever waits for a Secret.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{ConnectDev, FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::{Bed, TestOperator, wait};
use serde_json::json;

use super::{ITEM, fetches};

const ITEMS: usize = 4;

fn warmed(operator: &TestOperator, server: &str, result: &str) -> f64 {
    let labels = [("server", server), ("result", result)];
    operator.metric("portcullis_cache_warmed_total", &labels)
}

async fn wait_warmed(operator: &TestOperator, server: &str, items: usize) {
    wait::until(
        &format!("{items} items of {server} to be fetched ahead"),
        wait::WAIT,
        async || {
            let ok = warmed(operator, server, "ok");
            if ok == items as f64 { Ok(()) } else { Err(format!("{ok} are")) }
        },
    )
    .await;
}

/// Adds items to the bed's server, which is to be warmed.
async fn furnish(bed: &Bed) {
    for item in 0..ITEMS {
        let value = format!("{}-{item}", bed.canary());
        let item = ItemSpec::new(&format!("item-{item}")).field("password", &value);
        bed.connect.add_item("services", item).unwrap();
    }
    bed.patch_server(json!({"spec": {"cache": {"warm": true}}})).await;
}

/// Requests each of the items of a server, and waits for them.
async fn deliver(bed: &Bed, server: &str) {
    for item in 0..ITEMS {
        let name = format!("{server}-{item}");
        let data = [json!({"key": "k", "ref": format!("op://services/item-{item}/password")})];
        let spec = json!({"purpose": "a test", "serverRef": {"name": server}, "data": data});
        bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        bed.wait_ready(&name).await;
    }
}

/// A second ConnectServer of the bed: another address of the same account.
async fn second_server(bed: &Bed) -> (String, ConnectDev) {
    let (name, connect) = (format!("{}-second", bed.class), bed.connect.replica().unwrap());
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "second-token", "namespace": bed.operator_namespace,
                     "labels": {"portcullis.dev/purpose": "connect-token"},
                     "annotations": {"portcullis.dev/allowed-hosts": connect.url()}},
        "stringData": {"token": bed.token},
    }))
    .await;
    let mut manifest = bed.server_manifest();
    manifest["metadata"]["name"] = json!(name);
    manifest["spec"]["hosts"] = json!([{"url": connect.url()}]);
    manifest["spec"]["tokenSecretRef"] = json!({"name": "second-token"});
    manifest["spec"]["cache"] = json!({"warm": true});
    bed.apply(manifest).await;
    (name, connect)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_keeps_no_other_from_being_fetched_ahead_from() {
    let bed = Bed::new("warm-hung").await;
    furnish(&bed).await;
    let (second, connect) = second_server(&bed).await;
    let operator = bed.operator().await;
    deliver(&bed, &bed.server).await;
    deliver(&bed, &second).await;
    operator.stop().await;

    bed.connect.fault(FaultSpec::new(FaultKind::Hang).on(ITEM));
    bed.connect.reset_requests();
    connect.reset_requests();
    // Nothing times out while the test looks.
    let settings = Settings { call_timeout: Duration::from_secs(120), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    wait::until("the server that hangs to be asked", wait::WAIT, async || {
        let asked = fetches(&bed);
        if asked > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    wait_warmed(&operator, &second, ITEMS).await;
    assert_eq!(connect.requests().route(ITEM), ITEMS as u64);
    assert_eq!(fetches(&bed), 1, "one at a time");
    assert_eq!(warmed(&operator, &bed.server, "ok"), 0.0);
    assert_eq!(operator.metric("portcullis_cache_warming", &[]), ITEMS as f64);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_place_at_the_server_it_is_given_to_who_waits_and_all_is_fetched_ahead_in_the_end()
{
    let bed = Bed::new("warm-one").await;
    furnish(&bed).await;
    bed.patch_server(json!({"spec": {"limits": {"concurrency": 1}}})).await;
    let operator = bed.operator().await;
    deliver(&bed, &bed.server).await;
    operator.stop().await;

    bed.connect.reset_requests();
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_secs(1))).on(ITEM));
    let operator = bed.operator().await;
    wait::until("the first item to be asked for", wait::WAIT, async || {
        let asked = fetches(&bed);
        if asked > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    bed.request("new", |_| {}).await;
    bed.wait_ready("new").await;
    assert!(warmed(&operator, &bed.server, "ok") < ITEMS as f64, "it waited for all of them");
    wait_warmed(&operator, &bed.server, ITEMS).await;
    let asked = bed.connect.requests();
    assert_eq!((asked.route(ITEM), asked.max_in_flight), (ITEMS as u64 + 1, 1));
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    for item in 0..ITEMS {
        let name = format!("{}-{item}", bed.server);
        bed.delete_secret(&name).await;
        bed.wait_value(&name, "k", &format!("{}-{item}", bed.canary())).await;
    }
    operator.stop().await;
}
