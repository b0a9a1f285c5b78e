use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const ID: &str = "iiiiiiiiiiiiiiiiiiiiiiiiii";

fn item(parts: &Json) -> Item {
    let mut body = json!({"id": ID, "title": "orders", "vault": {"id": ID}, "version": 1});
    body.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

fn field(id: &str, label: &str, section: Option<&str>, value: &str) -> Json {
    let section = section.map(|id| json!({"id": id}));
    json!({"id": id, "label": label, "type": "STRING", "value": value, "section": section})
}

fn file(id: &str, name: &str, section: Option<&str>) -> Json {
    let section = section.map(|id| json!({"id": id}));
    json!({"id": id, "name": name, "size": 7, "section": section, "content_path": "/elsewhere"})
}

/// The text that is found; of a file its id.
fn find(
    item: &Item,
    section: Option<&str>,
    name: &str,
    wanted: Wanted,
) -> Result<String, FindError> {
    Ok(match item.find(section, name, wanted)? {
        Found::Text(text) => text.into_owned(),
        Found::PrivateKey(key) => format!("key {key}"),
        Found::File(file) => format!("file {}", file.id),
    })
}

fn value(item: &Item, section: Option<&str>, name: &str) -> Result<String, FindError> {
    find(item, section, name, Wanted::Value)
}

fn ok(text: &str) -> Result<String, FindError> {
    Ok(text.to_owned())
}

fn ambiguous(ids: &[&str]) -> Result<String, FindError> {
    Err(FindError::Ambiguous(ids.iter().map(|id| (*id).to_owned()).collect()))
}

#[test]
fn a_field_outside_sections_comes_before_those_inside() {
    let item = item(&json!({
        "sections": [{"id": "s", "label": "main"}],
        "fields": [field("1", "url", Some("s"), "inside"), field("2", "url", None, "outside"),
                   field("3", "port", Some("s"), "80"), field("4", "port", Some("add more"), "81")],
    }));
    assert_eq!(value(&item, None, "url"), ok("outside"));
    assert_eq!(value(&item, Some("main"), "url"), ok("inside"));
    assert_eq!(value(&item, Some("s"), "url"), ok("inside"));
    assert_eq!(value(&item, None, "port"), ok("81"), "`add more` is no section");
}

#[test]
fn a_field_unique_across_sections_needs_no_section() {
    let item = item(&json!({
        "fields": [field("1", "url", Some("s"), "a"), field("2", "port", Some("t"), "b")],
    }));
    assert_eq!(value(&item, None, "port"), ok("b"));
}

#[test]
fn two_fields_of_one_label_are_ambiguous_and_an_id_tells_them_apart() {
    let item = item(&json!({
        "fields": [field("1", "url", Some("s"), "a"), field("2", "url", Some("t"), "b")],
    }));
    assert_eq!(value(&item, None, "url"), ambiguous(&["1", "2"]));
    assert_eq!(value(&item, None, "2"), ok("b"));
}

#[test]
fn several_sections_of_one_label_count_together() {
    let item = item(&json!({
        "sections": [{"id": "s", "label": "db"}, {"id": "t", "label": "db"}, {"id": "u", "label": "DB"}],
        "fields": [field("1", "url", Some("s"), "a"), field("2", "port", Some("t"), "b"),
                   field("3", "url", Some("t"), "c"), field("4", "user", Some("u"), "d")],
    }));
    assert_eq!(value(&item, Some("db"), "port"), ok("b"));
    assert_eq!(value(&item, Some("db"), "url"), ambiguous(&["1", "3"]));
    assert_eq!(value(&item, Some("t"), "url"), ok("c"));
    assert_eq!(value(&item, Some("db"), "user"), Err(FindError::NotFound));
    assert_eq!(value(&item, Some("Db"), "user"), ok("d"), "case alone differs for all of them");
}

#[test]
fn an_id_comes_before_a_label_and_letters_alike_before_case_alone() {
    let item = item(&json!({
        "fields": [field("username", "mail", None, "by id"), field("1", "username", None, "by label"),
                   field("2", "Key", None, "Key"), field("3", "key", None, "key")],
    }));
    assert_eq!(value(&item, None, "username"), ok("by id"));
    assert_eq!(value(&item, None, "1"), ok("by label"));
    assert_eq!(value(&item, None, "key"), ok("key"));
    assert_eq!(value(&item, None, "KEY"), ambiguous(&["2", "3"]));
    assert_eq!(value(&item, None, "MAIL"), ok("by id"));
}

#[test]
fn files_are_found_as_fields_are() {
    let item = item(&json!({
        "sections": [{"id": "s", "label": "tls"}],
        "fields": [field("1", "ca.pem", Some("s"), "text")],
        "files": [file("f1", "ca.pem", Some("s")), file("f2", "key.pem", Some("s")),
                  file("f3", "key.pem", None)],
    }));
    assert_eq!(value(&item, None, "key.pem"), ok("file f3"));
    assert_eq!(value(&item, Some("tls"), "KEY.pem"), ok("file f2"));
    assert_eq!(value(&item, None, "f2"), ok("file f2"));
    assert_eq!(value(&item, None, "ca.pem"), ambiguous(&["1", "f1"]));
    assert_eq!(value(&item, Some("tls"), "1"), ok("text"));
    assert_eq!(value(&item, Some("tls"), "f1"), ok("file f1"));
}

#[test]
fn a_website_is_found_by_its_label_after_fields_and_files() {
    let item = item(&json!({
        "fields": [field("1", "admin", Some("s"), "a field")],
        "urls": [{"label": "admin", "href": "https://a"}, {"label": "docs", "href": "https://b"},
                 {"label": "docs", "href": "https://c", "primary": true},
                 {"label": "twice", "href": "https://d"}, {"label": "twice", "href": "https://e"},
                 {"label": "empty", "href": ""}, {"label": "none"}],
    }));
    assert_eq!(value(&item, None, "admin"), ok("a field"));
    assert_eq!(value(&item, None, "Docs"), ok("https://c"), "the primary one of its label");
    assert_eq!(value(&item, None, "twice"), Err(FindError::AmbiguousWebsite(2)));
    for empty in ["empty", "none"] {
        assert_eq!(value(&item, None, empty), Err(FindError::Empty(Kind::Website)));
    }
    assert_eq!(value(&item, None, "website"), ok("https://c"), "the primary one of all");
    assert_eq!(find(&item, None, "docs", Wanted::Label), ok("docs"));
}

#[test]
fn website_is_the_one_labelled_so_else_the_primary_or_only_one() {
    let websites = |urls: Json| value(&item(&json!({"urls": urls})), None, "website");
    let labelled = json!([{"label": "website", "href": "a"}, {"href": "b", "primary": true}]);
    assert_eq!(websites(labelled), ok("a"));
    assert_eq!(websites(json!([{"href": "a", "primary": null}])), ok("a"));
    assert_eq!(
        websites(json!([{"href": "a"}, {"href": "b"}])),
        Err(FindError::AmbiguousWebsite(2))
    );
    assert_eq!(websites(json!(null)), Err(FindError::NotFound));
}

#[test]
fn notes_are_the_field_of_that_purpose_unless_a_field_is_called_so() {
    let notes = json!({"id": "n", "type": "STRING", "purpose": "NOTES", "value": "written"});
    let plain = item(&json!({"fields": [notes]}));
    for name in ["notes", "notesPlain", "Notes"] {
        assert_eq!(value(&plain, None, name), ok("written"), "{name}");
    }
    let named = item(&json!({"fields": [notes, field("1", "notes", None, "a field")]}));
    assert_eq!(value(&named, None, "notes"), ok("a field"));
    assert_eq!(value(&named, None, "notesPlain"), ok("written"));
    assert_eq!(value(&item(&json!({})), None, "notes"), Err(FindError::NotFound));
}

#[test]
fn what_is_missing_empty_or_a_one_time_password_is_an_error() {
    let otp = json!({"id": "3", "label": "code", "type": "OTP", "value": "otpauth://totp/x"});
    let item = item(&json!({"fields": [field("1", "url", None, ""), otp]}));
    assert_eq!(value(&item, None, "none"), Err(FindError::NotFound));
    assert_eq!(value(&item, Some("none"), "url"), Err(FindError::SectionNotFound));
    assert_eq!(value(&item, None, "url"), Err(FindError::Empty(Kind::Field)));
    for wanted in [Wanted::Value, Wanted::OpenSsh] {
        assert_eq!(find(&item, None, "code", wanted), Err(FindError::OneTimePassword));
    }
    assert_eq!(find(&item, None, "code", Wanted::Type), ok("OTP"));
}

#[test]
fn attributes_are_those_of_what_was_found() {
    let user =
        json!({"id": "u", "label": "user", "type": "STRING", "purpose": "USERNAME", "value": "x"});
    let bare = json!({"id": "b", "type": ""});
    let item = item(&json!({
        "fields": [user, bare],
        "files": [file("f", "ca.pem", None), {"id": "g"}],
        "urls": [{"label": "site", "href": "https://a"}],
    }));
    let no = |kind, wanted| Err(FindError::NoAttribute(kind, wanted));
    for (name, wanted, expected) in [
        ("user", Wanted::OpenSsh, ok("key x")),
        ("user", Wanted::Type, ok("STRING")),
        ("user", Wanted::Id, ok("u")),
        ("user", Wanted::Purpose, ok("USERNAME")),
        ("u", Wanted::Label, ok("user")),
        ("user", Wanted::Content, no(Kind::Field, Wanted::Content)),
        ("user", Wanted::Size, no(Kind::Field, Wanted::Size)),
        ("user", Wanted::Name, no(Kind::Field, Wanted::Name)),
        ("b", Wanted::Type, no(Kind::Field, Wanted::Type)),
        ("b", Wanted::Purpose, no(Kind::Field, Wanted::Purpose)),
        ("b", Wanted::Label, no(Kind::Field, Wanted::Label)),
        ("ca.pem", Wanted::Content, ok("file f")),
        ("ca.pem", Wanted::Size, ok("7")),
        ("f", Wanted::Name, ok("ca.pem")),
        ("ca.pem", Wanted::Id, ok("f")),
        ("ca.pem", Wanted::Type, ok("FILE")),
        ("ca.pem", Wanted::Purpose, no(Kind::File, Wanted::Purpose)),
        ("ca.pem", Wanted::Label, no(Kind::File, Wanted::Label)),
        ("ca.pem", Wanted::OpenSsh, no(Kind::File, Wanted::OpenSsh)),
        ("g", Wanted::Size, no(Kind::File, Wanted::Size)),
        ("g", Wanted::Name, no(Kind::File, Wanted::Name)),
        ("site", Wanted::Label, ok("site")),
        ("site", Wanted::Id, no(Kind::Website, Wanted::Id)),
    ] {
        assert_eq!(find(&item, None, name, wanted), expected, "{name} {wanted:?}");
    }
}

#[test]
fn what_is_found_is_not_shown() {
    let item = item(&json!({
        "fields": [field("1", "key", None, "canary")],
        "urls": [{"label": "site", "href": "https://u:canary@a"}],
    }));
    for (name, wanted) in
        [("key", Wanted::Value), ("key", Wanted::OpenSsh), ("site", Wanted::Value)]
    {
        let shown = format!("{:?}{item:?}", item.find(None, name, wanted).unwrap());
        assert!(!shown.contains("canary") && shown.contains("REDACTED"), "{shown}");
    }
}

proptest! {
    /// Whatever an item holds, an id that only one field or file has finds that one.
    #[test]
    fn an_id_of_its_own_always_finds(
        labels in proptest::collection::vec("[ab12]{1,2}", 1..6),
        sections in proptest::collection::vec(proptest::option::of("[st]"), 6),
        pick in 0_usize..6,
    ) {
        let fields: Vec<Json> = labels
            .iter()
            .zip(&sections)
            .enumerate()
            .map(|(n, (label, section))| field(&format!("id-{n}"), label, section.as_deref(), &format!("v{n}")))
            .collect();
        let pick = pick % fields.len();
        let item = item(&json!({"fields": fields}));
        prop_assert_eq!(value(&item, None, &format!("id-{pick}")), ok(&format!("v{pick}")));
        for label in &labels {
            prop_assert_ne!(value(&item, None, label), Err(FindError::NotFound));
        }
    }
}
