//! What metrics tell of decisions.

use portcullis::api::Reason;
use portcullis_test_support::Bed;
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
