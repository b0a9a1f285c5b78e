//! Threat 8: a vault is taken from the token, and what was kept of it could go on being served. A refusal is no
//! outage. That an old, edited or swapped record of the cache brings nothing back is in `persistence`.

use portcullis::api::{CredentialRequest, Reason};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

/// Whether a request is refused for good, by a reason.
fn is_stalled(request: &CredentialRequest, reason: Reason) -> bool {
    condition(request, "Stalled").is_some_and(|c| c.reason == reason.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_taken_from_the_token_is_served_to_nobody_and_existing_secrets_stay() {
    let bed = Bed::new("vault-taken").await;
    let operator = bed.operator().await;
    for name in ["stays", "deleted"] {
        bed.request(name, |_| {}).await;
        bed.wait_ready(name).await;
    }
    let secret = bed.secret("stays").await;
    bed.connect.set_token_scope(&bed.token, &["infra"]);
    bed.wait_reason("stays", Reason::AccessDenied).await;
    // Before it is believed, and after.
    bed.delete_secret("deleted").await;
    bed.request("early", |_| {}).await;
    let denied = |r: &CredentialRequest| is_stalled(r, Reason::AccessDenied);
    for name in ["stays", "deleted", "early"] {
        let request = bed.wait_request(name, "to be stalled by AccessDenied", denied).await;
        let message = &condition(&request, "Stalled").unwrap().message;
        assert!(message.contains("services") && message.contains("no access"), "{message}");
    }
    bed.request("late", |_| {}).await;
    bed.wait_request("late", "to be stalled by AccessDenied", denied).await;
    wait::until("what was kept to be wiped", wait::WAIT, async || {
        let kept = operator.metric("portcullis_cache_entries", &[]);
        if kept == 0.0 { Ok(()) } else { Err(format!("{kept} values")) }
    })
    .await;
    // Nor when Connect is cut off besides, so that nobody can ask any more.
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("later", |_| {}).await;
    let told = |r: &CredentialRequest| condition(r, "Ready").is_some_and(|c| c.status == "False");
    bed.wait_request("later", "not to be ready", told).await;
    for name in ["deleted", "early", "late", "later"] {
        assert!(bed.secret(name).await.is_none(), "{name}");
    }
    assert_eq!(bed.secret("stays").await, secret);
    for (name, writes) in [("deleted", 1), ("early", 0), ("late", 0), ("later", 0)] {
        assert_eq!(bed.operator_calls_on_secret("create", name).await, writes, "{name}");
    }
    // Given back, it heals without anybody's doing.
    bed.connect.set_token_scope(&bed.token, &["*"]);
    bed.connect.restart().unwrap();
    for name in ["stays", "deleted", "early", "late", "later"] {
        bed.wait_ready(name).await;
    }
    assert_eq!(bed.secret("stays").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_archived_is_served_to_nobody_and_existing_secrets_stay() {
    let bed = Bed::new("item-taken").await;
    let operator = bed.operator().await;
    bed.request("stays", |_| {}).await;
    bed.wait_ready("stays").await;
    let secret = bed.secret("stays").await;
    bed.connect.archive_item("services", "orders-db").unwrap();
    bed.wait_reason("stays", Reason::ItemNotFound).await;
    bed.request("new", |_| {}).await;
    bed.wait_request("new", "to be stalled", |r| is_stalled(r, Reason::ItemNotFound)).await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.patch_request("new", json!({"spec": {"purpose": "another try"}})).await;
    bed.wait_reason("new", Reason::ConnectUnavailable).await;
    assert!(bed.secret("new").await.is_none());
    assert_eq!(bed.secret("stays").await, secret);
    operator.stop().await;
}
