//! `onDenied: Delete`: a denial that lasts takes the Secret along, and nothing else does.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::{Bed, TestOperator};
use serde_json::{Value, json};

use super::{ALWAYS_FOR_NOW, SYNCED, rule, wait_says};

const DENIED: [&str; 4] =
    ["Ready=False Denied", "Stalled=True Denied", "Authorized=False Denied", "Synced=False Denied"];

/// One that takes nothing back: a Secret of a moment ago would go for another reason.
async fn operator(bed: &Bed) -> TestOperator {
    bed.operator_with(Settings { undo_window: Duration::ZERO, ..Settings::for_tests() }).await
}

fn deleting(rules: &Value) -> Value {
    json!({"onDenied": "Delete", "rules": rules})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_lasts_deletes_the_secret_and_records_it() {
    let bed = Bed::new("deleted").await;
    let operator = operator(&bed).await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let uid = bed.secret("orders").await.unwrap().metadata.uid.unwrap();
    let policy = bed.policy("end", deleting(&json!([rule("refs.size() > 0", "Deny")]))).await;
    bed.wait_no_secret("orders").await;
    let request = wait_says(&bed, "orders", &DENIED).await;
    assert!(request.status.unwrap().sync.is_none());
    let kinds: Vec<_> =
        ["intent", "write"].map(|kind| operator.audit.of(kind, "orders").len()).into();
    assert_eq!(kinds, [2, 2], "an intent and a write for each change");
    let line = operator.audit.of("write", "orders").pop().unwrap();
    assert_eq!(
        (&line["secret"]["change"], &line["secret"]["uid"]),
        (&json!("deleted"), &json!(uid))
    );
    // Somebody else's Secret of that name stays.
    let other = bed.create_secret("orders", &[("k", "not ours")]).await;
    bed.patch_request("orders", json!({"spec": {"purpose": "looked at again"}})).await;
    bed.wait_request("orders", "to be looked at again", |r| {
        r.status.as_ref().is_some_and(|s| s.observed_generation == r.metadata.generation)
    })
    .await;
    assert_eq!(bed.secret("orders").await, Some(other.clone()));
    // Once it is gone the request gets its own again, when it is allowed.
    bed.delete_secret("orders").await;
    bed.delete_policy(&policy).await;
    wait_says(&bed, "orders", &SYNCED).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_fails_or_does_not_compile_deletes_nothing() {
    let bed = Bed::new("deleted-not").await;
    let operator = operator(&bed).await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let secret = bed.secret("orders").await;
    let history = bed.observe_secrets().await;
    for (rules, reason) in [
        (json!([rule("namespace.labels['no-such-label'] == 'x'", "Deny")]), Reason::Denied),
        (json!([rule("nonsense(", "Deny")]), Reason::PolicyInvalid),
        (
            json!([{"name": "number", "when": "1 + 1", "score": 100, "message": "never seen"}]),
            Reason::Denied,
        ),
    ] {
        bed.policy("end", deleting(&rules)).await;
        bed.wait_reason("orders", reason).await;
        assert_eq!(bed.secret("orders").await, secret, "{reason}");
        bed.policy("end", deleting(&json!([]))).await;
        wait_says(&bed, "orders", &SYNCED).await;
    }
    // In an outage, and by what passes.
    bed.policy("end", deleting(&json!([rule("!service.reachable", "Deny"), rule_of_now()]))).await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.patch_request("orders", json!({"spec": {"purpose": "asked for in the outage"}})).await;
    bed.wait_reason("orders", Reason::Denied).await;
    assert_eq!(bed.secret("orders").await, secret);
    assert!(history.of("orders").is_empty());
    operator.stop().await;
}

fn rule_of_now() -> Value {
    let mut rule = rule(ALWAYS_FOR_NOW, "Deny");
    rule["name"] = json!("now");
    rule
}
