//! What metrics tell of decisions.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis_test_support::{Bed, condition};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_counted_by_policy_risk_and_the_rules_that_had_no_answer() {
    let bed = Bed::new("told").await;
    let risky = json!({"name": "some", "when": "true", "score": 50, "message": "some risk"});
    bed.policy("risky", json!({"rules": [risky]})).await;
    let broken = json!({
        "name": "broken", "when": "namespace.labels['none'] == ''", "effect": "Alert", "message": "m",
    });
    let match_ = json!({"namespaceSelector": {"matchLabels": {"broken": "yes"}}});
    bed.policy("broken", json!({"match": match_, "rules": [broken]})).await;
    let strict = json!({"name": "no", "when": "true", "effect": "Deny", "message": "no"});
    bed.policy("strict", json!({"mode": "Audit", "rules": [strict]})).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let [risky, broken, strict] =
        ["risky", "broken", "strict"].map(|name| format!("{}-{name}", bed.class));
    let by_policy = |policy: &str, outcome: &str| {
        let labels = [("policy", policy), ("outcome", outcome)];
        operator.metric("portcullis_policy_decisions_total", &labels)
    };
    assert_eq!((by_policy(&risky, "Alerted"), by_policy(&strict, "Denied")), (1.0, 1.0));
    let risk = |edge| operator.metric("portcullis_decision_risk_bucket", &[("le", edge)]);
    assert_eq!((risk("49.0"), risk("50.0"), risk("69.0")), (0.0, 1.0, 1.0));
    let failed = || {
        let labels = [("policy", broken.as_str()), ("rule", "broken")];
        operator.metric("portcullis_rule_errors_total", &labels)
    };
    assert_eq!(failed(), 0.0);

    bed.label_namespace("broken", Some("yes")).await;
    bed.wait_reason("orders", Reason::Denied).await;
    assert_eq!((failed(), by_policy(&broken, "Denied")), (1.0, 1.0));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_for_another_reason_than_before_is_said_and_recorded_anew() {
    let bed = Bed::new("told-anew").await;
    // Later than it takes to say so, and sooner than a wait lasts.
    let at = chrono::Utc::now() + Duration::from_secs(8);
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let rule = |name: &str, when: &str| {
        let when = format!("now {when} timestamp('{at}')");
        json!({"name": name, "when": when, "effect": "Deny", "message": format!("it is {name}")})
    };
    bed.policy("times", json!({"rules": [rule("early", "<"), rule("late", ">=")]})).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    for name in ["early", "late"] {
        let says = format!("it is {name}");
        let request = bed
            .wait_request("orders", &says, |r| {
                condition(r, "Authorized").is_some_and(|c| c.message.contains(&says))
            })
            .await;
        let decision = request.status.unwrap().decision.unwrap();
        let rules: Vec<String> = decision.factors.into_iter().map(|f| f.rule).collect();
        assert_eq!(rules, [name]);
    }
    let recorded = operator.audit.of("decision", "orders");
    let rules: Vec<&str> =
        recorded.iter().map(|r| r["decision"]["factors"][0]["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["early", "late"]);
    operator.stop().await;
}
