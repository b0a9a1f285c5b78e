//! What of an order is kept already. Values are opened for it only where an item has to say what its files are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Order, Reach, class_of};
use crate::cache::{Class, Lookup, Part};
use crate::connect::{Found, Item};
use crate::policy::{Grant, GrantedRef, ItemIdentity};

impl Order<'_> {
    /// Whether Connect will be asked for some of it.
    #[must_use]
    pub fn asks(&self) -> bool {
        match self.reach {
            Reach::Down(_) => false,
            Reach::Revalidate => true,
            Reach::Ask | Reach::Ahead => !self.all(|identity, part, version, class| {
                self.server.scope().is_fresh(identity, part, version, class)
            }),
        }
    }

    /// Whether all of it that may be kept is, whatever its age.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.all(|identity, part, version, class| {
            class.ttl.is_none() || self.server.scope().has(identity, part, version)
        })
    }

    /// Whether something holds of the fields of each item and of each file that references mean.
    fn all(&self, holds: impl Fn(&ItemIdentity, &Part, i64, &Class) -> bool) -> bool {
        self.grant.items().all(|granted| {
            let identity = granted.identity();
            let class = class_of(self.spec, &identity.vault_name, self.staleness);
            let version = self.grant.facts().version_of(identity);
            holds(identity, &Part::Fields, version, &class)
                && self
                    .files(granted, version, &class)
                    .all(|(file, version)| holds(identity, &Part::File(file), version, &class))
        })
    }

    /// The files that references mean of an item that is kept, with the version that they belong to.
    fn files(
        &self,
        granted: GrantedRef<'_>,
        version: i64,
        class: &Class,
    ) -> impl Iterator<Item = (Arc<str>, i64)> + use<> {
        let item = match self.server.scope().item(granted, version, class) {
            Lookup::Fresh(item, _) | Lookup::Stale(item, _) => Some(item),
            Lookup::Missing => None,
        };
        let files = item.map(|item| {
            let files = files_of(self.grant, granted.identity(), &item);
            files.into_iter().map(move |file| (file, item.version)).collect::<Vec<_>>()
        });
        files.into_iter().flatten()
    }
}

/// The files of an item that references of the grant mean, each once.
pub(super) fn files_of(grant: &Grant, identity: &ItemIdentity, item: &Item) -> BTreeSet<Arc<str>> {
    let references = grant.facts().references.iter().filter(|r| r.item == *identity);
    let found = references.filter_map(|r| item.find(r.section.as_deref(), &r.field, r.wanted).ok());
    found
        .filter_map(|found| match found {
            Found::File(file) => Some(file.id.as_str().into()),
            Found::Text(_) | Found::PrivateKey(_) => None,
        })
        .collect()
}
