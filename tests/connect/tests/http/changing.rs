//! What moves while the server runs: items, versions, faults, the server itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use connect_dev::{ConnectDev, FaultKind, FaultSpec, FieldSpec, ItemSpec, StateSpec};
use serde_json::json;

use super::{STATE, get, refused, send, server};

#[test]
fn changes_move_versions() {
    let server = server();
    let vault = server.vault_id("services").expect("an id");
    let versions = || {
        let body = get(&server, &format!("/v1/vaults/{vault}")).json();
        (
            body["contentVersion"].as_u64(),
            body["attributeVersion"].as_u64(),
            server.item_version("services", "orders-db"),
        )
    };
    assert_eq!(versions(), (Some(6), Some(1), Some(1)));
    server.set_field("services", "orders-db", "password", "n3w").expect("a change");
    assert_eq!(versions(), (Some(7), Some(1), Some(2)));
    server.rename_vault("services", "renamed").expect("a change");
    assert_eq!(server.vault_id("renamed").as_ref(), Some(&vault));
    server.rename_vault(&vault, "services").expect("a change");
    assert_eq!(versions(), (Some(7), Some(3), Some(2)));
    server.archive_item("services", "orders-db").expect("a change");
    let item = server.item_id("services", "orders-db").expect("an id");
    let body = get(&server, &format!("/v1/vaults/{vault}/items/{item}")).json();
    assert_eq!((&body["state"], &body["version"]), (&json!("ARCHIVED"), &json!(3)));
    assert_eq!(body["fields"][1]["passwordDetails"]["history"][0], "s3cret");

    server.delete_item("services", "orders-db").expect("a change");
    assert_eq!(get(&server, &format!("/v1/vaults/{vault}/items/{item}")).status, 404);
    let again = server
        .add_item("services", ItemSpec::new("orders-db").with(FieldSpec::new("a", "b")))
        .expect("an id");
    assert_ne!(again, item, "an id is never given twice");
    assert!(server.set_field("services", "nothing", "a", "b").is_err());

    let before = versions();
    let spec = StateSpec::from_yaml(STATE).expect("a state");
    server.apply(&spec).expect("a change");
    let after = versions();
    assert!(after.0 > before.0 && after.2 > before.2, "{before:?} {after:?}");
    server.apply(&spec).expect("no change");
    assert_eq!(versions(), after, "the same state moves nothing");
}

#[test]
fn faults_and_counts() {
    let server = server();
    let vault = server.vault_id("services").expect("an id");
    let item = server.item_id("services", "orders-db").expect("an id");
    let status = FaultKind::Status { code: 500, message: "Something went wrong".to_owned() };
    server.fault(FaultSpec::new(status).on("GET /v1/vaults").times(1));
    refused(&get(&server, "/v1/vaults"), 500, "Something went wrong");
    assert_eq!(get(&server, "/v1/vaults").status, 200);

    let page = server.fault(FaultSpec::new(FaultKind::Html { code: 502 }));
    assert!(get(&server, "/heartbeat").head.contains("text/html"));
    assert!(server.clear_fault(page));

    let path = format!("/v1/vaults/{vault}/items/{item}");
    server.fault(FaultSpec::new(FaultKind::WrongItem));
    assert_ne!(get(&server, &path).json()["id"], json!(item));
    server.clear_faults();
    server
        .fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(120))).under("/v1/vaults/"));
    let began = Instant::now();
    assert_eq!(get(&server, &path).json()["id"], json!(item));
    assert!(began.elapsed() >= Duration::from_millis(120));

    let wait = Duration::from_secs(7);
    server.fault(FaultSpec::new(FaultKind::RateLimited { retry_after: wait }).times(1));
    assert!(get(&server, &path).head.contains("retry-after: 7"));

    let counts = server.requests();
    assert_eq!((counts.total, counts.api()), (6, 5));
    assert_eq!(counts.route("GET /v1/vaults/{v}/items/{i}"), 3);
    assert_eq!(counts.log[0].target, "/v1/vaults");
    assert_eq!(counts.log[0].user_agent, "test/1");
    assert_eq!(counts.max_in_flight, 1);
    server.reset_requests();
    assert_eq!(server.requests().total, 0);
}

#[test]
fn an_outage_closes_connections_and_frees_the_port() {
    let server = server();
    server.fault(FaultSpec::new(FaultKind::Hang).times(1));
    let mut hung = TcpStream::connect(server.address()).expect("a connection");
    hung.write_all(b"GET /v1/vaults HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    hung.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let mut byte = [0];
    assert!(hung.read(&mut byte).is_err(), "no answer while it hangs");
    server.stop();
    hung.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert!(!matches!(hung.read(&mut byte), Ok(1..)), "the connection is closed");
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens");
    server.restart().expect("the same port");
    assert_eq!(get(&server, "/v1/vaults").status, 200);

    let address = server.address();
    drop(server);
    let spec = StateSpec::default().token("all", &["*"]);
    let other = ConnectDev::start_on(address, None, spec).expect("the same port");
    assert_eq!(get(&other, "/v1/vaults").json(), json!([]));
}

#[test]
fn the_admin_port() {
    let free: SocketAddr = ([127, 0, 0, 1], 0).into();
    let spec = StateSpec::from_yaml(STATE).expect("a state");
    let server = ConnectDev::start_on(free, Some(free), spec).expect("a server");
    let admin = server.admin_url().expect("an address");
    let call = |method: &str, target: &str, body: &str| send(&admin, method, target, "", body);
    assert_eq!(call("PUT", "/items/services/My%20Item/fields/note", "n3w").status, 204);
    assert_eq!(server.item_version("services", "My Item"), Some(2));
    let made = call("POST", "/vaults/services/items", r#"{"title":"made","fields":{"a":"b"}}"#);
    assert_eq!(made.json()["id"], json!(server.item_id("services", "made")));
    assert_eq!(call("PUT", "/items/services/made/files/ca.pem", "PEM").status, 204);
    assert_eq!(call("DELETE", "/items/services/made/files/ca.pem", "").status, 204);
    assert_eq!(call("DELETE", "/items/services/made/files/ca.pem", "").status, 400);
    assert_eq!(
        call("PATCH", "/items/services/made", r#"{"title":"other","state":"ARCHIVED"}"#).status,
        204
    );
    assert_eq!(call("DELETE", "/items/services/other", "").status, 204);
    assert_eq!(call("DELETE", "/items/services/other", "").status, 400);
    let fault = call("POST", "/faults", r#"{"kind":{"status":{"code":503,"message":"x"}}}"#).json()
        ["id"]
        .clone();
    assert_eq!(get(&server, "/v1/vaults").status, 503);
    assert_eq!(call("DELETE", &format!("/faults/{fault}"), "").status, 204);
    assert_eq!(get(&server, "/v1/vaults").status, 200);
    assert_eq!(call("GET", "/requests", "").json()["by_route"]["GET /v1/vaults"], 2);
    assert_eq!(call("DELETE", "/requests", "").status, 204);
    let presence = r#"{"version":"1.7.0","health":[{"service":"sync","status":"TOKEN_NEEDED"}],
        "content_versions":"nowhere"}"#;
    assert_eq!(call("PATCH", "/presence", presence).status, 204);
    let health = get(&server, "/health").json();
    assert_eq!(
        (&health["version"], &health["dependencies"][0]["status"]),
        (&json!("1.7.0"), &json!("TOKEN_NEEDED"))
    );
    assert!(get(&server, "/v1/vaults").json()[0].get("contentVersion").is_none());
    server.reset_requests();
    assert_eq!(call("DELETE", "/tokens/some", "").status, 204);
    assert_eq!(call("PUT", "/state", "").status, 400, "it has no file");
    assert_eq!(call("PUT", "/state", STATE).status, 204);
    assert_eq!(server.requests().total, 0);
}
