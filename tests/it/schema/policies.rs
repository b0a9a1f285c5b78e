//! CredentialPolicy.

use serde_json::{Value, json};

use super::{ACCEPTED, Case, check, remove};

fn policy() -> Value {
    json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "CredentialPolicy",
        "metadata": {"name": "schema"},
        "spec": {"rules": [{"name": "r", "when": "true", "score": 1, "message": "m"}]},
    })
}

#[tokio::test]
async fn fields() {
    check(
        &policy(),
        &[
            Case("the valid policy", |_| {}, ACCEPTED),
            Case("an empty spec", |o| o["spec"] = json!({}), ACCEPTED),
            Case(
                "everything set",
                |o| {
                    o["spec"]["controllerClass"] = json!("blue");
                    o["spec"]["match"] = json!({
                        "namespaceSelector": {"matchLabels": {"team": "shop"},
                            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["1"]}]},
                        "vaults": ["shop-*"], "environments": ["production"]});
                    o["spec"]["mode"] = json!("Enforce");
                    o["spec"]["thresholds"] = json!({"alert": 10, "deny": 20});
                    o["spec"]["onDenied"] = json!("Retain");
                },
                ACCEPTED,
            ),
            Case("no spec", |o| remove(o, "/spec"), &["spec: Required value"]),
            Case("an unknown field", |o| o["spec"]["rule"] = json!([]), &["unknown field \"spec.rule\""]),
            Case("too long a class", |o| o["spec"]["controllerClass"] = json!("c".repeat(64)), &["spec.controllerClass: Too long"]),
            Case("audit alone", |o| o["spec"]["mode"] = json!("Audit"), ACCEPTED),
            Case("deleting", |o| o["spec"]["onDenied"] = json!("Delete"), ACCEPTED),
            Case("types", |o| o["spec"]["match"] = json!({"types": ["LOGIN", "DATABASE"]}), ACCEPTED),
            Case(
                "no types",
                |o| o["spec"]["match"] = json!({"types": []}),
                &["spec.match.types: Invalid value", "at least 1"],
            ),
            Case("another mode", |o| o["spec"]["mode"] = json!("Warn"), &["spec.mode: Unsupported value", "\"Enforce\""]),
            Case("another end", |o| o["spec"]["onDenied"] = json!("Burn"), &["spec.onDenied: Unsupported value", "\"Retain\""]),
        ],
    )
    .await;
}

#[tokio::test]
async fn matches() {
    const VALUES: &str =
        "values must be set for In and NotIn, and empty for Exists and DoesNotExist";
    check(
        &policy(),
        &[
            Case("an empty match", |o| o["spec"]["match"] = json!({}), ACCEPTED),
            Case("no vaults", |o| o["spec"]["match"] = json!({"vaults": []}), &["spec.match.vaults", "at least 1 items"]),
            Case("an empty vault", |o| o["spec"]["match"] = json!({"vaults": [""]}), &["spec.match.vaults[0]"]),
            Case("too many vaults", |o| o["spec"]["match"] = json!({"vaults": vec!["v"; 65]}), &["spec.match.vaults: Too many"]),
            Case("too long a vault", |o| o["spec"]["match"] = json!({"vaults": ["v".repeat(257)]}), &["spec.match.vaults[0]: Too long"]),
            Case("no environments", |o| o["spec"]["match"] = json!({"environments": []}), &["spec.match.environments"]),
            Case("an empty environment", |o| o["spec"]["match"] = json!({"environments": [""]}), &["spec.match.environments[0]"]),
            Case("too many environments", |o| o["spec"]["match"] = json!({"environments": vec!["e"; 33]}), &["spec.match.environments: Too many"]),
            Case("too long an environment", |o| o["spec"]["match"] = json!({"environments": ["e".repeat(64)]}), &["spec.match.environments[0]: Too long"]),
            Case("an empty selector", |o| select(o, json!({})), ACCEPTED),
            Case("Exists", |o| expression(o, json!({"key": "k", "operator": "Exists"})), ACCEPTED),
            Case("NotIn", |o| expression(o, json!({"key": "k", "operator": "NotIn", "values": ["a", ""]})), ACCEPTED),
            Case("In without values", |o| expression(o, json!({"key": "k", "operator": "In"})), &["spec.match.namespaceSelector.matchExpressions[0]", VALUES]),
            Case("In with no values", |o| expression(o, json!({"key": "k", "operator": "In", "values": []})), &[VALUES]),
            Case("DoesNotExist with values", |o| expression(o, json!({"key": "k", "operator": "DoesNotExist", "values": ["a"]})), &[VALUES]),
            Case("another operator", |o| expression(o, json!({"key": "k", "operator": "Gt"})), &["operator: Unsupported value", "\"Exists\""]),
            Case("no operator", |o| expression(o, json!({"key": "k"})), &["operator: Required value"]),
            Case("no key", |o| expression(o, json!({"operator": "Exists"})), &["key: Required value"]),
            Case("an empty key", |o| expression(o, json!({"key": "", "operator": "Exists"})), &["key"]),
            Case("too long a value", |o| expression(o, json!({"key": "k", "operator": "In", "values": ["v".repeat(64)]})), &["values[0]: Too long"]),
            Case("too many values", |o| expression(o, json!({"key": "k", "operator": "In", "values": vec!["v"; 33]})), &["values: Too many"]),
            Case("too many expressions", |o| select(o, json!({"matchExpressions": vec![json!({"key": "k", "operator": "Exists"}); 33]})), &["matchExpressions: Too many"]),
            Case("too many labels", |o| select(o, json!({"matchLabels": labels(33)})), &["matchLabels: Too many"]),
            Case("the most labels", |o| select(o, json!({"matchLabels": labels(32)})), ACCEPTED),
            Case("too long a label", |o| select(o, json!({"matchLabels": {"team": "v".repeat(64)}})), &["matchLabels.team: Too long"]),
        ],
    )
    .await;
}

fn select(object: &mut Value, selector: Value) {
    object["spec"]["match"]["namespaceSelector"] = selector;
}

fn expression(object: &mut Value, expression: Value) {
    object["spec"]["match"]["namespaceSelector"]["matchExpressions"] =
        Value::Array(vec![expression]);
}

fn labels(count: usize) -> Value {
    (0..count)
        .map(|n| (format!("label-{n}"), json!("v".repeat(63))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn thresholds() {
    const ORDER: &str =
        "thresholds.alert (50 when absent) must not be above thresholds.deny (70 when absent)";
    check(
        &policy(),
        &[
            Case("none", |o| o["spec"]["thresholds"] = json!({}), ACCEPTED),
            Case("equal", |o| o["spec"]["thresholds"] = json!({"alert": 30, "deny": 30}), ACCEPTED),
            Case(
                "the bounds",
                |o| o["spec"]["thresholds"] = json!({"alert": 1, "deny": 100}),
                ACCEPTED,
            ),
            Case(
                "the wrong order",
                |o| o["spec"]["thresholds"] = json!({"alert": 31, "deny": 30}),
                &["spec.thresholds", ORDER],
            ),
            Case("alert alone", |o| o["spec"]["thresholds"] = json!({"alert": 70}), ACCEPTED),
            Case(
                "alert above what deny is",
                |o| o["spec"]["thresholds"] = json!({"alert": 71}),
                &["spec.thresholds", ORDER],
            ),
            Case("deny alone", |o| o["spec"]["thresholds"] = json!({"deny": 50}), ACCEPTED),
            Case(
                "deny below what alert is",
                |o| o["spec"]["thresholds"] = json!({"deny": 49}),
                &["spec.thresholds", ORDER],
            ),
            Case(
                "zero",
                |o| o["spec"]["thresholds"] = json!({"alert": 0}),
                &["spec.thresholds.alert", "greater than or equal to 1"],
            ),
            Case(
                "above 100",
                |o| o["spec"]["thresholds"] = json!({"deny": 101}),
                &["spec.thresholds.deny", "less than or equal to 100"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn rules() {
    const ONE: &str = "a rule has exactly one of score and effect";
    check(
        &policy(),
        &[
            Case("no rules", |o| o["spec"]["rules"] = json!([]), ACCEPTED),
            Case("the most and longest rules", |o| o["spec"]["rules"] = many(64), ACCEPTED),
            Case(
                "too many rules",
                |o| o["spec"]["rules"] = many(65),
                &["spec.rules: Too many: 65: must have at most 64"],
            ),
            Case(
                "a name twice",
                |o| o["spec"]["rules"] = json!([o["spec"]["rules"][0], o["spec"]["rules"][0]]),
                &["spec.rules[1]: Duplicate value: {\"name\":\"r\"}"],
            ),
            Case("an effect", |o| effect(o, "Deny"), ACCEPTED),
            Case("an alert", |o| effect(o, "Alert"), ACCEPTED),
            Case("a deferral", |o| effect(o, "Defer"), ACCEPTED),
            Case("for grants", |o| o["spec"]["rules"][0]["occasions"] = json!(["Grant"]), ACCEPTED),
            Case(
                "for both",
                |o| o["spec"]["rules"][0]["occasions"] = json!(["Refresh", "Grant"]),
                ACCEPTED,
            ),
            Case(
                "for nothing",
                |o| o["spec"]["rules"][0]["occasions"] = json!([]),
                &["spec.rules[0].occasions: Invalid value", "at least 1"],
            ),
            Case(
                "for grants twice",
                |o| o["spec"]["rules"][0]["occasions"] = json!(["Grant", "Grant"]),
                &["spec.rules[0].occasions[1]: Duplicate value"],
            ),
            Case(
                "for something else",
                |o| o["spec"]["rules"][0]["occasions"] = json!(["Delete"]),
                &["spec.rules[0].occasions[0]: Unsupported value", "\"Grant\", \"Refresh\""],
            ),
            Case(
                "another effect",
                |o| effect(o, "Log"),
                &["spec.rules[0].effect: Unsupported value", "\"Alert\", \"Defer\", \"Deny\""],
            ),
            Case(
                "neither score nor effect",
                |o| remove(o, "/spec/rules/0/score"),
                &["spec.rules[0]", ONE],
            ),
            Case(
                "both score and effect",
                |o| o["spec"]["rules"][0]["effect"] = json!("Deny"),
                &["spec.rules[0]", ONE],
            ),
            Case(
                "a null score",
                |o| o["spec"]["rules"][0]["score"] = Value::Null,
                &["spec.rules[0]", ONE],
            ),
            Case("the highest score", |o| o["spec"]["rules"][0]["score"] = json!(100), ACCEPTED),
            Case(
                "no score",
                |o| o["spec"]["rules"][0]["score"] = json!(0),
                &["spec.rules[0].score", "greater than or equal to 1"],
            ),
            Case(
                "too high a score",
                |o| o["spec"]["rules"][0]["score"] = json!(101),
                &["spec.rules[0].score", "less than or equal to 100"],
            ),
            Case(
                "half a point",
                |o| o["spec"]["rules"][0]["score"] = json!(1.5),
                &["spec.rules[0].score", "must be of type integer"],
            ),
            Case(
                "no name",
                |o| remove(o, "/spec/rules/0/name"),
                &["spec.rules[0].name: Required value"],
            ),
            Case(
                "an empty name",
                |o| o["spec"]["rules"][0]["name"] = json!(""),
                &["spec.rules[0].name"],
            ),
            Case(
                "too long a name",
                |o| o["spec"]["rules"][0]["name"] = json!("n".repeat(64)),
                &["spec.rules[0].name: Too long"],
            ),
            Case(
                "no expression",
                |o| remove(o, "/spec/rules/0/when"),
                &["spec.rules[0].when: Required value"],
            ),
            Case(
                "an empty expression",
                |o| o["spec"]["rules"][0]["when"] = json!(""),
                &["spec.rules[0].when"],
            ),
            Case(
                "too long an expression",
                |o| o["spec"]["rules"][0]["when"] = json!("1".repeat(1025)),
                &["spec.rules[0].when: Too long"],
            ),
            Case(
                "no message",
                |o| remove(o, "/spec/rules/0/message"),
                &["spec.rules[0].message: Required value"],
            ),
            Case(
                "an empty message",
                |o| o["spec"]["rules"][0]["message"] = json!(""),
                &["spec.rules[0].message"],
            ),
            Case(
                "too long a message",
                |o| o["spec"]["rules"][0]["message"] = json!("m".repeat(513)),
                &["spec.rules[0].message: Too long"],
            ),
            Case(
                "an empty recommendation",
                |o| o["spec"]["rules"][0]["recommendation"] = json!(""),
                &["spec.rules[0].recommendation"],
            ),
            Case(
                "too long a recommendation",
                |o| o["spec"]["rules"][0]["recommendation"] = json!("r".repeat(513)),
                &["spec.rules[0].recommendation: Too long"],
            ),
            Case(
                "an unknown field",
                |o| o["spec"]["rules"][0]["if"] = json!("true"),
                &["unknown field \"spec.rules[0].if\""],
            ),
        ],
    )
    .await;
}

fn effect(object: &mut Value, effect: &str) {
    object["spec"]["rules"][0] =
        json!({"name": "r", "when": "true", "effect": effect, "message": "m"});
}

fn many(count: usize) -> Value {
    let rule = |number| {
        json!({"name": format!("{number:063}"), "when": "1".repeat(1024), "score": 100, "message": "m".repeat(512),
            "recommendation": "r".repeat(512)})
    };
    (0..count).map(rule).collect()
}
