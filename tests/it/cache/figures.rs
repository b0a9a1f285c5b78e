//! What the metrics say of fetching, keeping and falling back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::{Bed, TestOperator, wait};
use serde_json::json;

use super::{ITEM, fetches, wait_kept};

/// Waits for a metric to be as `is` says; its value.
async fn wait_metric(
    operator: &TestOperator,
    name: &str,
    labels: &[(&str, &str)],
    is: impl Fn(f64) -> bool,
) -> f64 {
    wait::until(&format!("{name} {labels:?}"), wait::WAIT, async || {
        let value = operator.metric(name, labels);
        if is(value) { Ok(value) } else { Err(format!("{value}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_fetching_keeping_confirming_and_serving_are_told_by_metrics() {
    let bed = Bed::new("figures").await;
    bed.patch_server(json!({"spec": {"vaults": [{"name": "services", "class": "services"}]}}))
        .await;
    let operator = bed.operator().await;
    let server = [("server", bed.server.as_str())];
    let looked = |result| {
        let labels = [server[0], ("result", result)];
        operator.metric("portcullis_cache_lookups_total", &labels)
    };
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    wait_kept(&operator, 1.0).await;
    let missing = looked("missing");
    assert!(missing >= 1.0 && looked("fresh") == 0.0 && looked("stale") == 0.0);
    assert_eq!(operator.metric("portcullis_fetch_duration_seconds_count", &[]), 1.0);
    let bytes = operator.metric("portcullis_cache_bytes", &[("class", "services")]);
    assert!(bytes > 256.0, "{bytes}");
    assert_eq!(
        operator.metric("portcullis_cache_bytes", &[]),
        bytes,
        "nothing is of another class"
    );

    bed.request("second", |_| {}).await;
    bed.wait_ready("second").await;
    assert_eq!((looked("missing"), looked("fresh")), (missing, 1.0));
    assert_eq!(operator.metric("portcullis_fetch_duration_seconds_count", &[]), 2.0);

    let confirmed = "portcullis_cache_confirmed_total";
    let before = operator.metric(confirmed, &server);
    wait_metric(&operator, confirmed, &server, |now| now > before).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let polled = operator.metric("portcullis_last_poll_timestamp_seconds", &server);
    assert!(polled > now - 10.0 && polled < now + 10.0, "{polled} is no poll of just now, {now}");

    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    let away = operator.metric("portcullis_last_poll_timestamp_seconds", &server);
    let oldest = "portcullis_oldest_stale_seconds";
    wait_metric(&operator, oldest, &[], |age| age > 2.0).await;
    bed.request("third", |_| {}).await;
    bed.wait_reason("third", Reason::ServedFromCache).await;
    let fallbacks = [server[0], ("source", "Cache")];
    assert_eq!(operator.metric("portcullis_fallbacks_total", &fallbacks), 1.0);
    assert_eq!(operator.metric("portcullis_fallbacks_total", &[]), 1.0);
    let refused = [server[0], ("operation", "vaults"), ("code", "refused-connection")];
    assert!(operator.metric("portcullis_connect_requests_total", &refused) >= 2.0);
    assert_eq!(operator.metric("portcullis_last_poll_timestamp_seconds", &server), away);
    bed.connect.restart().unwrap();
    wait_metric(&operator, "portcullis_last_poll_timestamp_seconds", &server, |at| at > away).await;
    wait_metric(&operator, oldest, &[], |age| age < 2.0).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_past_its_time_counts_as_stale_when_it_is_looked_for() {
    let bed = Bed::new("figures-stale").await;
    let classes = json!([{"name": "integrations", "ttl": "1s"}]);
    // No poll comes in between that would confirm it.
    bed.patch_server(json!({"spec": {"pollInterval": "1h", "classes": classes}})).await;
    let operator = bed.operator().await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    wait_kept(&operator, 1.0).await;
    let kept = Instant::now();
    wait::until("the value to be old", wait::WAIT, async || {
        let age = kept.elapsed();
        (age > Duration::from_secs(1)).then_some(()).ok_or_else(|| format!("{age:?}"))
    })
    .await;
    bed.request("second", |_| {}).await;
    bed.wait_ready("second").await;
    let stale = [("result", "stale")];
    assert_eq!(operator.metric("portcullis_cache_lookups_total", &stale), 1.0);
    assert_eq!(fetches(&bed), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_serves_many_counts_as_shared_by_all_but_one() {
    let bed = Bed::new("figures-shared").await;
    let operator = bed.operator().await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_secs(1))).on(ITEM));
    for n in 0..4 {
        bed.request(&format!("orders-{n}"), |_| {}).await;
    }
    for n in 0..4 {
        bed.wait_ready(&format!("orders-{n}")).await;
    }
    let shared = [("server", bed.server.as_str())];
    let coalesced = operator.metric("portcullis_fetches_coalesced_total", &shared);
    let missing = [shared[0], ("result", "missing")];
    let missing = operator.metric("portcullis_cache_lookups_total", &missing);
    // Whoever did not find it kept shared the one fetch that there was.
    assert!(missing >= 2.0, "{missing}");
    assert_eq!((fetches(&bed), coalesced), (1, missing - 1.0));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_have_to_go_for_others_are_counted() {
    let bed = Bed::new("figures-evicted").await;
    // Room for two of these values.
    let long = |n: usize| format!("{}-{n}-{}", bed.canary(), "x".repeat(8 << 10));
    for n in 0..3 {
        let item = ItemSpec::new(&format!("long-{n}")).field("password", &long(n));
        bed.connect.add_item("services", item).unwrap();
    }
    let operator =
        bed.operator_with(Settings { cache_bytes: 24 << 10, ..Settings::for_tests() }).await;
    for n in 0..3 {
        let (name, of) = (format!("long-{n}"), format!("op://services/long-{n}/password"));
        bed.request_data(&name, &[("k", &of)]).await;
        bed.wait_value(&name, "k", &long(n)).await;
    }
    let evicted = "portcullis_cache_evicted_values";
    wait_metric(&operator, evicted, &[], |values| values == 1.0).await;
    wait_kept(&operator, 2.0).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_left_alone_is_told_of_until_it_is_there_again() {
    let bed = Bed::new("figures-breaker").await;
    // Three different things have to fail, with no poll in between by which the server would count as away.
    let item = ItemSpec::new("orders-web").field("password", &format!("{}-web", bed.canary()));
    bed.connect.add_item("services", item).unwrap();
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let operator = bed.operator().await;
    let host = bed.connect.url();
    let open = [("server", bed.server.as_str()), ("host", host.as_str())];
    let items = ["orders-db", "orders-api", "orders-web"];
    for item in items {
        bed.request_data(item, &[("k", &format!("op://services/{item}/password"))]).await;
        bed.wait_ready(item).await;
    }
    let breaker = "portcullis_connect_breaker_open";
    assert_eq!(operator.metric(breaker, &open), 0.0);
    assert!(operator.metrics.encode().contains(&format!("host=\"{host}\"}} 0")));
    bed.connect.fault(FaultSpec::new(FaultKind::Status { code: 503, message: "no".to_owned() }));
    for name in items {
        let annotations = json!({portcullis::api::REFRESH_ANNOTATION: "now"});
        bed.patch_request(name, json!({"metadata": {"annotations": annotations}})).await;
    }
    wait_metric(&operator, breaker, &open, |state| state == 1.0).await;
    let beats = [("operation", "heartbeat"), ("code", "5xx")];
    assert!(operator.metric("portcullis_connect_requests_total", &beats) >= 1.0);
    bed.connect.clear_faults();
    // Those who want to be sure go on asking.
    wait_metric(&operator, breaker, &open, |state| state == 0.0).await;
    let beats = [("operation", "heartbeat"), ("code", "2xx")];
    assert!(operator.metric("portcullis_connect_requests_total", &beats) >= 1.0);
    operator.stop().await;
}
