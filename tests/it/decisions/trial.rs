//! Policies on trial, what they count, and what they match by.

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::{Bed, wait};
use serde_json::{Value, json};

use super::{SYNCED, rule, wait_says};

async fn wait_counts(bed: &Bed, policy: &str, expected: Value) {
    wait::until(&format!("{policy} to count {expected}"), wait::WAIT, async || {
        let status = bed.policies().get(policy).await.unwrap().status.unwrap_or_default();
        let found = json!(status.requests);
        if found == expected { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

fn counts(allowed: i32, alerted: i32, deferred: i32, denied: i32) -> Value {
    json!({"allowed": allowed, "alerted": alerted, "deferred": deferred, "denied": denied})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_on_trial_counts_what_it_would_deny_and_denies_nothing() {
    let bed = Bed::new("trial").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.request_data("api", &[("k", "op://services/orders-api/password")]).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let api = "refs.exists(r, r.item == 'orders-api')";
    let strict = json!({"mode": "Audit", "rules": [rule(api, "Deny")]});
    let policy = bed.policy("strict", strict.clone()).await;
    wait_counts(&bed, &policy, counts(1, 0, 0, 1)).await;
    for name in ["orders", "api"] {
        wait_says(&bed, name, &SYNCED).await;
    }
    bed.delete_request("api").await;
    wait_counts(&bed, &policy, counts(1, 0, 0, 0)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_counts_requests_by_what_it_comes_to() {
    let bed = Bed::new("trial-counts").await;
    let operator = bed.operator().await;
    let named = |name: &str| format!("request.name == '{name}'");
    let policy = bed
        .policy(
            "all-kinds",
            json!({"rules": [
                {"name": "a", "when": named("alerted"), "effect": "Alert", "message": "a"},
                {"name": "b", "when": named("denied"), "score": 80, "message": "b"},
                {"name": "c", "when": format!("{} && now.getFullYear() > 2000", named("deferred")), "effect": "Defer",
                 "message": "c"},
            ]}),
        )
        .await;
    for name in ["allowed", "alerted", "denied", "deferred"] {
        bed.request(name, |_| {}).await;
    }
    wait_counts(&bed, &policy, counts(1, 1, 1, 1)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_matches_and_reads_types_of_items_and_classes_of_vaults() {
    let bed = Bed::new("trial-types").await;
    let value = format!("{}-type", bed.canary());
    let item = ItemSpec::new("machine").category("SERVER").field("password", &value);
    bed.connect.add_item("services", item).unwrap();
    bed.patch_server(
        json!({"spec": {"vaults": [{"name": "services", "class": "infrastructure"}]}}),
    )
    .await;
    bed.policy(
        "servers",
        json!({"match": {"types": ["SERVER"]}, "rules": [rule(
            "refs.exists(r, r.type == 'SERVER' && r.class == 'infrastructure')", "Deny",
        )]}),
    )
    .await;
    let operator = bed.operator().await;
    bed.request_data("machine", &[("k", "op://services/machine/password")]).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("machine", Reason::Denied).await;
    wait_says(&bed, "orders", &SYNCED).await;
    operator.stop().await;
}
