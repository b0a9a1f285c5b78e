//! ConnectServer.

use serde_json::{Value, json};

use super::{ACCEPTED, Case, check, check_changes, remove};

pub(super) fn server() -> Value {
    json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "ConnectServer",
        "metadata": {"name": "schema"},
        "spec": {
            "hosts": [{"url": "https://connect.internal:8443"}],
            "tokenSecretRef": {"name": "connect-token"},
            "access": [{"name": "shop", "namespaces": {"names": ["shop"]}, "vaults": [{"name": "services"}]}],
        },
    })
}

#[tokio::test]
async fn fields() {
    check(
        &server(),
        &[
            Case("the valid server", |_| {}, ACCEPTED),
            Case(
                "everything set",
                |o| {
                    o["spec"]["controllerClass"] = json!("blue");
                    o["spec"]["allowInsecure"] = json!(false);
                    o["spec"]["tokenSecretRef"]["key"] = json!("other");
                    o["spec"]["ca"] = json!({"inline": "-----BEGIN CERTIFICATE-----"});
                    o["spec"]["vaults"] =
                        json!([{"name": "services", "environment": "production"}]);
                    o["spec"]["pollInterval"] = json!("1m30s");
                    o["spec"]["limits"] = json!({"concurrency": 8});
                },
                ACCEPTED,
            ),
            Case("no spec", |o| remove(o, "/spec"), &["spec: Required value"]),
            Case(
                "an unknown field",
                |o| o["spec"]["host"] = json!("x"),
                &["unknown field \"spec.host\""],
            ),
            Case(
                "too long a class",
                |o| o["spec"]["controllerClass"] = json!("c".repeat(64)),
                &["spec.controllerClass: Too long"],
            ),
            Case(
                "no token",
                |o| remove(o, "/spec/tokenSecretRef"),
                &["spec.tokenSecretRef: Required value"],
            ),
            Case(
                "a token without name",
                |o| o["spec"]["tokenSecretRef"] = json!({}),
                &["spec.tokenSecretRef.name: Required value"],
            ),
            Case(
                "an empty token name",
                |o| o["spec"]["tokenSecretRef"]["name"] = json!(""),
                &["spec.tokenSecretRef.name"],
            ),
            Case(
                "an empty token key",
                |o| o["spec"]["tokenSecretRef"]["key"] = json!(""),
                &["spec.tokenSecretRef.key"],
            ),
            Case(
                "a token in place",
                |o| o["spec"]["tokenSecretRef"]["value"] = json!("x"),
                &["unknown field \"spec.tokenSecretRef.value\""],
            ),
            Case(
                "a vault twice",
                |o| o["spec"]["vaults"] = json!([{"name": "v"}, {"name": "v"}]),
                &["spec.vaults[1]: Duplicate value: {\"name\":\"v\"}"],
            ),
            Case(
                "a vault without name",
                |o| o["spec"]["vaults"] = json!([{"environment": "e"}]),
                &["spec.vaults[0].name: Required value"],
            ),
            Case(
                "a vault with an empty environment",
                |o| o["spec"]["vaults"] = json!([{"name": "v", "environment": ""}]),
                &["spec.vaults[0].environment"],
            ),
            Case(
                "too many vaults",
                |o| o["spec"]["vaults"] = vaults(201),
                &["spec.vaults: Too many"],
            ),
            Case("the most vaults", |o| o["spec"]["vaults"] = vaults(200), ACCEPTED),
            Case(
                "no request at a time",
                |o| o["spec"]["limits"] = json!({"concurrency": 0}),
                &["spec.limits.concurrency", "greater than or equal to 1"],
            ),
            Case(
                "too many requests",
                |o| o["spec"]["limits"] = json!({"concurrency": 65}),
                &["spec.limits.concurrency", "less than or equal to 64"],
            ),
        ],
    )
    .await;
}

fn vaults(count: usize) -> Value {
    (0..count)
        .map(|n| json!({"name": format!("{n:0256}"), "environment": "e".repeat(63)}))
        .collect()
}

#[tokio::test]
async fn changes() {
    const CLASS: &[&str] = &[
        "spec.controllerClass cannot change: it decides which operator serves the requests of this server",
    ];
    let mut base = server();
    base["metadata"]["name"] = json!("schema-no-class");
    // No operator of another test may take them for its own.
    base["spec"]["access"] = json!([]);
    check_changes(
        &base,
        &[
            Case("a class", |o| o["spec"]["controllerClass"] = json!("blue"), CLASS),
            Case(
                "the empty class, which is what absent means",
                |o| o["spec"]["controllerClass"] = json!(""),
                ACCEPTED,
            ),
            Case(
                "everything else",
                |o| {
                    o["spec"]["hosts"] = json!([{"url": "https://other"}]);
                    o["spec"]["tokenSecretRef"]["name"] = json!("other");
                    o["spec"]["pollInterval"] = json!("2s");
                },
                ACCEPTED,
            ),
        ],
    )
    .await;
    base["metadata"]["name"] = json!("schema-class");
    base["spec"]["controllerClass"] = json!("green");
    check_changes(
        &base,
        &[
            Case("another class", |o| o["spec"]["controllerClass"] = json!("blue"), CLASS),
            Case("no class", |o| remove(o, "/spec/controllerClass"), CLASS),
        ],
    )
    .await;
}
