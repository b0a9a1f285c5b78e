//! A request that has to wait is decided on again, and granted when the time has come.

use std::time::Duration;

use portcullis::api::Outcome;
use portcullis_test_support::Bed;
use serde_json::json;

use super::{ALWAYS_FOR_NOW, SYNCED, rule, wait_says};

const DEFERRED: [&str; 4] = [
    "Ready=False Deferred",
    "Reconciling=True Deferred",
    "Authorized=False Deferred",
    "Synced=False Deferred",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_request_is_granted_by_itself_when_the_time_has_come() {
    let bed = Bed::new("deferred-time").await;
    // Later than it takes to say so, and sooner than a wait lasts.
    let at = chrono::Utc::now() + Duration::from_secs(8);
    let when =
        format!("now < timestamp('{}')", at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let policy = bed.policy("wait", json!({"rules": [rule(&when, "Defer")]})).await;
    let operator = bed.operator().await;
    bed.wait_policy(&policy, "True").await;
    bed.request("orders", |_| {}).await;
    let request = wait_says(&bed, "orders", &DEFERRED).await;
    let decision = request.status.unwrap().decision.unwrap();
    assert_eq!(decision.outcome, Outcome::Deferred);
    assert!(bed.secret("orders").await.is_none());
    wait_says(&bed, "orders", &SYNCED).await;
    let kinds: Vec<_> = operator
        .audit
        .of("decision", "orders")
        .iter()
        .map(|line| line["decision"]["outcome"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(kinds, ["Deferred", "Allowed"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_change_leaves_the_secret_as_it_was() {
    let bed = Bed::new("deferred-change").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let secret = bed.secret("orders").await;
    let policy = bed.policy("wait", json!({"rules": [rule(ALWAYS_FOR_NOW, "Defer")]})).await;
    bed.wait_policy(&policy, "True").await;
    let data = json!([{"key": "token", "ref": "op://services/orders-api/password"}]);
    bed.patch_request("orders", json!({"spec": {"data": data}})).await;
    wait_says(&bed, "orders", &DEFERRED).await;
    assert_eq!(bed.secret("orders").await, secret);
    bed.delete_policy(&policy).await;
    bed.wait_value("orders", "token", &bed.value("orders-api", "password")).await;
    operator.stop().await;
}
