//! The main job: a request becomes a Secret, follows 1Password, and is repaired.

use portcullis::api::{Outcome, Reason};
use portcullis_test_support::{Bed, condition};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_becomes_a_secret() {
    let bed = Bed::new("path").await;
    let operator = bed.operator().await;
    bed.request_data("orders", &[("DATABASE_URL", "op://services/orders-db/url")]).await;
    let request = bed.wait_ready("orders").await;

    let secret = bed.wait_value("orders", "DATABASE_URL", &bed.value("orders-db", "url")).await;
    let owners = secret.metadata.owner_references.unwrap_or_default();
    assert_eq!(owners.len(), 1);
    assert_eq!(Some(&owners[0].uid), request.metadata.uid.as_ref());

    let status = request.status.unwrap();
    let decision = status.decision.unwrap();
    assert_eq!((decision.outcome, decision.risk_score), (Outcome::Allowed, 0));
    let sync = status.sync.unwrap();
    assert_eq!(sync.keys, ["DATABASE_URL"]);
    assert_eq!(sync.content_revision, 1);
    assert_eq!(status.history.len(), 1);
    assert_eq!(operator.audit.of("decision", "orders").len(), 1);
    assert_eq!(operator.audit.of("write", "orders").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_policy_denies_gets_nothing_and_is_told_why() {
    let bed = Bed::new("denied").await;
    let rule = json!({"name": "no-api", "when": "refs.exists(r, r.item == 'orders-api')", "effect": "Deny",
                      "message": "the API key is not for pods", "recommendation": "use workload identity"});
    bed.policy("strict", json!({"rules": [rule]})).await;
    let operator = bed.operator().await;
    bed.request_data("api", &[("KEY", "op://services/orders-api/password")]).await;

    let request = bed.wait_reason("api", Reason::Denied).await;
    let ready = condition(&request, "Ready").unwrap();
    assert!(ready.message.contains("the API key is not for pods"), "{}", ready.message);
    assert_eq!(condition(&request, "Stalled").unwrap().status, "True");
    assert_eq!(condition(&request, "Authorized").unwrap().status, "False");
    let decision = request.status.unwrap().decision.unwrap();
    assert_eq!(decision.outcome, Outcome::Denied);
    assert_eq!(decision.recommendations, ["use workload identity"]);
    assert!(bed.secret("api").await.is_none());
    assert_eq!(bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}"), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_follows_a_change_in_1password() {
    let bed = Bed::new("follow").await;
    let operator = bed.operator().await;
    bed.request_data("orders", &[("password", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("orders", "password", "rotated").await;
    let request = bed
        .wait_request("orders", "revision 2", |r| {
            r.status.as_ref().and_then(|s| s.sync.as_ref()).is_some_and(|s| s.content_revision == 2)
        })
        .await;
    assert_eq!(request.status.unwrap().history.len(), 2);
    operator.stop().await;
}
