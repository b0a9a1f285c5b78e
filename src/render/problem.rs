use crate::api::Reason;
use crate::connect::{FindError, Kind};
use crate::policy::ResolvedReference;
use crate::reference::Wanted;

use super::ssh::SshKeyError;

/// Why a key gets no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nothing to deliver is found in the item.
    Find(FindError),
    /// The value is no key that can be put into the OpenSSH format.
    SshKey(SshKeyError),
    /// The item or the file is not among what was fetched.
    NotFetched,
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        Self::Find(error)
    }
}

impl From<SshKeyError> for Problem {
    fn from(error: SshKeyError) -> Self {
        Self::SshKey(error)
    }
}

impl Problem {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Find(error) => error.reason(),
            Self::SshKey(_) => Reason::SshKeyInvalid,
            Self::NotFetched => Reason::InternalError,
        }
    }

    pub(super) fn describe(&self, reference: &ResolvedReference) -> String {
        let item = format!("item {} of vault {}", reference.item.title, reference.item.vault_name);
        let field = &reference.field;
        match self {
            Self::Find(error) => describe(error, &item, reference.section.as_deref(), field),
            Self::SshKey(error) => format!("field {field} of {item} {error}"),
            Self::NotFetched => format!("{field} of {item} was not fetched"),
        }
    }
}

fn describe(error: &FindError, item: &str, section: Option<&str>, field: &str) -> String {
    match (error, section) {
        (FindError::SectionNotFound, section) => {
            format!("{item} has no section {}", section.unwrap_or_default())
        }
        (FindError::NotFound, None) => format!("{item} has no field {field}"),
        (FindError::NotFound, Some(section)) => {
            format!("section {section} of {item} has no field {field}")
        }
        (FindError::Ambiguous(ids), _) => format!(
            "{item} has {} fields or files {field}, with the ids {}; name the section, or use an id",
            ids.len(),
            ids.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", "),
        ),
        (FindError::AmbiguousWebsite(count), _) => format!(
            "{item} has {count} websites {field}; give each a label of its own in 1Password"
        ),
        (FindError::Empty(kind), _) => {
            format!("{kind} {field} of {item} is empty; fill it in 1Password or remove the key")
        }
        (FindError::OneTimePassword, _) => format!(
            "field {field} of {item} is a one-time password, which would be stale as soon as it is written"
        ),
        (FindError::NoAttribute(Kind::File, Wanted::OpenSsh), _) => {
            format!("{field} of {item} is a file, and ssh-format is for fields")
        }
        (FindError::NoAttribute(kind, wanted), _) => {
            format!("{kind} {field} of {item} has no attribute {}", wanted.as_str())
        }
    }
}
