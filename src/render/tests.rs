use serde_json::json;

use super::*;
use crate::policy::ItemIdentity;
use crate::reference::Wanted;

const ID: &str = "iiiiiiiiiiiiiiiiiiiiiiiiii";

fn item() -> Item {
    serde_json::from_value(json!({
        "id": ID, "title": "orders", "vault": {"id": ID}, "version": 1,
        "sections": [{"id": "s", "label": "main"}],
        "fields": [{"id": "1", "label": "url", "value": "postgres://ü", "type": "STRING"},
                   {"id": "2", "label": "port", "value": "", "section": {"id": "s"}}],
        "files": [{"id": "f", "name": "keystore", "size": 5}, {"id": "g", "name": "empty", "size": 0}],
    }))
    .unwrap()
}

fn reference(section: Option<&str>, field: &str, wanted: Wanted) -> ResolvedReference {
    ResolvedReference {
        key: "key".to_owned(),
        item: ItemIdentity {
            vault_id: ID.into(),
            item_id: ID.into(),
            vault_name: "services".into(),
            title: "orders".into(),
        },
        version: 1,
        environment: None,
        class: "services".to_owned(),
        type_: "LOGIN".into(),
        section: section.map(str::to_owned),
        field: field.to_owned(),
        wanted,
    }
}

fn content(file: &str) -> Option<&'static [u8]> {
    match file {
        "f" => Some(b"\xfe\xed\0\n\xff"),
        "g" => Some(b""),
        _ => None,
    }
}

#[test]
fn the_bytes_of_a_file_are_delivered_as_they_are() {
    let keystore = reference(None, "keystore", Wanted::Value);
    assert_eq!(value(&item(), &keystore, content), Ok(b"\xfe\xed\0\n\xff".to_vec()));
    let url = reference(None, "url", Wanted::Value);
    assert_eq!(value(&item(), &url, content), Ok("postgres://ü".into()));
    let size = reference(None, "keystore", Wanted::Size);
    assert_eq!(value(&item(), &size, |_| None), Ok(b"5".to_vec()), "needs no contents");
}

#[test]
fn each_problem_has_its_reason_and_words() {
    for (section, field, wanted, reason, words) in [
        (
            None,
            "none",
            Wanted::Value,
            Reason::FieldNotFound,
            "item orders of vault services has no field none",
        ),
        (
            Some("main"),
            "url",
            Wanted::Value,
            Reason::FieldNotFound,
            "section main of item orders of vault services has no field url",
        ),
        (
            Some("other"),
            "url",
            Wanted::Value,
            Reason::FieldNotFound,
            "item orders of vault services has no section other",
        ),
        (
            Some("main"),
            "port",
            Wanted::Value,
            Reason::FieldEmpty,
            "field port of item orders of vault services is empty",
        ),
        (
            None,
            "empty",
            Wanted::Content,
            Reason::FieldEmpty,
            "file empty of item orders of vault services is empty",
        ),
        (
            None,
            "url",
            Wanted::Size,
            Reason::AttributeNotFound,
            "field url of item orders of vault services has no attribute size",
        ),
        (
            None,
            "keystore",
            Wanted::OpenSsh,
            Reason::AttributeNotFound,
            "keystore of item orders of vault services is a file",
        ),
        (
            None,
            "url",
            Wanted::OpenSsh,
            Reason::SshKeyInvalid,
            "field url of item orders of vault services is not a private key in PEM",
        ),
    ] {
        let reference = reference(section, field, wanted);
        let problem = value(&item(), &reference, content).unwrap_err();
        assert_eq!(problem.reason(), reason, "{words}");
        let said = problem.describe(&reference);
        assert!(said.starts_with(words) && !said.contains("postgres"), "{said}");
    }
    let lost = reference(None, "keystore", Wanted::Value);
    assert_eq!(value(&item(), &lost, |_| None), Err(Problem::NotFetched));
}
