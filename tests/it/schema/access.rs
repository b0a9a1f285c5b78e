//! The access rows of a ConnectServer.

use serde_json::{Value, json};

use super::servers::server;
use super::{ACCEPTED, Case, check, remove};

#[tokio::test]
async fn rows_and_what_they_select() {
    const ONE: &str = "namespaces needs exactly one of names, selector and all";
    const EMPTY: &str = "selector must not be empty; use all: true for every namespace";
    const VAULT: &str = "a vault is selected by exactly one of name and id";
    const AT: &str = "spec.access[0].namespaces";
    check(
        &server(),
        &[
            Case("absent", |o| remove(o, "/spec/access"), &["spec.access: Required value"]),
            Case("no rows", |o| o["spec"]["access"] = json!([]), ACCEPTED),
            Case("the most and longest rows", |o| o["spec"]["access"] = rows(64), ACCEPTED),
            Case("too many rows", |o| o["spec"]["access"] = rows(65), &["spec.access: Too many: 65: must have at most 64"]),
            Case("a name twice", |o| o["spec"]["access"] = json!([o["spec"]["access"][0], o["spec"]["access"][0]]), &["spec.access[1]: Duplicate value: {\"name\":\"shop\"}"]),
            Case("no name", |o| remove(o, "/spec/access/0/name"), &["spec.access[0].name: Required value"]),
            Case("an empty name", |o| o["spec"]["access"][0]["name"] = json!(""), &["spec.access[0].name"]),
            Case("no namespaces", |o| remove(o, "/spec/access/0/namespaces"), &["spec.access[0].namespaces: Required value"]),
            Case("empty namespaces", |o| namespaces(o, json!({})), &[AT, ONE]),
            Case("no names", |o| namespaces(o, json!({"names": []})), &["spec.access[0].namespaces.names", "at least 1 items"]),
            Case("an empty namespace", |o| namespaces(o, json!({"names": [""]})), &["spec.access[0].namespaces.names[0]"]),
            Case("too many names", |o| namespaces(o, json!({"names": vec!["n"; 257]})), &["spec.access[0].namespaces.names: Too many"]),
            Case("all", |o| namespaces(o, json!({"all": true})), ACCEPTED),
            Case("not all", |o| namespaces(o, json!({"all": false})), &[AT, "all can only be true; leave the row out instead"]),
            Case("all and names", |o| namespaces(o, json!({"all": true, "names": ["shop"]})), &[AT, ONE]),
            Case("names and a null", |o| namespaces(o, json!({"all": null, "names": ["shop"]})), ACCEPTED),
            Case("a null alone", |o| namespaces(o, json!({"all": null})), &[AT, ONE]),
            Case("a selector", |o| namespaces(o, json!({"selector": {"matchLabels": {"team": "shop"}}})), ACCEPTED),
            Case("a selector of expressions", |o| namespaces(o, json!({"selector": {"matchExpressions": [{"key": "t", "operator": "Exists"}]}})), ACCEPTED),
            Case("an empty selector", |o| namespaces(o, json!({"selector": {}})), &[AT, EMPTY]),
            Case("a selector of nothing", |o| namespaces(o, json!({"selector": {"matchLabels": {}, "matchExpressions": []}})), &[AT, EMPTY]),
            Case("absent vaults", |o| remove(o, "/spec/access/0/vaults"), &["spec.access[0].vaults: Required value"]),
            Case("no vaults", |o| o["spec"]["access"][0]["vaults"] = json!([]), &["spec.access[0].vaults"]),
            Case("too many vaults", |o| o["spec"]["access"][0]["vaults"] = json!(vec![json!({"name": "v"}); 65]), &["spec.access[0].vaults: Too many"]),
            Case("a vault by id", |o| vault(o, json!({"id": "abcdefghijklmnopqrstuvwxy2"})), ACCEPTED),
            Case("a vault by nothing", |o| vault(o, json!({})), &["spec.access[0].vaults[0]", VAULT]),
            Case("a vault by name and id", |o| vault(o, json!({"name": "v", "id": "abcdefghijklmnopqrstuvwxyz"})), &["spec.access[0].vaults[0]", VAULT]),
            Case("a vault by a null", |o| vault(o, json!({"name": null})), &["spec.access[0].vaults[0]", VAULT]),
            Case("an empty vault", |o| vault(o, json!({"name": ""})), &["spec.access[0].vaults[0].name"]),
            Case("a short id", |o| vault(o, json!({"id": "abc"})), &["spec.access[0].vaults[0].id"]),
            Case("an id in capitals", |o| vault(o, json!({"id": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"})), &["spec.access[0].vaults[0].id", "id must be 26 lower-case letters and digits"]),
            Case("items", |o| o["spec"]["access"][0]["items"] = json!(["orders-*", "root?"]), ACCEPTED),
            Case("no items", |o| o["spec"]["access"][0]["items"] = json!([]), &["spec.access[0].items"]),
            Case("an empty item", |o| o["spec"]["access"][0]["items"] = json!([""]), &["spec.access[0].items[0]"]),
            Case("too many items", |o| o["spec"]["access"][0]["items"] = json!(vec!["i"; 65]), &["spec.access[0].items: Too many"]),
            Case("too long an item", |o| o["spec"]["access"][0]["items"] = json!(["i".repeat(257)]), &["spec.access[0].items[0]: Too long"]),
            Case("an unknown field", |o| o["spec"]["access"][0]["item"] = json!("x"), &["unknown field \"spec.access[0].item\""]),
        ],
    )
    .await;
}

fn namespaces(object: &mut Value, namespaces: Value) {
    object["spec"]["access"][0]["namespaces"] = namespaces;
}

fn vault(object: &mut Value, vault: Value) {
    object["spec"]["access"][0]["vaults"] = Value::Array(vec![vault]);
}

/// So many rows, each with about as much as one can have in an object of 1.5 MiB.
fn rows(count: usize) -> Value {
    let row = |number| {
        json!({"name": format!("{number:063}"), "namespaces": {"names": vec!["n".repeat(63); 64]},
            "vaults": vec![json!({"name": "v".repeat(128)}); 64]})
    };
    (0..count).map(row).collect()
}
