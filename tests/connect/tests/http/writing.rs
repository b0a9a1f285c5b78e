//! What clients change through the API, and what they may not.

use connect_dev::{Access, ConnectDev, FakeToken, FileSpec};
use serde_json::{Value, json};

use super::{Answer, get, refused, send, server};

struct Client<'a> {
    server: &'a ConnectDev,
    token: &'a str,
    vault: String,
}

impl<'a> Client<'a> {
    fn new(server: &'a ConnectDev, token: &'a str) -> Self {
        Self { server, token, vault: server.vault_id("services").expect("an id") }
    }

    fn path(&self, item: &str) -> String {
        format!("/v1/vaults/{}/items/{item}", self.vault)
    }

    fn send(&self, method: &str, item: &str, body: &Value) -> Answer {
        send(&self.server.url(), method, &self.path(item), self.token, &body.to_string())
    }

    fn create(&self, body: &Value) -> Answer {
        self.send("POST", "", body)
    }

    fn body(&self, fields: &Value) -> Value {
        json!({"title": "made", "category": "LOGIN", "vault": {"id": self.vault}, "fields": fields})
    }

    fn content_version(&self) -> Option<u64> {
        let path = format!("/v1/vaults/{}", self.vault);
        get(self.server, &path).json()["contentVersion"].as_u64()
    }

    fn read(&self, item: &str) -> Value {
        get(self.server, &self.path(item)).json()
    }
}

fn invalid(answer: &Answer, why: &str) {
    let message = format!("Validation: (validateVaultItem failed to Validate), {why}");
    refused(answer, 400, &message);
}

fn id(body: &Value) -> &str {
    body["id"].as_str().unwrap_or_else(|| panic!("an id: {body}"))
}

#[test]
fn an_item_is_made_and_answered_in_full() {
    let server = server();
    let client = Client::new(&server, "writer");
    let before = client.content_version();
    let made = client.create(&client.body(&json!([
        {"purpose": "USERNAME", "label": "username", "value": "u"},
        {"purpose": "PASSWORD", "label": "password", "generate": true,
         "recipe": {"length": 20, "characterSets": ["DIGITS"], "excludeCharacters": "01"}},
    ])));
    assert_eq!(made.status, 200, "{}", made.body);
    let made = made.json();
    assert_eq!((&made["version"], &made["title"]), (&json!(1), &json!("made")));
    let password = made["fields"][1]["value"].as_str().expect("a value");
    assert!(password.len() == 20 && password.chars().all(|c| ('2'..='9').contains(&c)));
    assert_eq!(client.read(id(&made)), made);
    assert_eq!(client.content_version(), before.map(|v| v + 1));
    let again = client.create(&client.body(&json!([]))).json();
    assert_ne!(id(&again), id(&made), "a title may be there twice");
}

#[test]
fn a_replaced_item_answers_with_the_version_from_before() {
    let server = server();
    let client = Client::new(&server, "writer");
    let item = server.item_id("services", "orders-db").expect("an id");
    server.set_file("services", "orders-db", "ca.pem", b"PEM").expect("a change");
    let mut body = client.read(&item);
    let before = client.content_version();
    body["title"] = json!("renamed");
    body["fields"][1]["value"] = json!("n3w");
    body["files"] = json!([]);
    let answer = client.send("PUT", &item, &body).json();
    assert_eq!((&answer["version"], &answer["title"]), (&json!(2), &json!("renamed")));
    let read = client.read(&item);
    assert_eq!((&read["version"], &read["category"]), (&json!(3), &json!("DATABASE")));
    assert_eq!(read["fields"][1]["value"], "n3w");
    assert_eq!(read["fields"][1]["passwordDetails"]["history"][0], "s3cret");
    assert_eq!(read["fields"][2], body["fields"][2], "the section stays");
    assert_eq!(read["files"][0]["name"], "ca.pem", "files are not written through a body");
    assert_eq!(client.content_version(), before.map(|v| v + 1));

    let bare = json!({"title": "bare", "category": "LOGIN", "vault": {"id": client.vault}});
    client.send("PUT", &item, &bare);
    assert_eq!(client.read(&item).get("fields"), None, "what a body leaves out is gone");
}

#[test]
fn a_patched_field_is_named_by_its_id() {
    let server = server();
    let client = Client::new(&server, "writer");
    let item = server.item_id("services", "orders-db").expect("an id");
    let before = client.content_version();
    let patched = client.send(
        "PATCH",
        &item,
        &json!([
            {"op": "replace", "path": "/fields/password/value", "value": "n3w"},
            {"op": "add", "path": "/fields", "value": {"label": "added", "value": "x"}},
            {"op": "replace", "path": "/title", "value": "renamed"},
            {"op": "remove", "path": "/tags/0"},
        ]),
    );
    assert_eq!(patched.status, 200, "{}", patched.body);
    let read = client.read(&item);
    assert_eq!(patched.json(), read);
    assert_eq!(
        (&read["version"], &read["title"], read.get("tags")),
        (&json!(2), &json!("renamed"), None)
    );
    assert_eq!(read["fields"][1]["value"], "n3w");
    assert_eq!(read["fields"][1]["passwordDetails"]["history"][0], "s3cret");
    assert_eq!(read["fields"][3]["label"], "added");
    assert_eq!(client.content_version(), before.map(|v| v + 1), "a patch moves the versions once");

    let whole = json!([{"op": "replace", "path": "/", "value": {"title": "whole"}}]);
    let read = client.send("PATCH", &item, &whole).json();
    assert_eq!((&read["title"], &read["category"]), (&json!("whole"), &json!("DATABASE")));
    assert_eq!(read.get("fields"), None);
}

#[test]
fn a_refused_patch_changes_nothing() {
    let server = server();
    let client = Client::new(&server, "writer");
    let item = server.item_id("services", "orders-db").expect("an id");
    let before = client.read(&item);
    for patch in [
        json!([
            {"op": "replace", "path": "/title", "value": "renamed"},
            {"op": "replace", "path": "/fields/none/value", "value": "x"},
        ]),
        json!([{"op": "move", "from": "/title", "path": "/tags/0"}]),
        json!([{"op": "replace", "path": "/fields/password/purpose", "value": "NONE"}]),
        json!([{"op": "replace", "path": "/id", "value": "x"}]),
        json!({"op": "remove"}),
    ] {
        assert_eq!(client.send("PATCH", &item, &patch).status, 400, "{patch}");
        assert_eq!(client.read(&item), before, "{patch}");
    }
}

#[test]
fn a_deleted_item_is_gone() {
    let server = server();
    let client = Client::new(&server, "writer");
    let item = server.item_id("services", "orders-db").expect("an id");
    let before = client.content_version();
    let answer = client.send("DELETE", &item, &json!(null));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let missing = format!("item {item} not found");
    refused(&get(&server, &client.path(&item)), 404, &missing);
    refused(&client.send("DELETE", &item, &json!(null)), 404, &missing);
    assert_eq!(client.content_version(), before.map(|v| v + 1));
}

#[test]
fn a_body_that_is_no_item_is_refused() {
    let server = server();
    let client = Client::new(&server, "writer");
    let before = client.content_version();
    let at = client.path("");
    invalid(&send(&server.url(), "POST", &at, "writer", "{"), "the body is not JSON");
    invalid(&client.create(&json!([1])), "this is not the body of an item");
    invalid(&client.create(&json!({"category": "LOGIN"})), "vault.id is missing");
    let elsewhere = json!({"category": "LOGIN", "vault": {"id": "a".repeat(26)}});
    invalid(&client.create(&elsewhere), "the vault in the body is not that in the path");
    invalid(&client.create(&json!({"vault": {"id": client.vault}})), "category is missing");
    let purpose = client.body(&json!([{"purpose": "SOMETHING"}]));
    invalid(&client.create(&purpose), "a purpose is USERNAME, PASSWORD, NOTES or empty");
    let recipe = json!([{"purpose": "PASSWORD", "generate": true, "recipe": {"length": 65}}]);
    invalid(&client.create(&client.body(&recipe)), "a recipe's length is 1 to 64");
    let item = server.item_id("services", "orders-db").expect("an id");
    let mut other = client.read(&item);
    other["id"] = json!("a".repeat(26));
    invalid(&client.send("PUT", &item, &other), "the id in the body is not that in the path");
    assert_eq!(client.content_version(), before);
}

#[test]
fn a_reading_token_may_not_write() {
    let server = server();
    let client = Client::new(&server, "some");
    let item = server.item_id("services", "orders-db").expect("an id");
    let denied = |word: &str| {
        format!(
            "Authorization: token does not have permission to perform {word} on vault {}",
            client.vault
        )
    };
    let body = client.body(&json!([]));
    refused(&client.create(&body), 403, &denied("create"));
    refused(&client.send("PUT", &item, &body), 403, &denied("update"));
    refused(&client.send("PATCH", &item, &json!([])), 403, &denied("update"));
    refused(&client.send("DELETE", &item, &json!(null)), 403, &denied("delete"));
    let other = server.vault_id("other").expect("an id");
    let elsewhere = Client { server: &server, token: "writer", vault: other.clone() };
    let denied = format!("Authorization: token does not have access to vault {other}");
    refused(&elsewhere.create(&body), 403, &denied);
    let nobody = Client { server: &server, token: "nobody", vault: other };
    refused(&nobody.create(&body), 401, "Invalid bearer token");
    assert_eq!(server.item_version("services", "orders-db"), Some(1));
}

#[test]
fn a_token_may_read_one_vault_and_write_another() {
    let server = server();
    let (services, other) =
        (server.vault_id("services").expect("an id"), server.vault_id("other").expect("an id"));
    let token =
        FakeToken::new("mixed").vault(&services, Access::Read).vault(&other, Access::ReadWrite);
    let token = server.accept(&token);
    let create = |vault: &str| {
        let body = json!({"category": "LOGIN", "vault": {"id": vault}}).to_string();
        send(&server.url(), "POST", &format!("/v1/vaults/{vault}/items"), &token, &body).status
    };
    assert_eq!((create(&services), create(&other)), (403, 200));
    server.add_writing_token(&token, &["*"]);
    assert_eq!(create(&services), 200);
}

#[test]
fn a_method_that_connect_has_not_is_405() {
    let server = server();
    let client = Client::new(&server, "writer");
    let item = server.item_id("services", "orders-db").expect("an id");
    assert_eq!(client.send("POST", &item, &json!({})).status, 405);
    assert_eq!(send(&server.url(), "DELETE", "/v1/vaults", "writer", "").status, 405);
    let file = FileSpec::new("a", "b");
    assert_eq!(client.send("PUT", &format!("{item}/files/{}", file.name), &json!({})).status, 405);
}
