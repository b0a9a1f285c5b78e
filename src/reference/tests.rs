use proptest::prelude::*;

use super::*;
use crate::api::{Attribute, SshFormat};

/// A segment as references can spell it.
const SEGMENT: &str = "[A-Za-z0-9_.-]([A-Za-z0-9_. -]{0,8}[A-Za-z0-9_.-])?";

fn wanted(query: &str) -> Result<Wanted, ParseError> {
    format!("op://v/i/f{query}").parse().map(|reference: Reference| reference.wanted)
}

#[test]
fn three_parts_are_vault_item_field() {
    let reference: Reference = "op://services/orders db/url".parse().unwrap();
    assert_eq!(reference, Reference::new("services", "orders db", None, "url", Wanted::Value));
}

#[test]
fn four_parts_name_a_section() {
    let reference: Reference = "op://services/orders-db/main.1/url".parse().unwrap();
    let expected = Reference::new("services", "orders-db", Some("main.1"), "url", Wanted::Value);
    assert_eq!(reference, expected);
}

#[test]
fn what_is_no_reference_is_refused_with_its_place() {
    for (text, error) in [
        ("services/orders/url", ParseError::Scheme),
        ("OP://services/orders/url", ParseError::Scheme),
        ("op://services/url", ParseError::Parts(2)),
        ("op://a/b/c/d/e", ParseError::Parts(5)),
        ("op://a//c", ParseError::Empty(2)),
        ("op://a/b/", ParseError::Empty(3)),
        ("op://a/b/?attribute=id", ParseError::Empty(3)),
        ("op://a/ b/c", ParseError::OuterSpace(2)),
        ("op://a/b/c ?attribute=id", ParseError::OuterSpace(3)),
        ("op://a/b%20c/d", ParseError::Character(2)),
        ("op://$VAULT/b/c", ParseError::Character(1)),
        ("op://a/b/${FIELD}", ParseError::Character(3)),
        ("op://a/b/naïve", ParseError::Character(3)),
        ("op://a/b?attribute=id/c", ParseError::Parts(2)),
    ] {
        assert_eq!(text.parse::<Reference>(), Err(error), "{text}");
    }
}

#[test]
fn a_query_says_what_of_the_field_is_wanted() {
    for (query, expected) in [
        ("", Wanted::Value),
        ("?attribute=value", Wanted::Value),
        ("?attr=type", Wanted::Type),
        ("?attribute=id", Wanted::Id),
        ("?attr=purpose", Wanted::Purpose),
        ("?attribute=label", Wanted::Label),
        ("?attr=title", Wanted::Label),
        ("?attribute=content", Wanted::Content),
        ("?attr=size", Wanted::Size),
        ("?attribute=name", Wanted::Name),
        ("?ssh-format=openssh", Wanted::OpenSsh),
        ("?ssh-format=openssh&attribute=value", Wanted::OpenSsh),
        ("?attr=value&ssh-format=openssh", Wanted::OpenSsh),
    ] {
        assert_eq!(wanted(query), Ok(expected), "{query}");
    }
}

#[test]
fn a_query_that_means_nothing_is_refused() {
    for (query, error) in [
        ("?", ParseError::Query),
        ("?attribute", ParseError::Query),
        ("?colour=red", ParseError::Query),
        ("?Attribute=id", ParseError::Query),
        ("?attribute=id&", ParseError::Query),
        ("?&attribute=id", ParseError::Query),
        ("??attribute=id", ParseError::Query),
        ("?attribute=id&attr=id", ParseError::Query),
        ("?ssh-format=openssh&ssh-format=openssh", ParseError::Query),
        ("?attribute=", ParseError::Attribute),
        ("?attribute=colour", ParseError::Attribute),
        ("?attribute=ID", ParseError::Attribute),
        ("?attribute=id?", ParseError::Attribute),
        ("?attribute=id#x", ParseError::Attribute),
        ("?attribute=%69d", ParseError::Attribute),
        ("?ssh-format=pem", ParseError::SshFormat),
        ("?attribute=type&ssh-format=openssh", ParseError::SshFormatOfAttribute),
        ("?ssh-format=openssh&attr=content", ParseError::SshFormatOfAttribute),
    ] {
        assert_eq!(wanted(query), Err(error), "{query}");
    }
}

#[test]
fn a_one_time_password_is_refused_wherever_it_stands() {
    for query in [
        "?attribute=otp",
        "?attr=totp",
        "?attribute=otp&ssh-format=openssh",
        "?ssh-format=openssh&attr=totp",
    ] {
        let error = wanted(query).unwrap_err();
        assert_eq!(error.reason(), Reason::OneTimePassword, "{query}");
    }
}

#[test]
fn parts_in_fields_mean_the_same_as_a_query() {
    let parts = |attribute, ssh_format| ItemRef {
        vault: "v".to_owned(),
        item: "a/b \"c\"".to_owned(),
        section: None,
        field: "f".to_owned(),
        attribute,
        ssh_format,
    };
    let read = |attribute, ssh_format| Reference::try_from(&parts(attribute, ssh_format));
    let expected = Reference::new("v", "a/b \"c\"", None, "f", Wanted::Size);
    assert_eq!(read(Some(Attribute::Size), None), Ok(expected));
    let openssh = Some(SshFormat::OpenSsh);
    assert_eq!(read(None, openssh).map(|reference| reference.wanted), Ok(Wanted::OpenSsh));
    assert_eq!(read(Some(Attribute::Id), openssh), Err(ParseError::SshFormatOfAttribute));
    assert_eq!(read(Some(Attribute::Otp), openssh), Err(ParseError::OneTimePassword));
}

#[test]
fn each_thing_that_can_be_wanted_has_its_word() {
    let words = Wanted::ALL.map(Wanted::as_str).join(" ");
    assert_eq!(words, "value openssh type id purpose label content size name");
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,80}", query in "[a-z&=?-]{0,40}") {
        let _ = text.parse::<Reference>();
        let _ = wanted(&query);
    }

    #[test]
    fn what_is_accepted_has_clean_parts_and_reads_back(
        text in "op://[a-z $%#/.?&=é-]{1,24}(\\?(attribute=id|attr=name|ssh-format=openssh)(&[a-z=-]{0,12})?)?",
    ) {
        if let Ok(reference) = text.parse::<Reference>() {
            let parts = [Some(&reference.vault), Some(&reference.item), reference.section.as_ref(), Some(&reference.field)];
            for part in parts.into_iter().flatten() {
                prop_assert_eq!(part.trim(), part.as_str());
                prop_assert!(!part.is_empty() && !part.contains(|c: char| !c.is_ascii() || "/?&=#%$".contains(c)));
            }
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        }
    }

    #[test]
    fn what_is_displayed_is_parsed_back(
        vault in SEGMENT,
        item in SEGMENT,
        section in proptest::option::of(SEGMENT),
        field in SEGMENT,
        wanted in proptest::sample::select(Wanted::ALL.to_vec()),
    ) {
        let reference = Reference::new(&vault, &item, section.as_deref(), &field, wanted);
        prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
    }

    #[test]
    fn the_order_of_the_parameters_does_not_matter(
        first in "(attribute|attr|ssh-format)=(value|id|otp|openssh|pem)",
        second in "(attribute|attr|ssh-format)=(value|id|otp|openssh|pem)",
    ) {
        let forth = wanted(&format!("?{first}&{second}"));
        let back = wanted(&format!("?{second}&{first}"));
        prop_assert_eq!(forth.ok(), back.ok());
    }
}
