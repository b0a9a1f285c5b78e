//! 1Password secret references: `op://<vault>/<item>/[<section>/]<field>`.
//!
//! Split by hand and not by a URL library, which would read the vault as a host
//! (<https://www.1password.dev/cli/secret-reference-syntax>).

mod names;

use std::fmt;
use std::str::FromStr;

pub use names::{fold, select};

use crate::api::ItemRef;

/// Which field of which item is meant, as the requester spelled it: each part is a name or an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The vault's name or id.
    pub vault: String,
    /// The item's title or id.
    pub item: String,
    /// The section's label or id, if one is named.
    pub section: Option<String>,
    /// The field's label or id.
    pub field: String,
}

/// Why a text is no reference. Never holds the text: what looks like a reference may be a pasted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The scheme is missing.
    #[error("a reference starts with op://")]
    Scheme,
    /// Too few or too many parts.
    #[error("a reference is op://<vault>/<item>/[<section>/]<field>, 3 or 4 parts, not {0}")]
    Parts(usize),
    /// A part is empty.
    #[error("part {0} of the reference is empty")]
    Empty(usize),
    /// A part starts or ends with a space.
    #[error("part {0} of the reference starts or ends with a space")]
    OuterSpace(usize),
    /// A part has a character that references cannot spell.
    #[error(
        "part {0} of the reference has a character other than letters, digits, '-', '_', '.' and space; use its id, or spec.data[].from"
    )]
    Character(usize),
    /// Longer than [`Reference::MAX_LEN`].
    #[error("a reference has at most {max} characters", max = Reference::MAX_LEN)]
    TooLong,
}

impl Reference {
    /// The longest reference, in bytes.
    pub const MAX_LEN: usize = 1024;
}

impl FromStr for Reference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > Self::MAX_LEN {
            return Err(ParseError::TooLong);
        }
        let rest = text.strip_prefix("op://").ok_or(ParseError::Scheme)?;
        let parts: Vec<&str> = rest.split('/').collect();
        for (number, part) in (1..).zip(&parts) {
            check_part(number, part)?;
        }
        match parts.as_slice() {
            [vault, item, field] => Ok(Self::new(vault, item, None, field)),
            [vault, item, section, field] => Ok(Self::new(vault, item, Some(section), field)),
            other => Err(ParseError::Parts(other.len())),
        }
    }
}

impl Reference {
    fn new(vault: &str, item: &str, section: Option<&str>, field: &str) -> Self {
        Self {
            vault: vault.to_owned(),
            item: item.to_owned(),
            section: section.map(str::to_owned),
            field: field.to_owned(),
        }
    }
}

fn check_part(number: usize, part: &str) -> Result<(), ParseError> {
    if part.is_empty() {
        Err(ParseError::Empty(number))
    } else if part.starts_with(' ') || part.ends_with(' ') {
        Err(ParseError::OuterSpace(number))
    } else if !part
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b' '))
    {
        Err(ParseError::Character(number))
    } else {
        Ok(())
    }
}

impl From<&ItemRef> for Reference {
    fn from(parts: &ItemRef) -> Self {
        Self::new(&parts.vault, &parts.item, parts.section.as_deref(), &parts.field)
    }
}

/// For messages: parts in the form of a reference, also where a part could not stand in one.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op://{}/{}/", self.vault, self.item)?;
        if let Some(section) = &self.section {
            write!(f, "{section}/")?;
        }
        f.write_str(&self.field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_parts_are_vault_item_field() {
        let reference: Reference = "op://services/orders db/url".parse().unwrap();
        assert_eq!(reference, Reference::new("services", "orders db", None, "url"));
    }

    #[test]
    fn four_parts_name_a_section() {
        let reference: Reference = "op://services/orders-db/main.1/url".parse().unwrap();
        assert_eq!(reference, Reference::new("services", "orders-db", Some("main.1"), "url"));
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
            ("op://a/ b/c", ParseError::OuterSpace(2)),
            ("op://a/b/c?attribute=otp", ParseError::Character(3)),
            ("op://a/b%20c/d", ParseError::Character(2)),
            ("op://$VAULT/b/c", ParseError::Character(1)),
            ("op://a/b/naïve", ParseError::Character(3)),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn what_is_displayed_is_parsed_back(
            vault in "[A-Za-z0-9_.-]([A-Za-z0-9_. -]{0,8}[A-Za-z0-9_.-])?",
            item in "[A-Za-z0-9_.-]([A-Za-z0-9_. -]{0,8}[A-Za-z0-9_.-])?",
            section in proptest::option::of("[A-Za-z0-9_.-]{1,8}"),
            field in "[A-Za-z0-9_.-]{1,8}",
        ) {
            let reference = Reference::new(&vault, &item, section.as_deref(), &field);
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        }
    }
}
