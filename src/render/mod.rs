//! Values → the data of a Secret. Pure.

mod problem;
mod ssh;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use zeroize::Zeroize as _;

use crate::api::{Reason, Source, SyncedItem};
use crate::connect::{FindError, Found, Item, Kind};
use crate::fetch::Values;
use crate::policy::{Grant, ResolvedReference};
use problem::Problem;
pub use ssh::{SshKeyError, openssh};

/// The most that a Secret holds, in bytes
/// (<https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size>).
pub const MAX_SECRET_SIZE: usize = 1 << 20;

/// The data of the Secret of a grant. Wiped when dropped.
pub struct Rendered<'g> {
    grant: &'g Grant,
    data: BTreeMap<String, Vec<u8>>,
    items: Vec<SyncedItem>,
    source: Source,
}

impl std::fmt::Debug for Rendered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered")
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

impl Drop for Rendered<'_> {
    fn drop(&mut self) {
        for value in self.data.values_mut() {
            value.zeroize();
        }
    }
}

impl<'g> Rendered<'g> {
    /// The grant that allowed it.
    #[must_use]
    pub fn grant(&self) -> &'g Grant {
        self.grant
    }

    /// The Secret's data.
    #[must_use]
    pub fn data(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.data
    }

    /// The items that went into it, with the versions that were read.
    #[must_use]
    pub fn items(&self) -> &[SyncedItem] {
        &self.items
    }

    /// Where the values came from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// The versions in the form of the annotation beside the content tag.
    #[must_use]
    pub fn item_versions(&self) -> String {
        item_versions(self.items.iter().map(|i| (i.vault.as_str(), i.item.as_str(), i.version)))
    }
}

/// Items and their versions as one string, whatever their order.
#[must_use]
pub fn item_versions<'i>(items: impl Iterator<Item = (&'i str, &'i str, i64)>) -> String {
    let parts: BTreeSet<String> =
        items.map(|(vault, item, version)| format!("{vault}/{item}@{version}")).collect();
    parts.into_iter().collect::<Vec<_>>().join(",")
}

/// Why the data cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// What is referred to is missing, ambiguous, empty or of a kind that is not delivered.
    #[error("spec.data[{key}]: {problem}")]
    Field {
        /// The key in the request.
        key: String,
        /// In words, with vault, item and field.
        problem: String,
        /// The condition's reason.
        reason: Reason,
    },
    /// More than a Secret holds.
    #[error(
        "the values have {size} bytes, and a Secret holds {MAX_SECRET_SIZE}; spread them over several requests"
    )]
    TooLarge {
        /// All keys and values.
        size: usize,
    },
}

impl RenderError {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Field { reason, .. } => *reason,
            Self::TooLarge { .. } => Reason::SecretTooLarge,
        }
    }
}

/// Makes the data of the grant's Secret.
///
/// # Errors
/// When a field cannot be delivered, or all of them do not fit into a Secret. Nothing is left out silently.
pub fn render<'g>(values: &Values<'g>) -> Result<Rendered<'g>, RenderError> {
    let grant = values.grant();
    let mut rendered =
        Rendered { grant, data: BTreeMap::new(), items: Vec::new(), source: values.source() };
    let mut size = 0;
    for reference in &grant.facts().references {
        let value = match values.substitute_of(&reference.key) {
            Some(substitute) => substitute.expose().to_vec(),
            None => values
                .item(&reference.item)
                .ok_or(Problem::NotFetched)
                .and_then(|item| value(item, reference, |file| values.file(&reference.item, file)))
                .map_err(|problem| RenderError::Field {
                    key: reference.key.clone(),
                    problem: problem.describe(reference),
                    reason: problem.reason(),
                })?,
        };
        size += reference.key.len() + value.len();
        rendered.data.insert(reference.key.clone(), value);
    }
    if size > MAX_SECRET_SIZE {
        return Err(RenderError::TooLarge { size });
    }
    rendered.items = values
        .items()
        .map(|(identity, item)| SyncedItem {
            vault: identity.vault_id.to_string(),
            item: identity.item_id.to_string(),
            version: item.version,
        })
        .collect();
    rendered.items.sort();
    Ok(rendered)
}

/// The bytes of one key, with the contents of files by their ids.
fn value<'v>(
    item: &Item,
    reference: &ResolvedReference,
    content: impl Fn(&str) -> Option<&'v [u8]>,
) -> Result<Vec<u8>, Problem> {
    match item.find(reference.section.as_deref(), &reference.field, reference.wanted)? {
        Found::Text(text) => Ok(text.as_bytes().to_vec()),
        Found::PrivateKey(key) => {
            let mut key = openssh(key, &item.id)?;
            Ok(mem::take(&mut *key).into_bytes())
        }
        Found::File(file) => match content(&file.id) {
            Some([]) => Err(FindError::Empty(Kind::File).into()),
            Some(content) => Ok(content.to_vec()),
            None => Err(Problem::NotFetched),
        },
    }
}
