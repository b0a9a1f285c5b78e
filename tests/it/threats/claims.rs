//! A tenant claims another environment or another consumer to dodge the rules for production, or relabels the
//! namespace: facts decide, and a claim that contradicts one is refused.

use std::time::Duration;

use portcullis::api::{Consumer, Outcome, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::{Bed, condition};
use serde_json::json;

const ENVIRONMENT: &str = "portcullis.dev/environment";

/// Asks with claims; `None` is the claim that is not made.
async fn ask(bed: &Bed, name: &str, environment: Option<&str>, consumer: Option<&str>) {
    bed.request(name, |spec| {
        spec.environment = environment.map(str::to_owned);
        spec.consumer = consumer.map(|c| Consumer { service_account_name: c.to_owned() });
    })
    .await;
}

async fn vault_is(bed: &Bed, environment: &str) {
    bed.patch_server(
        json!({"spec": {"vaults": [{"name": "services", "environment": environment}]}}),
    )
    .await;
}

/// A policy that denies production by its facts.
async fn no_production(bed: &Bed) {
    let rule = json!({"name": "production", "when": "refs.exists(r, r.environment == 'production')", "score": 80,
                      "message": "production needs an approval"});
    bed.policy("production", json!({"rules": [rule]})).await;
}

async fn assert_no_claim_dodges(bed: &Bed) {
    let claims = [
        ("none", None, None, Reason::Denied),
        ("honest", Some("production"), None, Reason::Denied),
        ("other-consumer", None, Some("batch"), Reason::Denied),
        ("honest-consumer", Some("production"), Some("batch"), Reason::Denied),
        ("staging", Some("staging"), None, Reason::EnvironmentMismatch),
        ("other-case", Some("Production"), None, Reason::EnvironmentMismatch),
        ("staging-consumer", Some("staging"), Some("batch"), Reason::EnvironmentMismatch),
    ];
    for (name, environment, consumer, _) in claims {
        ask(bed, name, environment, consumer).await;
    }
    for (name, environment, _, reason) in claims {
        let request = bed.wait_reason(name, reason).await;
        let ready = condition(&request, "Ready").unwrap();
        assert_eq!((&*ready.status, &*ready.reason), ("False", reason.as_str()), "{name}");
        assert_eq!(condition(&request, "Stalled").unwrap().status, "True", "{name}");
        if reason == Reason::EnvironmentMismatch {
            assert!(
                ready.message.contains("production")
                    && ready.message.contains(environment.unwrap()),
                "{}",
                ready.message
            );
        }
        assert_eq!(request.status.unwrap().decision.unwrap().outcome, Outcome::Denied, "{name}");
        assert!(bed.secret(name).await.is_none(), "{name} became a Secret");
    }
    assert_eq!(bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_dodges_the_rules_for_a_production_vault() {
    let bed = Bed::new("claims-vault").await;
    vault_is(&bed, "production").await;
    no_production(&bed).await;
    let operator = bed.operator().await;
    assert_no_claim_dodges(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_dodges_the_rules_for_a_production_namespace() {
    let bed = Bed::new("claims-namespace").await;
    bed.label_namespace(ENVIRONMENT, Some("production")).await;
    no_production(&bed).await;
    let operator = bed.operator().await;
    assert_no_claim_dodges(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vaults_environment_counts_before_the_label_of_the_namespace() {
    let bed = Bed::new("claims-both").await;
    vault_is(&bed, "production").await;
    bed.label_namespace(ENVIRONMENT, Some("staging")).await;
    no_production(&bed).await;
    let operator = bed.operator().await;
    assert_no_claim_dodges(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_a_fact_beside_it_stays_a_claim() {
    let bed = Bed::new("claims-free").await;
    let rules = json!([
        {"name": "claimed", "when": "request.claims.environment == 'production'", "effect": "Alert", "message": "it says so"},
        {"name": "fact", "when": "refs.exists(r, r.environment != '')", "effect": "Deny", "message": "a claim became a fact"},
        {"name": "consumer", "when": "request.claims.consumer == 'batch'", "score": 60, "message": "batch"},
    ]);
    bed.policy("watch", json!({"rules": rules})).await;
    // One that speaks of production covers nothing whose environment is only claimed.
    let rule = json!({"name": "any", "when": "true", "effect": "Deny", "message": "production"});
    bed.policy("scoped", json!({"match": {"environments": ["production"]}, "rules": [rule]})).await;
    let operator = bed.operator().await;
    for (name, environment, consumer, outcome) in [
        ("none", None, None, Outcome::Allowed),
        ("staging", Some("staging"), None, Outcome::Allowed),
        ("production", Some("production"), None, Outcome::Alerted),
        ("batch", None, Some("batch"), Outcome::Alerted),
    ] {
        ask(&bed, name, environment, consumer).await;
        let request = bed.wait_ready(name).await;
        assert_eq!(request.status.unwrap().decision.unwrap().outcome, outcome, "{name}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relabelling_the_namespace_decides_again_and_takes_no_secret_away() {
    let bed = Bed::new("claims-relabel").await;
    let operator =
        bed.operator_with(Settings { undo_window: Duration::ZERO, ..Settings::for_tests() }).await;
    ask(&bed, "orders", Some("staging"), None).await;
    bed.wait_ready("orders").await;
    let before = bed.secret("orders").await.unwrap().metadata.resource_version;
    bed.label_namespace(ENVIRONMENT, Some("production")).await;
    let request = bed.wait_reason("orders", Reason::EnvironmentMismatch).await;
    assert_eq!(condition(&request, "Ready").unwrap().status, "False");
    assert_eq!(request.status.unwrap().decision.unwrap().outcome, Outcome::Denied);
    assert_eq!(bed.secret("orders").await.unwrap().metadata.resource_version, before);
    bed.label_namespace(ENVIRONMENT, None).await;
    bed.wait_ready("orders").await;
    assert_eq!(bed.secret("orders").await.unwrap().metadata.resource_version, before);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_given_to_the_vault_later_decides_again() {
    let bed = Bed::new("claims-later").await;
    let operator = bed.operator().await;
    ask(&bed, "orders", Some("staging"), None).await;
    let first = bed.wait_ready("orders").await.status.unwrap().decision.unwrap();
    vault_is(&bed, "production").await;
    let request = bed.wait_reason("orders", Reason::EnvironmentMismatch).await;
    assert_ne!(request.status.unwrap().decision.unwrap().digest, first.digest);
    vault_is(&bed, "staging").await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}
