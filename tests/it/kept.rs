//! What is kept: for how long it outlives a change of its server, and what the metrics tell of it.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, TestOperator, wait};
use serde_json::json;

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";
const API: &str = "op://services/orders-api/password";

/// Waits until a series has a value.
async fn wait_metric(
    operator: &TestOperator,
    name: &str,
    labels: &[(&str, &str)],
    is: impl Fn(f64) -> bool,
) {
    wait::until(&format!("{name}{labels:?}"), wait::WAIT, async || {
        let value = operator.metric(name, labels);
        if is(value) { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_looked_for_fetched_shared_and_confirmed() {
    let bed = Bed::new("kept-metrics").await;
    let operator = bed.operator().await;
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(500))).on(ITEM));
    let names: Vec<String> = (0..5).map(|n| format!("orders-{n}")).collect();
    for name in &names {
        bed.request(name, |_| {}).await;
    }
    for name in &names {
        bed.wait_ready(name).await;
    }
    assert_eq!(bed.connect.requests().route(ITEM), 1);
    let server = ("server", bed.server.as_str());
    let lookups =
        |result| operator.metric("portcullis_cache_lookups_total", &[server, ("result", result)]);
    let (missing, fresh) = (lookups("missing"), lookups("fresh"));
    assert_eq!(missing + fresh, 5.0, "one for each: {missing} and {fresh}");
    let shared = operator.metric("portcullis_fetches_coalesced_total", &[server]);
    assert_eq!(shared, missing - 1.0, "all but the first had it from the first one's fetch");
    assert_eq!(operator.metric("portcullis_fetch_duration_seconds_count", &[]), 5.0);
    assert!(operator.metric("portcullis_fetch_duration_seconds_sum", &[]) >= 0.5);
    let class = [("class", "integrations")];
    wait_metric(&operator, "portcullis_cache_entries", &class, |n| n == 1.0).await;
    wait_metric(&operator, "portcullis_cache_bytes", &class, |n| n > 256.0).await;
    wait_metric(&operator, "portcullis_cache_confirmed_total", &[server], |n| n >= 2.0).await;
    let polled = operator.metric("portcullis_last_poll_timestamp_seconds", &[server]);
    assert!(polled > 1.7e9, "{polled}");
    let calls = |operation, code| {
        let labels = [server, ("operation", operation), ("code", code)];
        operator.metric("portcullis_connect_requests_total", &labels)
    };
    assert_eq!(calls("item", "2xx"), 1.0);
    assert!(calls("vaults", "2xx") >= 2.0 && calls("items", "2xx") >= 1.0);

    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("later", |_| {}).await;
    bed.wait_reason("later", Reason::ServedFromCache).await;
    let stale = lookups("fresh") + lookups("stale") - fresh;
    assert_eq!(stale, 1.0);
    let fallbacks = [server, ("source", "Cache")];
    assert_eq!(operator.metric("portcullis_fallbacks_total", &fallbacks), 1.0);
    wait_metric(&operator, "portcullis_stale_requests", &[], |n| n == 6.0).await;
    wait_metric(&operator, "portcullis_oldest_stale_seconds", &[], |n| n > 0.0).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_interval_or_limit_keeps_what_is_kept() {
    let bed = Bed::new("kept-interval").await;
    let operator = bed.operator().await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    for (n, spec) in [
        json!({"pollInterval": "2s"}),
        json!({"limits": {"concurrency": 2}}),
        json!({"limits": {"concurrency": 2, "requestsPerSecond": 50}}),
    ]
    .into_iter()
    .enumerate()
    {
        let polls = bed.connect.requests().route("GET /v1/vaults");
        bed.patch_server(json!({ "spec": spec })).await;
        // The server that is reached anew polls at once.
        wait::until("a poll", wait::WAIT, async || {
            let now = bed.connect.requests().route("GET /v1/vaults");
            if now > polls { Ok(()) } else { Err(format!("{now} polls")) }
        })
        .await;
        let name = format!("after-{n}");
        bed.request(&name, |_| {}).await;
        bed.wait_ready(&name).await;
    }
    assert_eq!(bed.connect.requests().route(ITEM), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_vault_goes_at_once_when_its_class_is_not_to_be_kept() {
    let bed = Bed::new("kept-reclassed").await;
    let operator = bed.operator().await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    wait_metric(&operator, "portcullis_cache_entries", &[], |n| n == 1.0).await;
    bed.patch_server(json!({"spec": {"vaults": [{"name": "services", "class": "emergency"}]}}))
        .await;
    wait_metric(&operator, "portcullis_cache_entries", &[], |n| n == 0.0).await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("second", |_| {}).await;
    bed.wait_reason("second", Reason::ConnectUnavailable).await;
    assert!(bed.secret("second").await.is_none());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_audit_lines_tell_when_something_else_serves_and_when_it_ends() {
    let bed = Bed::new("kept-told").await;
    let operator = bed.operator().await;
    bed.request_data("api", &[("password", API)]).await;
    bed.wait_ready("api").await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request_data("new", &[("password", API)]).await;
    bed.wait_reason("new", Reason::ServedFromCache).await;
    let resource = bed.secret("new").await;
    bed.connect.restart().unwrap();
    bed.wait_reason("new", Reason::Synced).await;
    assert_eq!(bed.secret("new").await, resource, "it was right all along");
    for reason in [Reason::ServedFromCache, Reason::Synced] {
        wait::until(&format!("an Event {reason}"), wait::WAIT, async || {
            let events = bed.events("new").await;
            let reasons: Vec<_> = events.iter().filter_map(|e| e.reason.clone()).collect();
            if reasons.iter().any(|r| r == reason.as_str()) {
                Ok(())
            } else {
                Err(format!("{reasons:?}"))
            }
        })
        .await;
    }
    let lines = operator.audit.of("write", "new");
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["secret"]["change"].clone(), line["secret"]["source"].clone()))
        .collect();
    assert_eq!(told, [("created".into(), "Cache".into()), ("confirmed".into(), "Connect".into())]);
    operator.stop().await;
}
