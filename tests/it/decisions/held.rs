//! A grant that stands is not refreshed while rules of what passes say so, and nothing else happens to it.

use portcullis_test_support::{Bed, wait};
use serde_json::json;

use super::{ALWAYS_FOR_NOW, ITEM, SYNCED, rule, wait_says};

const HELD: [&str; 3] =
    ["Ready=True HeldByPolicy", "Authorized=True Allowed", "Synced=False HeldByPolicy"];

#[tokio::test(flavor = "multi_thread")]
async fn a_held_refresh_fetches_and_writes_nothing_until_the_hold_is_over() {
    let bed = Bed::new("held-refresh").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let policy = bed.policy("hold", json!({"rules": [rule(ALWAYS_FOR_NOW, "Deny")]})).await;
    bed.wait_policy(&policy, "True").await;
    let secret = bed.secret("orders").await;
    let fetched = bed.connect.requests().route(ITEM);
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    let request = wait_says(&bed, "orders", &HELD).await;
    let status = request.status.unwrap();
    let synced = status.conditions.iter().find(|c| c.type_ == "Synced").unwrap();
    assert!(synced.message.contains("the rule is at work"), "{}", synced.message);
    assert!(status.sync.unwrap().stale_since.is_none(), "an outage is something else");
    assert_eq!(bed.secret("orders").await, secret);
    assert_eq!(bed.connect.requests().route(ITEM), fetched);
    assert!(operator.metric("portcullis_policy_holds_total", &[]) >= 1.0);
    let held = operator.audit.of("held", "orders");
    assert_eq!(held.len(), 1, "the first refresh that is held is recorded");
    assert!(held[0]["failure"].as_str().unwrap().contains("the rule is at work"), "{held:?}");
    assert_eq!(held[0]["decision"]["outcome"], "Allowed");
    assert!(held[0]["items"][0]["title"] == "orders-db" && held[0]["secret"].is_null());
    // What is new is denied by the same rule, for it is no refresh.
    bed.request("new", |_| {}).await;
    wait_says(
        &bed,
        "new",
        &[
            "Ready=False Denied",
            "Stalled=True Denied",
            "Authorized=False Denied",
            "Synced=False Denied",
        ],
    )
    .await;

    bed.delete_policy(&policy).await;
    bed.wait_value("orders", "password", &rotated).await;
    wait_says(&bed, "orders", &SYNCED).await;
    wait_says(&bed, "new", &SYNCED).await;
    assert_eq!(operator.audit.of("held", "orders").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_with_nothing_to_fetch_leaves_the_request_as_it_is() {
    let bed = Bed::new("held-idle").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let policy = bed.policy("hold", json!({"rules": [rule(ALWAYS_FOR_NOW, "Deny")]})).await;
    bed.wait_policy(&policy, "True").await;
    // Decided on again: the policy counts it.
    let wanted = json!({"allowed": 0, "alerted": 0, "deferred": 1, "denied": 0});
    wait::until("the hold to be counted", wait::WAIT, async || {
        let found = bed.policies().get(&policy).await.unwrap().status.unwrap_or_default().requests;
        if json!(found) == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    wait_says(&bed, "orders", &SYNCED).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spec_is_a_new_grant_and_the_same_one_after_a_restart_is_not() {
    let bed = Bed::new("held-spec").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let grants = json!({"rules": [{
        "name": "at-work", "occasions": ["Grant"], "when": ALWAYS_FOR_NOW, "effect": "Deny", "message": "nothing new",
    }]});
    let policy = bed.policy("no-grants", grants).await;
    bed.wait_policy(&policy, "True").await;
    operator.stop().await;
    let operator = bed.operator().await;
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    bed.wait_value("orders", "password", &rotated).await;
    let secret = bed.secret("orders").await;
    bed.patch_request("orders", json!({"spec": {"purpose": "something else"}})).await;
    wait_says(
        &bed,
        "orders",
        &[
            "Ready=False Denied",
            "Stalled=True Denied",
            "Authorized=False Denied",
            "Synced=False Denied",
        ],
    )
    .await;
    assert_eq!(bed.secret("orders").await, secret, "what was delivered stays");
    operator.stop().await;
}
