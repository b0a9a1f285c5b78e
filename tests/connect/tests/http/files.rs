//! Files of items: what a body says of them, their content, and how they change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connect_dev::{ConnectDev, FileSpec, ItemSpec, StateSpec};
use serde_json::{Value, json};

use super::{get, refused, send};

/// 100 KB, as Connect counts them.
const INLINE_LIMIT: usize = 100 * 1024;
const BINARY: &[u8] = b"\x00\x01\xff\xfe\r\n\r\n\x00";

fn server() -> ConnectDev {
    let item = ItemSpec::new("certificate")
        .field("note", "hello")
        .file(FileSpec { section: Some("keys".to_owned()), ..FileSpec::new("ca.pem", "PEM") })
        .file(FileSpec { id: Some("f".repeat(26)), ..FileSpec::new("blob.bin", BINARY) });
    let spec = StateSpec::default().token("all", &["*"]).vault(
        "services",
        vec![
            item,
            ItemSpec::new("large")
                .file(FileSpec::new("at.bin", vec![7; INLINE_LIMIT]))
                .file(FileSpec::new("over.bin", vec![7; INLINE_LIMIT + 1])),
            ItemSpec::new("bare"),
        ],
    );
    ConnectDev::start(spec).expect("a server")
}

fn files_of(server: &ConnectDev, item: &str) -> String {
    let vault = server.vault_id("services").expect("an id");
    let item = server.item_id("services", item).expect("an id");
    format!("/v1/vaults/{vault}/items/{item}/files")
}

#[test]
fn files_are_listed_with_and_without_a_slash_and_in_the_item() {
    let server = server();
    let path = files_of(&server, "certificate");
    let item = get(&server, path.trim_end_matches("/files")).json();
    for path in [path.clone(), format!("{path}/")] {
        assert_eq!(get(&server, &path).json(), item["files"], "{path}");
    }
    let [pem, blob] = item["files"].as_array().expect("files").as_slice() else {
        panic!("two files: {item}");
    };
    assert_eq!((&pem["name"], &pem["size"]), (&json!("ca.pem"), &json!(3)));
    assert_eq!(pem["section"]["id"], item["sections"][0]["id"]);
    assert_eq!(pem["content_path"], json!(format!("{path}/{}/content", text(&pem["id"]))));
    assert_eq!((&blob["id"], blob.get("section")), (&json!("f".repeat(26)), None));
    assert!(pem.get("content").is_none() && blob.get("content").is_none());
    assert_eq!(get(&server, &files_of(&server, "bare")).json(), json!([]));
    let vault = server.vault_id("services").expect("an id");
    let list = get(&server, &format!("/v1/vaults/{vault}/items")).json();
    assert!(list.as_array().expect("items").iter().all(|item| item.get("files").is_none()));
}

#[test]
fn content_comes_byte_for_byte_with_its_name_and_length() {
    let server = server();
    let path = files_of(&server, "certificate");
    let answer = get(&server, &format!("{path}/{}/content", "f".repeat(26)));
    assert_eq!((answer.status, answer.bytes.as_slice()), (200, BINARY));
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"blob.bin\"");
    assert_eq!(answer.header("content-length"), BINARY.len().to_string());
    assert_eq!(answer.header("1password-connect-version"), "1.8.2");
}

#[test]
fn a_file_is_inlined_under_either_name_of_the_parameter() {
    let server = server();
    let path = format!("{}/{}", files_of(&server, "certificate"), "f".repeat(26));
    assert!(get(&server, &path).json().get("content").is_none());
    assert!(get(&server, &format!("{path}?inline_files=false")).json().get("content").is_none());
    for query in ["inline_files=true", "inline_content=true", "x=y&inline_files=true"] {
        let body = get(&server, &format!("{path}?{query}")).json();
        assert_eq!(STANDARD.decode(text(&body["content"])).as_deref(), Ok(BINARY), "{query}");
    }
    let list = get(&server, &format!("{}?inline_files=true", files_of(&server, "certificate")));
    assert_eq!(list.json()[0]["content"], json!(STANDARD.encode("PEM")));
}

#[test]
fn a_file_over_100_kb_is_not_inlined() {
    let server = server();
    let path = files_of(&server, "large");
    let files = get(&server, &path).json();
    let (at, over) = (text(&files[0]["id"]), text(&files[1]["id"]));
    assert_eq!(get(&server, &format!("{path}/{at}?inline_files=true")).status, 200);
    let why = format!(
        "File is too large to inline in request. Use the {path}/{over}/content endpoint instead."
    );
    refused(&get(&server, &format!("{path}/{over}?inline_files=true")), 413, &why);
    refused(&get(&server, &format!("{path}?inline_content=true")), 413, &why);
    assert_eq!(get(&server, &format!("{path}/{over}/content")).bytes.len(), INLINE_LIMIT + 1);
}

#[test]
fn files_are_refused_as_items_are() {
    let server = server();
    let path = files_of(&server, "certificate");
    let nobody = "n".repeat(26);
    for tail in ["", "/content"] {
        let missing = format!("{path}/{nobody}{tail}");
        refused(&get(&server, &missing), 404, &format!("file {nobody} not found"));
        refused(&get(&server, &format!("{path}/ca.pem{tail}")), 400, "Invalid File UUID");
        let denied = send(&server.url(), "GET", &missing, "nobody", "");
        refused(&denied, 401, "Invalid bearer token");
    }
    let vault = server.vault_id("services").expect("an id");
    let elsewhere = format!("/v1/vaults/{vault}/items/{nobody}/files");
    refused(&get(&server, &elsewhere), 404, &format!("item {nobody} not found"));
    let nowhere = format!("/v1/vaults/{nobody}/items/{nobody}/files");
    let denied = format!("Authorization: token does not have access to vault {nobody}");
    refused(&get(&server, &nowhere), 403, &denied);
    assert_eq!(server.requests().route("GET /v1/vaults/{v}/items/{i}/files/{f}/content"), 3);
}

#[test]
fn a_changed_file_moves_the_versions_and_keeps_its_id() {
    let server = server();
    let path = files_of(&server, "certificate");
    let id = text(&get(&server, &path).json()[0]["id"]).to_owned();
    server.set_file("services", "certificate", "ca.pem", b"n3w").expect("a change");
    assert_eq!(server.item_version("services", "certificate"), Some(2));
    assert_eq!(get(&server, &format!("{path}/{id}/content")).body, "n3w");
    server.set_file("services", "certificate", "added", b"x").expect("a change");
    server.remove_file("services", "certificate", "ca.pem").expect("a change");
    let names: Vec<Value> = get(&server, &path)
        .json()
        .as_array()
        .expect("files")
        .iter()
        .map(|f| f["name"].clone())
        .collect();
    assert_eq!(names, ["blob.bin", "added"]);
    assert!(server.remove_file("services", "certificate", "ca.pem").is_err());
}

#[test]
fn a_state_file_has_files_as_text_or_base64() {
    let yaml = |file: &str| {
        let text = format!("vaults: [{{name: v, items: [{{title: t, files: [{file}]}}]}}]");
        StateSpec::from_yaml(&text)
    };
    let content =
        |file: &str| yaml(file).expect("a state").vaults[0].items[0].files[0].content.clone();
    assert_eq!(content("{name: a, text: hello}"), b"hello");
    assert_eq!(content("{name: a, base64: AAH/}"), b"\x00\x01\xff");
    for broken in [
        "{name: a}",
        "{name: a, text: s3cret, base64: AAH/}",
        "{name: a, base64: s3cret!}",
        "{name: a, text: s3cret, size: 3}",
    ] {
        let error = yaml(broken).expect_err("an error");
        assert!(!format!("{error:#} {error:?}").contains("s3cret"), "{error:#}");
    }
    let spec = yaml("{name: a, text: s3cret}").expect("a state");
    assert!(!format!("{spec:?}").contains("s3cret"));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}
