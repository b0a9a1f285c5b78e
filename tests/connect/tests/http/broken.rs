//! Faults: answers that do not come, that end before their end, or that belong elsewhere.

use std::time::Duration;

use connect_dev::{ConnectDev, FaultKind, FaultSpec, StateSpec};
use serde_json::json;

use super::{get, refused, send, server, try_send};

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

fn item_path(server: &ConnectDev) -> String {
    let vault = server.vault_id("services").expect("an id");
    let item = server.item_id("services", "orders-db").expect("an id");
    format!("/v1/vaults/{vault}/items/{item}")
}

#[test]
fn a_dropped_request_gets_no_answer_and_does_nothing() {
    let server = server();
    let path = item_path(&server);
    server.fault(FaultSpec::new(FaultKind::Drop).times(2));
    assert!(try_send(&server.url(), "GET", &path, "writer", "").is_none());
    assert!(try_send(&server.url(), "DELETE", &path, "writer", "").is_none());
    assert_eq!(get(&server, &path).status, 200);
    assert_eq!(server.requests().total, 3);
}

#[test]
fn a_reset_answer_ends_in_the_middle_of_its_body() {
    let server = server();
    let path = item_path(&server);
    let whole = get(&server, &path);
    server.fault(FaultSpec::new(FaultKind::Reset).on(ITEM).times(1));
    let half = get(&server, &path);
    assert_eq!(half.status, 200);
    assert_eq!(half.header("content-length"), whole.bytes.len().to_string());
    assert!(!half.bytes.is_empty() && half.bytes.len() < whole.bytes.len());
    assert!(whole.bytes.starts_with(&half.bytes));
    assert_eq!(get(&server, &path).json(), whole.json());
}

#[test]
fn a_truncated_answer_is_whole_to_http_and_not_to_json() {
    let server = server();
    let path = item_path(&server);
    let whole = get(&server, &path);
    server.fault(FaultSpec::new(FaultKind::Truncated).under("/v1/").times(1));
    assert_eq!(get(&server, "/heartbeat").body, ".");
    let half = get(&server, &path);
    assert_eq!(half.header("content-length"), half.bytes.len().to_string());
    assert_eq!(half.bytes.len(), whole.bytes.len() / 2);
    assert!(serde_json::from_slice::<serde_json::Value>(&half.bytes).is_err());
    assert_eq!(half.header("1password-connect-version"), "1.8.2");
}

#[test]
fn what_a_reset_or_truncated_answer_was_about_is_done() {
    let server = server();
    let path = item_path(&server);
    for (kind, title) in [(FaultKind::Reset, "a"), (FaultKind::Truncated, "b")] {
        server.fault(FaultSpec::new(kind).on("PATCH /v1/vaults/{v}/items/{i}").times(1));
        let patch = json!([{"op": "replace", "path": "/title", "value": title}]).to_string();
        send(&server.url(), "PATCH", &path, "writer", &patch);
        assert_eq!(get(&server, &path).json()["title"], title);
    }
}

#[test]
fn a_repeated_list_has_an_id_twice_and_single_things_are_as_they_are() {
    let server = server();
    server.fault(FaultSpec::new(FaultKind::Repeated));
    let vault = server.vault_id("services").expect("an id");
    for list in ["/v1/vaults".to_owned(), format!("/v1/vaults/{vault}/items")] {
        let list = get(&server, &list).json();
        assert_eq!(list[0]["id"], list[1]["id"]);
        assert!(list[0]["id"].is_string());
    }
    let path = item_path(&server);
    let whole = get(&server, &path).json();
    server.clear_faults();
    assert_eq!(get(&server, &path).json(), whole);
}

#[test]
fn a_wrong_title_is_that_of_no_item() {
    let server = server();
    let path = item_path(&server);
    let right = get(&server, &path).json();
    server.fault(FaultSpec::new(FaultKind::WrongTitle));
    let mut wrong = get(&server, &path).json();
    assert_ne!(wrong["title"], right["title"]);
    wrong["title"] = right["title"].clone();
    assert_eq!(wrong, right);
    let vault = server.vault_id("services").expect("an id");
    assert_eq!(get(&server, &format!("/v1/vaults/{vault}")).json()["name"], "services");
}

#[test]
fn a_wrong_vault_is_that_of_another_vault() {
    let server = server();
    let (path, vault) = (item_path(&server), server.vault_id("services").expect("an id"));
    let other = server.vault_id("other").expect("an id");
    let right = get(&server, &path).json();
    server.fault(FaultSpec::new(FaultKind::WrongVault));
    let wrong = get(&server, &path).json();
    assert_eq!(wrong["vault"], json!({"id": other, "name": "other"}));
    assert_eq!((&wrong["id"], &wrong["fields"]), (&right["id"], &right["fields"]));
    assert_eq!(get(&server, &format!("/v1/vaults/{vault}")).json()["id"], json!(other));
    refused(&send(&server.url(), "GET", &path, "nobody", ""), 401, "Invalid bearer token");
}

#[test]
fn a_wrong_vault_is_invented_where_there_is_no_other() {
    let spec = StateSpec::default().token("all", &["*"]).vault("alone", Vec::new());
    let server = ConnectDev::start(spec).expect("a server");
    let vault = server.vault_id("alone").expect("an id");
    server.fault(FaultSpec::new(FaultKind::WrongVault));
    assert_ne!(get(&server, &format!("/v1/vaults/{vault}")).json()["id"], json!(vault));
}

#[test]
fn a_status_comes_with_and_without_retry_after() {
    let server = server();
    let status = |code, message: &str| FaultKind::Status { code, message: message.to_owned() };
    server.fault(FaultSpec::new(status(429, "slow down")).times(1));
    let answer = get(&server, "/v1/vaults");
    refused(&answer, 429, "slow down");
    assert_eq!(answer.header("retry-after"), "");
    let limited = FaultKind::RateLimited { retry_after: Duration::from_secs(7) };
    server.fault(FaultSpec::new(limited).times(1));
    let answer = get(&server, "/v1/vaults");
    assert_eq!((answer.status, answer.header("retry-after")), (429, "7"));
    server.fault(
        FaultSpec::new(FaultKind::RetryAfter {
            code: 503,
            message: "later".to_owned(),
            retry_after: Duration::from_secs(2),
        })
        .times(1),
    );
    let answer = get(&server, "/v1/vaults");
    refused(&answer, 503, "later");
    assert_eq!(answer.header("retry-after"), "2");
}
