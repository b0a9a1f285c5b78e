//! What a server says of itself and of its clients.

use std::time::{Duration, SystemTime};

use connect_dev::{Access, ConnectDev, ContentVersions, FakeToken, Health};
use serde_json::{Value, json};

use super::{get, refused, send, server};

#[test]
fn health_is_200_whatever_it_says() {
    let server = server();
    let health = || {
        let answer = send(&server.url(), "GET", "/health", "", "");
        assert_eq!(answer.status, 200);
        answer.json()
    };
    let status = |body: &Value, service: &str| {
        let rows = body["dependencies"].as_array().expect("dependencies").clone();
        rows.iter().find(|d| d["service"] == service).map(|d| d["status"].clone())
    };
    let well = health();
    assert_eq!(well["name"], "1Password Connect API");
    assert_eq!(status(&well, "account_data"), Some(json!("AVAILABLE")));
    server.set_health(
        Health::default().with("sync", "TOKEN_NEEDED").with("account_data", "NOT_SYNCED"),
    );
    let ill = health();
    assert_eq!(status(&ill, "sync"), Some(json!("TOKEN_NEEDED")));
    assert_eq!(status(&ill, "account_data"), Some(json!("NOT_SYNCED")));
    assert_eq!(status(&ill, "sqlite"), Some(json!("ACTIVE")));
    server.set_health(Health::none());
    assert_eq!(health()["dependencies"], json!([]));
}

#[test]
fn a_version_is_said_in_health_and_in_every_header() {
    let server = server();
    server.set_version("1.2.0");
    assert_eq!(get(&server, "/health").json()["version"], "1.2.0");
    for path in ["/heartbeat", "/v1/vaults", "/v1/vaults/x", "/v2"] {
        assert_eq!(get(&server, path).header("1password-connect-version"), "1.2.0", "{path}");
    }
}

#[test]
fn an_old_server_says_no_content_version() {
    let server = server();
    let vault = server.vault_id("services").expect("an id");
    let says = || {
        let list = get(&server, "/v1/vaults").json();
        let one = get(&server, &format!("/v1/vaults/{vault}")).json();
        assert!(one["attributeVersion"].is_u64());
        (list[0]["contentVersion"].is_u64(), one["contentVersion"].is_u64())
    };
    assert_eq!(says(), (true, true));
    server.set_content_versions(ContentVersions::SingleVault);
    assert_eq!(says(), (false, true));
    server.set_content_versions(ContentVersions::Nowhere);
    assert_eq!(says(), (false, false));
}

fn activity(server: &ConnectDev, query: &str) -> (Vec<Value>, String) {
    let answer = get(server, &format!("/v1/activity{query}"));
    let rows = answer.json().as_array().expect("a bare array").clone();
    (rows, answer.header("content-range").to_owned())
}

#[test]
fn what_was_done_and_what_was_denied_is_in_the_activity() {
    let server = server();
    let vault = server.vault_id("services").expect("an id");
    let other = server.vault_id("other").expect("an id");
    let item = server.item_id("services", "orders-db").expect("an id");
    let token = server.accept(&FakeToken::new("jti-9").vault(&vault, Access::ReadWrite));
    let ask = |method: &str, target: &str, body: &Value| {
        send(&server.url(), method, target, &token, &body.to_string())
    };
    let items = format!("/v1/vaults/{vault}/items");
    let one = format!("{items}/{item}");
    ask("GET", "/v1/vaults", &json!(null));
    ask("GET", &one, &json!(null));
    ask("GET", &format!("/v1/vaults/{other}"), &json!(null));
    let made = ask("POST", &items, &json!({"category": "LOGIN", "vault": {"id": vault}})).json();
    ask("PATCH", &one, &json!([{"op": "replace", "path": "/title", "value": "x"}]));
    ask("DELETE", &one, &json!(null));
    // Neither what nobody asked nor what was not understood is a row.
    send(&server.url(), "GET", &one, "nobody", "");
    ask("GET", "/v1/vaults/x", &json!(null));
    ask("GET", "/health", &json!(null));

    let (rows, range) = activity(&server, "");
    assert_eq!(range, "1-6/6");
    let said: Vec<[&str; 2]> = rows
        .iter()
        .rev()
        .map(|row| ["action", "result"].map(|name| row[name].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        said,
        [
            ["READ", "SUCCESS"],
            ["READ", "SUCCESS"],
            ["READ", "DENY"],
            ["CREATE", "SUCCESS"],
            ["UPDATE", "SUCCESS"],
            ["DELETE", "SUCCESS"],
        ]
    );
    let [deleted, updated, created, denied, read, listed] = rows.as_slice() else {
        panic!("six rows");
    };
    let resource = |version: u64, item: &Value| json!({"type": "ITEM", "vault": {"id": vault}, "item": {"id": item}, "itemVersion": version});
    assert_eq!(read["resource"], resource(1, &json!(item)));
    assert_eq!(updated["resource"], resource(2, &json!(item)));
    assert_eq!(deleted["resource"], resource(2, &json!(item)));
    assert_eq!(created["resource"], resource(1, &made["id"]));
    assert_eq!(denied["resource"], json!({"type": "VAULT", "vault": {"id": other}}));
    assert_eq!(listed["resource"], json!({"type": "VAULT"}));
    let actor = &read["actor"];
    assert_eq!((&actor["jti"], &actor["userAgent"]), (&json!("jti-9"), &json!("test/1")));
    assert_eq!(actor["requestIp"], "127.0.0.1");
    assert!(!json!(rows).to_string().contains(&token));
}

#[test]
fn activity_comes_in_pages() {
    let server = server();
    (0..55).for_each(|_| drop(get(&server, "/v1/vaults")));
    assert_eq!(activity(&server, "").1, "1-50/55");
    let (rows, range) = activity(&server, "/?limit=10&offset=50");
    assert_eq!((rows.len(), range.as_str()), (5, "51-55/55"));
    assert_eq!(activity(&server, "?offset=100"), (Vec::new(), "0-0/55".to_owned()));
    refused(&get(&server, "/v1/activity?limit=x"), 400, "limit is not a number");
    let nobody = send(&server.url(), "GET", "/v1/activity", "nobody", "");
    refused(&nobody, 401, "Invalid bearer token");
}

#[test]
fn metrics_are_true_and_ask_for_no_token() {
    let server = server();
    get(&server, "/v1/vaults");
    get(&server, "/v1/vaults");
    let answer = send(&server.url(), "GET", "/metrics", "", "");
    assert!(answer.header("content-type").starts_with("text/plain"));
    for line in [
        "connect_http_requests_total{route=\"GET /v1/vaults\"} 2",
        "connect_http_requests_in_flight 1",
        "connect_vaults 2",
        "connect_items 5",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line}: {}", answer.body);
    }
}

#[test]
fn a_token_ends_at_its_expiry() {
    let server = server();
    let vault = server.vault_id("services").expect("an id");
    let path = format!("/v1/vaults/{vault}");
    let hour = Duration::from_secs(3600);
    let token = FakeToken::new("jti").vault(&vault, Access::Read);
    let status = |token: &FakeToken| {
        let token = server.accept(token);
        send(&server.url(), "GET", &path, &token, "").status
    };
    assert_eq!(status(&token), 200);
    assert_eq!(status(&token.clone().expires(SystemTime::now() + hour)), 200);
    assert_eq!(status(&token.clone().expires(SystemTime::now() - hour)), 401);
    assert_eq!(status(&FakeToken::new("other")), 403);
}
