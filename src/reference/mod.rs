//! 1Password secret references: `op://<vault>/<item>/[<section>/]<field>`, and a query after it.
//!
//! Split by hand and not by a URL library, which would read the vault as a host
//! (<https://www.1password.dev/cli/secret-reference-syntax>).

mod names;
mod wanted;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use names::{fold, is_id, select};
pub use wanted::Wanted;

use crate::api::{ItemRef, Reason};

/// Which field of which item is meant, as the requester spelled it: each part is a name or an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The vault's name or id.
    pub vault: String,
    /// The item's title or id.
    pub item: String,
    /// The section's label or id, if one is named.
    pub section: Option<String>,
    /// The field's label or id; or the name or id of a file, or the label of a website.
    pub field: String,
    /// What of the field.
    pub wanted: Wanted,
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
    /// The query has something else than the two parameters, or the same twice.
    #[error(
        "after the '?' of a reference stand attribute=<what> and ssh-format=openssh, each at most once, with '&' between them"
    )]
    Query,
    /// An attribute that fields and files do not have.
    #[error("attribute is one of value, type, id, purpose, label, title, content, size and name")]
    Attribute,
    /// Another format than OpenSSH.
    #[error("ssh-format is openssh")]
    SshFormat,
    /// A format for something that has none.
    #[error("ssh-format is a form of the value: leave attribute out")]
    SshFormatOfAttribute,
    /// A one-time password is asked for.
    #[error(
        "attribute is a one-time password, which would be stale as soon as it is written; refer to another field"
    )]
    OneTimePassword,
}

impl ParseError {
    /// The condition's reason.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::OneTimePassword => Reason::OneTimePassword,
            Self::Scheme
            | Self::Parts(_)
            | Self::Empty(_)
            | Self::OuterSpace(_)
            | Self::Character(_)
            | Self::TooLong
            | Self::Query
            | Self::Attribute
            | Self::SshFormat
            | Self::SshFormatOfAttribute => Reason::InvalidSpec,
        }
    }
}

impl Reference {
    /// The longest reference, in bytes, the query among them.
    pub const MAX_LEN: usize = 1024;

    fn new(vault: &str, item: &str, section: Option<&str>, field: &str, wanted: Wanted) -> Self {
        Self {
            vault: vault.to_owned(),
            item: item.to_owned(),
            section: section.map(str::to_owned),
            field: field.to_owned(),
            wanted,
        }
    }
}

impl FromStr for Reference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > Self::MAX_LEN {
            return Err(ParseError::TooLong);
        }
        let rest = text.strip_prefix("op://").ok_or(ParseError::Scheme)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        for (number, part) in (1..).zip(&parts) {
            check_part(number, part)?;
        }
        let (vault, item, section, field) = match *parts.as_slice() {
            [vault, item, field] => (vault, item, None, field),
            [vault, item, section, field] => (vault, item, Some(section), field),
            ref other => return Err(ParseError::Parts(other.len())),
        };
        let wanted = query.map_or(Ok(Wanted::Value), Wanted::from_query)?;
        Ok(Self::new(vault, item, section, field, wanted))
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

impl TryFrom<&ItemRef> for Reference {
    type Error = ParseError;

    fn try_from(parts: &ItemRef) -> Result<Self, ParseError> {
        let wanted = Wanted::new(parts.attribute, parts.ssh_format)?;
        let section = parts.section.as_deref();
        Ok(Self::new(&parts.vault, &parts.item, section, &parts.field, wanted))
    }
}

/// For messages: parts in the form of a reference, also where a part could not stand in one.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op://{}/{}/", self.vault, self.item)?;
        if let Some(section) = &self.section {
            write!(f, "{section}/")?;
        }
        f.write_str(&self.field)?;
        match self.wanted.parameter() {
            Some(parameter) => write!(f, "?{parameter}={}", self.wanted.as_str()),
            None => Ok(()),
        }
    }
}
