use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::api::Source;
use crate::connect::{FileContent, Item};
use crate::policy::{Grant, ItemIdentity};

/// The values of a grant.
#[derive(Debug)]
pub struct Values<'g> {
    grant: &'g Grant,
    items: BTreeMap<&'g ItemIdentity, Arc<Item>>,
    /// By item, then by the file's id.
    files: BTreeMap<&'g ItemIdentity, BTreeMap<Arc<str>, Arc<FileContent>>>,
    substitutes: BTreeMap<&'g str, Substitute>,
    source: Source,
    stale: Option<Stale>,
}

/// Why values are not Connect's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// When 1Password said last that they are current, or since when they stand in.
    pub since: SystemTime,
    /// Why it could not be asked, in words.
    pub cause: String,
}

/// A value that stands in for a key of the request. Never shown, and wiped when dropped.
pub struct Substitute(Zeroizing<Vec<u8>>);

impl Substitute {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Substitute {
    fn from(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl fmt::Debug for Substitute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Substitute([REDACTED])")
    }
}

impl<'g> Values<'g> {
    pub(super) fn new(grant: &'g Grant) -> Self {
        Self {
            grant,
            items: BTreeMap::new(),
            files: BTreeMap::new(),
            substitutes: BTreeMap::new(),
            source: Source::Connect,
            stale: None,
        }
    }

    pub(super) fn add(
        &mut self,
        identity: &'g ItemIdentity,
        item: Arc<Item>,
        source: Source,
        stale: Option<Stale>,
    ) {
        self.items.insert(identity, item);
        self.came_from(source, stale);
    }

    pub(super) fn add_file(
        &mut self,
        (identity, file): (&'g ItemIdentity, Arc<str>),
        content: Arc<FileContent>,
        source: Source,
        stale: Option<Stale>,
    ) {
        self.files.entry(identity).or_default().insert(file, content);
        self.came_from(source, stale);
    }

    /// Puts values in the place of what keys refer to.
    pub(super) fn substitute(
        &mut self,
        substitutes: impl IntoIterator<Item = (&'g str, Substitute)>,
        source: Source,
        cause: String,
    ) {
        self.substitutes.extend(substitutes);
        self.came_from(source, Some(Stale { since: SystemTime::now(), cause }));
    }

    /// The source that is furthest from 1Password counts, and the time since when it is.
    fn came_from(&mut self, source: Source, stale: Option<Stale>) {
        let distance = |source| match source {
            Source::Connect => 0,
            Source::Cache => 1,
            Source::FallbackSecret => 2,
            Source::Environment => 3,
        };
        if distance(source) > distance(self.source) {
            self.source = source;
        }
        let oldest = |a: Stale, b: Stale| if b.since < a.since { b } else { a };
        self.stale = match (self.stale.take(), stale) {
            (Some(before), Some(now)) => Some(oldest(before, now)),
            (before, now) => before.or(now),
        };
    }

    /// The grant that allowed it.
    #[must_use]
    pub fn grant(&self) -> &'g Grant {
        self.grant
    }

    /// An item of the grant.
    #[must_use]
    pub fn item(&self, identity: &ItemIdentity) -> Option<&Item> {
        self.items.get(identity).map(AsRef::as_ref)
    }

    /// The items with the identities under which they were granted.
    pub fn items(&self) -> impl Iterator<Item = (&ItemIdentity, &Item)> {
        self.items.iter().map(|(identity, item)| (*identity, item.as_ref()))
    }

    /// The contents of a file of an item of the grant, by its id.
    #[must_use]
    pub fn file(&self, identity: &ItemIdentity, id: &str) -> Option<&[u8]> {
        Some(self.files.get(identity)?.get(id)?.expose())
    }

    /// What stands in for a key.
    #[must_use]
    pub fn substitute_of(&self, key: &str) -> Option<&Substitute> {
        self.substitutes.get(key)
    }

    /// Where the values came from: of several sources, the one that is furthest from 1Password.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Why some of them are not Connect's, and since when.
    #[must_use]
    pub fn stale(&self) -> Option<&Stale> {
        self.stale.as_ref()
    }
}
