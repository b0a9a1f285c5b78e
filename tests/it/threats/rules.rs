//! A slip of a policy's author, or malice: a rule that is too much to parse or to evaluate must neither bring the
//! operator down nor count as one that did not match.

use portcullis::api::Reason;
use portcullis_test_support::Bed;
use serde_json::json;

use super::policies::{rule, valid_message};

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_beyond_any_bound_is_refused_by_name_and_never_brings_the_operator_down() {
    let bed = Bed::new("policy-bounds").await;
    let operator = bed.operator().await;
    let deep = |open: &str, n: usize, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(n), close.repeat(n))
    };
    let rules = [
        ("too long in bytes", format!("'{}' == ''", "ä".repeat(600)), "bytes"),
        ("brackets", deep("(", 450, "true", ")"), "nests deeper"),
        ("lists", deep("[", 450, "1", "]"), "nests deeper"),
        ("not", format!("{}true", "!".repeat(900)), "nests deeper"),
        ("after a comment", format!("// it's\n{}", deep("(", 450, "true", ")")), "line"),
        ("after a raw string", format!(r"r'\' == '' || {}", deep("(", 450, "true", ")")), "line"),
        (
            "after a long string",
            format!("'''it's''' == '' || {}", deep("(", 450, "true", ")")),
            "line",
        ),
        (
            "brackets closed in strings",
            format!("{}true", "((')))))'==''||".repeat(60)),
            "nests deeper",
        ),
        ("a long sum", format!("{}1 != 1", "1+".repeat(500)), "nests deeper"),
        ("a long path", format!("request{} == ''", ".a".repeat(490)), "nests deeper"),
        ("a long index", format!("refs{} == ''", "[0]".repeat(320)), "nests deeper"),
        ("conditionals", format!("{}true", "true?true:".repeat(90)), "nests deeper"),
        ("comprehensions", "refs.all(a, refs.all(b, refs.all(c, true)))".to_owned(), "nest 2 deep"),
        ("unknown", "today > 3".to_owned(), "today"),
        (
            "lists in lists",
            "refs.all(a, refs.all(b, a.item.matches(b.item) || b.item.matches(a.item) || a.vault.matches(b.vault)))"
                .to_owned(),
            "steps",
        ),
        ("function", "lists.range(9).size() > 3".to_owned(), "range"),
    ];
    for (what, when, told) in rules {
        assert!(when.chars().count() <= 1024, "{what} is refused by the schema");
        let name = bed.policy("bound", json!({"rules": [rule("at-fault", &when)]})).await;
        let message = valid_message(&bed.wait_policy(&name, "False").await);
        assert!(message.contains("rule at-fault") && message.contains(told), "{what}: {message}");
        let request = what.replace(' ', "-");
        bed.request(&request, |_| {}).await;
        bed.wait_reason(&request, Reason::PolicyInvalid).await;
        assert!(bed.secret(&request).await.is_none(), "{what}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_fails_denies_and_says_so() {
    let bed = Bed::new("policy-fails").await;
    bed.policy("fails", json!({"rules": [
        {"name": "label", "when": "namespace.labels['no-such-label'] == 'x'", "score": 1, "message": "never seen"},
        {"name": "number", "when": "1 + 1", "score": 1, "message": "never seen"},
    ]}))
    .await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    let request = bed.wait_reason("orders", Reason::Denied).await;
    let decision = request.status.unwrap().decision.unwrap();
    let rules: Vec<_> = decision.factors.iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(rules, ["label", "number"]);
    assert!(
        decision.factors.iter().all(|f| f.message.contains("the rule")),
        "{:?}",
        decision.factors
    );
    operator.stop().await;
}
