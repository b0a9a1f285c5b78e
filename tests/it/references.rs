//! What a reference can mean, from the request to the Secret: any title, sections, notes, websites, attributes.

use std::collections::BTreeMap;

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::{FieldSpec, ItemSpec, SectionSpec};
use portcullis_test_support::{Bed, condition};
use serde_json::{Value, json};

/// Applies a request for these entries and waits for its Secret.
async fn deliver(bed: &Bed, name: &str, data: Vec<Value>) -> BTreeMap<String, String> {
    let spec = json!({"purpose": "a test", "data": data});
    bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
    bed.wait_ready(name).await;
    let data = bed.secret(name).await.and_then(|secret| secret.data).unwrap_or_default();
    data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_any_title_is_delivered_by_its_parts() {
    let bed = Bed::new("titles").await;
    let titles = [
        "the \"db\" of orders",
        "it's",
        "A & B + C # D",
        "orders/db (new)",
        "Zürich 東京 🗝",
        " outer spaces ",
        "100%20 ${HOME} \\n",
        "op://services/orders-db/url?attribute=id",
    ];
    let mut data = Vec::new();
    for (number, title) in titles.iter().enumerate() {
        let item = ItemSpec::new(title).section_field("a/b ü", "p&w \"1\"", &format!("v{number}"));
        bed.connect.add_item("services", item).unwrap();
        let from =
            json!({"vault": "services", "item": title, "section": "a/b ü", "field": "p&w \"1\""});
        data.push(json!({"key": format!("k{number}"), "from": from}));
    }
    let operator = bed.operator().await;
    let delivered = deliver(&bed, "any", data).await;
    let expected: BTreeMap<String, String> =
        (0..titles.len()).map(|number| (format!("k{number}"), format!("v{number}"))).collect();
    assert_eq!(delivered, expected);
    operator.stop().await;
}

/// Such a title looks like an id, and is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_title_of_26_letters_is_found_as_a_title() {
    let bed = Bed::new("long-title").await;
    let title = "abcdefghijklmnopqrstuvwxyz";
    let id = bed.connect.add_item("services", ItemSpec::new(title).field("f", "v")).unwrap();
    assert_ne!(id, title);
    let operator = bed.operator().await;
    let data = vec![
        json!({"key": "title", "ref": format!("op://services/{title}/f")}),
        json!({"key": "id", "ref": format!("op://services/{id}/f")}),
        json!({"key": "from", "from": {"vault": "services", "item": title, "field": "f"}}),
    ];
    let delivered = deliver(&bed, "any", data).await;
    assert!(delivered.len() == 3 && delivered.values().all(|value| value == "v"));
    operator.stop().await;
}

/// An item with a field outside of sections, others in sections of one label, notes and websites.
fn rich() -> ItemSpec {
    let section = |id: &str| SectionSpec { id: id.to_owned(), label: Some("main".to_owned()) };
    let inside = |section: &str, label: &str, value: &str| FieldSpec {
        section: Some(section.to_owned()),
        ..FieldSpec::new(label, value)
    };
    let notes = FieldSpec {
        purpose: Some("NOTES".to_owned()),
        ..FieldSpec::new("notesPlain", "as written\n")
    };
    let mut item = ItemSpec::new("rich")
        .field("password", "hunter2")
        .field("url", "outside")
        .with(inside("s1", "url", "inside"))
        .with(inside("s2", "port", "5432"))
        .with(notes);
    item.sections = vec![section("s1"), section("s2")];
    item.urls = vec!["https://first.example".to_owned(), "https://second.example".to_owned()];
    item
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_notes_websites_and_attributes_are_delivered() {
    let bed = Bed::new("parts").await;
    bed.connect.add_item("services", rich()).unwrap();
    let operator = bed.operator().await;
    let cases = [
        ("url", "outside"),
        ("main/url", "inside"),
        ("MAIN/url", "inside"),
        ("s1/url", "inside"),
        ("main/port", "5432"),
        ("port", "5432"),
        ("notes", "as written\n"),
        ("notesPlain", "as written\n"),
        ("website", "https://first.example"),
        ("password?attribute=value", "hunter2"),
        ("password?attribute=type", "CONCEALED"),
        ("password?attr=purpose", "PASSWORD"),
        ("Password?attribute=label", "password"),
        ("password?attribute=id", "password"),
    ];
    let entry = |(number, (path, _)): (usize, &(&str, &str))| json!({"key": format!("k{number:02}"), "ref": format!("op://services/rich/{path}")});
    let mut data: Vec<Value> = cases.iter().enumerate().map(entry).collect();
    let from = |attribute| json!({"vault": "services", "item": "rich", "field": "password", "attribute": attribute});
    data.push(json!({"key": "l", "from": from("title")}));
    let delivered = deliver(&bed, "parts", data).await;
    let values: Vec<&str> = delivered.values().map(String::as_str).collect();
    let expected = cases.iter().map(|(_, value)| *value).chain(["password"]);
    assert_eq!(values, expected.collect::<Vec<_>>());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_cannot_have_is_told_and_heals_with_the_request() {
    let bed = Bed::new("queries").await;
    bed.connect.add_item("services", rich()).unwrap();
    let operator = bed.operator().await;
    let cases = [
        (
            "size",
            "password?attribute=size",
            Reason::AttributeNotFound,
            "field password of item rich of vault services has no attribute size",
        ),
        ("site", "website?attribute=id", Reason::AttributeNotFound, "website website of item rich"),
        (
            "key",
            "password?ssh-format=openssh",
            Reason::SshKeyInvalid,
            "field password of item rich of vault services is not a private key in PEM",
        ),
        (
            "otp",
            "password?attribute=otp",
            Reason::OneTimePassword,
            "spec.data[key]: attribute is a one-time password",
        ),
        (
            "totp",
            "password?ssh-format=openssh&attr=totp",
            Reason::OneTimePassword,
            "one-time password",
        ),
    ];
    for (name, path, ..) in &cases {
        bed.request_data(name, &[("key", &format!("op://services/rich/{path}"))]).await;
    }
    for (name, _, reason, words) in &cases {
        let request = bed.wait_reason(name, *reason).await;
        let message = &condition(&request, "Ready").unwrap().message;
        assert!(message.contains(words) && !message.contains("hunter2"), "{name}: {message}");
        assert_eq!(condition(&request, "Stalled").unwrap().status, "True", "{name}");
        assert!(bed.secret(name).await.is_none(), "{name}");
        let data = json!([{"key": "key", "ref": "op://services/rich/password"}]);
        bed.patch_request(name, json!({"spec": {"data": data}})).await;
        bed.wait_value(name, "key", "hunter2").await;
    }
    operator.stop().await;
}
