//! What clients read, and what they are refused.

use std::time::{Duration, SystemTime};

use connect_dev::{StateSpec, fake_token, retired_value};
use serde_json::json;

use super::{STATE, get, refused, send, server};

#[test]
fn vaults_and_items() {
    let server = server();
    let vault = server.vault_id("services").expect("an id");
    for path in ["/v1/vaults", "/v1/vaults/"] {
        let vaults = get(&server, path);
        assert!(vaults.head.contains("1password-connect-version: 1.8.2"), "{}", vaults.head);
        assert_eq!(vaults.json().as_array().map(Vec::len), Some(2));
    }
    let body = get(&server, &format!("/v1/vaults/{vault}")).json();
    assert_eq!(
        (&body["contentVersion"], &body["items"], &body["name"]),
        (&json!(6), &json!(5), &json!("services"))
    );

    let items = get(&server, &format!("/v1/vaults/{vault}/items/")).json();
    let items = items.as_array().expect("a bare array");
    assert_eq!(items.len(), 5);
    assert!(items.iter().all(|i| i.get("fields").is_none() && i.get("sections").is_none()));

    let item = server.item_id("services", "orders-db").expect("an id");
    let body = get(&server, &format!("/v1/vaults/{vault}/items/{item}")).json();
    assert_eq!(body["vault"]["id"], json!(vault));
    assert_eq!(body["sections"][0]["label"], "connection");
    assert_eq!(body["fields"][2]["section"]["id"], body["sections"][0]["id"]);
    let password = &body["fields"][1];
    assert_eq!((&password["id"], &password["purpose"]), (&json!("password"), &json!("PASSWORD")));
    assert_eq!(password["passwordDetails"]["history"], json!([retired_value("orders-db")]));

    let item = server.item_id("services", "My Item").expect("an id");
    let body = get(&server, &format!("/v1/vaults/{vault}/items/{item}")).json();
    let values: Vec<_> =
        body["fields"].as_array().expect("fields").iter().map(|f| f["value"].clone()).collect();
    assert_eq!(values, [json!("5432"), json!("true"), json!("hello")]);
}

#[test]
fn filters_and_errors() {
    let server = server();
    let (vault, other) =
        (server.vault_id("services").expect("an id"), server.vault_id("other").expect("an id"));
    let count = |query: &str| {
        let answer = get(&server, &format!("/v1/vaults/{vault}/items{query}"));
        answer.json().as_array().map(Vec::len).ok_or(answer.status)
    };
    assert_eq!(count("?filter=title+eq+%22My+Item%22"), Ok(1));
    assert_eq!(count("/?filter=title%20eq%20%22My%20Item%22"), Ok(1));
    assert_eq!(count("?filter=title+eq+%22twice%22"), Ok(2));
    assert_eq!(count("?filter=title+co+%22e%22"), Ok(5));
    assert_eq!(count("?filter=tag+eq+%22x%22"), Ok(1));
    assert_eq!(count("?filter=title+eq+%22nothing%22"), Ok(0));
    assert_eq!(count("?filter=title%20eq%20%22A%20&%20B%22"), Err(400));
    assert_eq!(count("?filter=name+eq+%22twice%22"), Err(400));
    assert_eq!(
        get(&server, "/v1/vaults?filter=name+eq+%22SERVICES%22").json()[0]["id"],
        json!(vault)
    );

    let ask = |token: &str, target: &str| send(&server.url(), "GET", target, token, "");
    refused(&ask("nobody", "/v1/vaults"), 401, "Invalid bearer token");
    let denied = format!("Authorization: token does not have access to vault {other}");
    refused(&ask("some", &format!("/v1/vaults/{other}/items")), 403, &denied);
    let nowhere = "a".repeat(26);
    let denied = format!("Authorization: token does not have access to vault {nowhere}");
    refused(&ask("all", &format!("/v1/vaults/{nowhere}")), 403, &denied);
    refused(&ask("all", "/v1/vaults/services"), 400, "Invalid Vault UUID");
    refused(&ask("all", &format!("/v1/vaults/{vault}/items/twice")), 400, "Invalid Item UUID");
    let title = "abcdefghijklmnopqrstuvwxyz";
    refused(
        &ask("all", &format!("/v1/vaults/{vault}/items/{title}")),
        404,
        &format!("item {title} not found"),
    );
    assert_eq!(ask("some", "/v1/vaults").json().as_array().map(Vec::len), Some(1));
    assert_eq!(ask("none", "/heartbeat").body, ".");
    assert_eq!(ask("none", "/health").json()["version"], "1.8.2");
    assert_eq!(ask("all", "/v2").body, "404 page not found");
}

#[test]
fn tokens_come_and_go() {
    let server = server();
    let vault = server.vault_id("other").expect("an id");
    let path = format!("/v1/vaults/{vault}");
    let status = |token: &str| send(&server.url(), "GET", &path, token, "").status;
    let hour = Duration::from_secs(3600);
    let (fresh, stale) = (SystemTime::now() + hour, SystemTime::now() - hour);
    let good = fake_token("jti", &[&vault], Some(fresh));
    let old = fake_token("jti", &[&vault], Some(stale));
    assert_eq!(status(&good), 401, "a server must know a token");
    server.add_token(&good, &["other"]);
    server.add_token(&old, &["other"]);
    assert_eq!((status(&good), status(&old)), (200, 401));
    server.set_token_scope(&good, &["services", "later"]);
    assert_eq!(status(&good), 403);
    let later = server.add_vault("later").expect("an id");
    assert_eq!(send(&server.url(), "GET", &format!("/v1/vaults/{later}"), &good, "").status, 200);
    assert!(server.revoke_token(&good) && !server.revoke_token(&good));
    assert_eq!(status(&good), 401);
}

#[test]
fn a_broken_state_file_does_not_show_values() {
    for yaml in [
        "vaults:\n  - name: [s3cret]\n",
        "tokens: s3cret\n",
        "vaults:\n  - {name: a, items: s3cret}\n",
        "a: 's3cret",
    ] {
        let error = StateSpec::from_yaml(yaml).expect_err("an error");
        assert!(!format!("{error:#} {error:?}").contains("s3cret"), "{error:#}");
    }
    let error = StateSpec::from_yaml("vaults:\n  - {nam: a}\n").expect_err("an error");
    assert!(format!("{error:#}").contains("`nam` is not known here"), "{error:#}");
    let spec = StateSpec::from_yaml(STATE).expect("a state");
    assert!(!format!("{spec:?}").contains("s3cret") && !format!("{spec:?}").contains("\"all\""));
}
