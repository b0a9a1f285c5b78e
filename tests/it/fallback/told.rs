//! How long something stands in, and how it is told of: in Events and audit lines when it begins and when it ends,
//! and in a time that nothing but 1Password's answer makes younger.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason, Source};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, TestOperator, condition};
use serde_json::json;

use super::{
    ITEM_ROUTE, begin_outage, from_spare, operator_with, request, source, spare, stand_in,
    wait_event, wait_source,
};

const DB: &[(&str, &str)] = &[("password", "op://services/orders-db/password")];
const API: &[(&str, &str)] = &[("password", "op://services/orders-api/password")];

/// The changes of the Secret of a request with what they were made of, as recorded.
fn recorded(operator: &TestOperator, name: &str) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let lines = operator.audit.of("write", name);
    lines.iter().map(|l| (text(&l["secret"]["change"]), text(&l["secret"]["source"]))).collect()
}

fn changes(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|&(change, source)| (change.to_owned(), source.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_serving_from_the_cache_is_told_of_though_nothing_is_written() {
    let bed = Bed::new("told-cache").await;
    let operator = operator_with(&bed, &[]).await;
    begin_outage(&bed).await;
    request(&bed, "one", DB, json!({})).await;
    wait_source(&bed, "one", Source::Cache).await;
    assert_eq!(wait_event(&bed, "one", Reason::ServedFromCache, "gave earlier").await, "Warning");
    assert_eq!(recorded(&operator, "one"), changes(&[("created", "Cache")]));
    let secret = bed.secret("one").await;

    bed.connect.restart().unwrap();
    wait_source(&bed, "one", Source::Connect).await;
    let said = wait_event(&bed, "one", Reason::Synced, "holds what 1Password holds").await;
    assert_eq!(said, "Normal");
    assert_eq!(bed.secret("one").await, secret);
    assert_eq!(
        recorded(&operator, "one"),
        changes(&[("created", "Cache"), ("confirmed", "Connect")])
    );
    let history = bed.get_request("one").await.status.unwrap().history;
    let sources: Vec<_> = history.iter().map(|h| h.source.unwrap()).collect();
    assert_eq!(sources, [Source::Cache, Source::Connect]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_holds_what_1password_holds_gives_way_and_nothing_is_written() {
    let bed = Bed::new("told-env").await;
    let operator = operator_with(&bed, &[("SAME", &bed.value("orders-api", "password"))]).await;
    let mapped = json!([{"ref": "op://services/orders-api/password", "variable": "SAME"}]);
    bed.patch_server(json!({"spec": {"fallback": {"environment": mapped}}})).await;
    begin_outage(&bed).await;
    request(&bed, "one", API, json!({})).await;
    wait_source(&bed, "one", Source::Environment).await;
    let said = wait_event(&bed, "one", Reason::ServedFromEnvironment, "environment").await;
    assert_eq!(said, "Warning");
    let secret = bed.secret("one").await;

    bed.connect.reset_requests();
    bed.connect.restart().unwrap();
    let request = wait_source(&bed, "one", Source::Connect).await;
    assert_eq!(wait_event(&bed, "one", Reason::Synced, "Secret one").await, "Normal");
    // Not without a look at what 1Password holds.
    assert_eq!(bed.connect.requests().route(ITEM_ROUTE), 1);
    assert_eq!(bed.secret("one").await, secret);
    assert_eq!(
        recorded(&operator, "one"),
        changes(&[("created", "Environment"), ("confirmed", "Connect")])
    );
    let sync = request.status.unwrap().sync.unwrap();
    assert_eq!((sync.content_revision, sync.items.len()), (1, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_taken_back_is_recorded_with_what_it_was_made_of() {
    let bed = Bed::new("told-back").await;
    // As long as the test needs it, so that the order alone decides.
    let settings = Settings { undo_window: Duration::from_secs(60), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    spare(&bed, "Opaque", Some("spared"), &[("password", &stand_in(&bed, "secret"))]).await;
    begin_outage(&bed).await;
    request(&bed, "cached", DB, json!({})).await;
    wait_source(&bed, "cached", Source::Cache).await;
    request(&bed, "spared", API, from_spare()).await;
    wait_source(&bed, "spared", Source::FallbackSecret).await;
    let rule = json!({"name": "no", "when": "true", "effect": "Deny", "message": "withdrawn"});
    bed.policy("strict", json!({"rules": [rule]})).await;
    for (name, of) in [("good", "Connect"), ("cached", "Cache"), ("spared", "FallbackSecret")] {
        bed.wait_reason(name, Reason::Denied).await;
        bed.wait_no_secret(name).await;
        assert_eq!(recorded(&operator, name), changes(&[("created", of), ("taken back", of)]));
    }
    operator.stop().await;
}

fn stale_since(request: &CredentialRequest) -> String {
    let sync = request.status.as_ref().unwrap().sync.as_ref().unwrap();
    sync.stale_since.as_ref().unwrap().0.to_string()
}

/// Has a request looked at again, in a way that changes nothing about its Secret.
async fn look_again(bed: &Bed, purpose: &str) -> CredentialRequest {
    bed.patch_request("one", json!({"spec": {"purpose": purpose}})).await;
    wait_source(bed, "one", Source::FallbackSecret).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_does_so_since_it_began_however_often_it_is_looked_at_and_by_whom() {
    let bed = Bed::new("told-since").await;
    let operator = operator_with(&bed, &[]).await;
    spare(&bed, "Opaque", Some("one"), &[("password", &stand_in(&bed, "secret"))]).await;
    begin_outage(&bed).await;
    request(&bed, "one", API, from_spare()).await;
    let since = stale_since(&wait_source(&bed, "one", Source::FallbackSecret).await);
    let version = bed.secret("one").await.unwrap().resource_version();
    for purpose in ["first", "second", "third"] {
        assert_eq!(stale_since(&look_again(&bed, purpose).await), since);
    }
    // Also when it has to be made anew.
    bed.delete_secret("one").await;
    bed.wait_secret("one", |s| s.resource_version() != version).await;
    assert_eq!(stale_since(&look_again(&bed, "fourth").await), since);
    operator.stop().await;
    let operator = operator_with(&bed, &[]).await;
    assert_eq!(stale_since(&look_again(&bed, "fifth").await), since);
    bed.connect.restart().unwrap();
    wait_source(&bed, "one", Source::Connect).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_something_stood_in_for_stays_ready_when_its_reconcile_is_abandoned() {
    let bed = Bed::new("told-abandoned").await;
    let settings = Settings {
        reconcile_timeout: Duration::from_millis(200),
        call_timeout: Duration::from_secs(4),
        ..Settings::for_tests()
    };
    let operator = bed.operator_with(settings).await;
    spare(&bed, "Opaque", Some("one"), &[("password", &stand_in(&bed, "secret"))]).await;
    begin_outage(&bed).await;
    request(&bed, "one", API, from_spare()).await;
    let since = stale_since(&wait_source(&bed, "one", Source::FallbackSecret).await);
    let secret = bed.secret("one").await;
    // Longer than 200 ms and a quarter of the call's limit, and not so long that the call fails.
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_secs(3))).on(ITEM_ROUTE));
    bed.connect.restart().unwrap();
    let abandoned = bed.wait_reason("one", Reason::InternalError).await;
    let ready = condition(&abandoned, "Ready").unwrap();
    assert_eq!(ready.status, "True", "{}", ready.message);
    assert!(ready.message.contains("took longer"), "{}", ready.message);
    assert_eq!(source(&abandoned), Some(Source::FallbackSecret));
    assert_eq!(stale_since(&abandoned), since);
    assert_eq!(bed.secret("one").await, secret);
    bed.connect.clear_faults();
    wait_source(&bed, "one", Source::Connect).await;
    operator.stop().await;
}
