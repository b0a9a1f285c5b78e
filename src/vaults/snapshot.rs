use std::collections::HashMap;
use std::sync::Arc;

use crate::connect::{ItemSummary, State, Vault};
use crate::policy::{Access, ItemIdentity};
use crate::reference::{Reference, fold, select};

/// The vaults of a server as of the last poll.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    vaults: Vec<VaultEntry>,
}

/// A vault.
#[derive(Clone, Debug)]
pub struct VaultEntry {
    /// Its id.
    pub id: Arc<str>,
    /// Its canonical name.
    pub name: Arc<str>,
    /// Its content version as of the last poll; older servers have none.
    pub content_version: Option<i64>,
    /// Its items, once some request needed them.
    pub listing: Option<Arc<Listing>>,
}

/// The items of a vault that can be referred to: archived and deleted ones are not among them.
#[derive(Debug, Default)]
pub struct Listing {
    /// The content version that was read before the list, so that a change in between is seen again.
    pub guard: Option<i64>,
    items: Vec<ListedItem>,
    by_id: HashMap<Arc<str>, usize>,
    by_title: HashMap<Arc<str>, Vec<usize>>,
    by_folded_title: HashMap<String, Vec<usize>>,
}

/// An item of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedItem {
    /// Its id.
    pub id: Arc<str>,
    /// Its canonical title.
    pub title: Arc<str>,
    /// Its version.
    pub version: i64,
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The item.
    pub item: ItemIdentity,
    /// Its version in the list.
    pub version: i64,
}

/// Why a reference means nothing, or not one thing. Ids are only of what the namespace may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Nothing that the namespace may read, whether it exists or not.
    NotAllowed,
    /// No vault of that name, which the namespace could read.
    VaultNotFound,
    /// Several vaults of that name, by id.
    AmbiguousVault(Vec<Arc<str>>),
    /// The items of the vault are not known yet.
    NotListed {
        /// The vault's id.
        vault_id: Arc<str>,
    },
    /// No item of that title, which the namespace could read.
    ItemNotFound {
        /// The vault's id.
        vault_id: Arc<str>,
        /// The vault's canonical name.
        vault_name: Arc<str>,
    },
    /// Several items of that title, by id.
    AmbiguousItem {
        /// The vault's id.
        vault_id: Arc<str>,
        /// The vault's canonical name.
        vault_name: Arc<str>,
        /// The items' ids.
        ids: Vec<Arc<str>>,
    },
}

impl Snapshot {
    /// Takes in a poll: the vaults as they are now, with the listings that were known.
    #[must_use]
    pub fn polled(&self, vaults: Vec<Vault>) -> Self {
        let mut vaults: Vec<VaultEntry> = vaults
            .into_iter()
            .map(|vault| VaultEntry {
                listing: self.vault(&vault.id).and_then(|known| known.listing.clone()),
                id: vault.id,
                name: vault.name,
                content_version: vault.content_version,
            })
            .collect();
        vaults.sort_by(|a, b| a.id.cmp(&b.id));
        Self { vaults }
    }

    /// Takes in the list of a vault.
    #[must_use]
    pub fn listed(&self, vault_id: &str, listing: Arc<Listing>) -> Self {
        let mut next = self.clone();
        if let Some(vault) = next.vaults.iter_mut().find(|v| *v.id == *vault_id) {
            vault.listing = Some(listing);
        }
        next
    }

    /// All vaults, by id.
    pub fn vaults(&self) -> impl Iterator<Item = &VaultEntry> {
        self.vaults.iter()
    }

    /// A vault.
    #[must_use]
    pub fn vault(&self, id: &str) -> Option<&VaultEntry> {
        self.vaults.iter().find(|v| *v.id == *id)
    }

    /// Finds the vault of a reference among those that `access` allows.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn resolve_vault(
        &self,
        spelled: &str,
        access: &Access<'_>,
    ) -> Result<&VaultEntry, Unresolved> {
        let allowed: Vec<&VaultEntry> =
            self.vaults.iter().filter(|v| access.allows_vault(&v.id, &v.name)).collect();
        match select(&allowed, spelled, |v| &v.id, |v| &v.name).as_slice() {
            [vault] => Ok(vault),
            [] if access.may_speak_of_vault(spelled) => Err(Unresolved::VaultNotFound),
            [] => Err(Unresolved::NotAllowed),
            several => {
                Err(Unresolved::AmbiguousVault(several.iter().map(|v| v.id.clone()).collect()))
            }
        }
    }

    /// Finds the item of a reference among those that `access` allows.
    ///
    /// # Errors
    /// When there is none, or more than one, or the vault was not listed yet.
    pub fn resolve(&self, reference: &Reference, access: &Access<'_>) -> Result<Found, Unresolved> {
        let vault = self.resolve_vault(&reference.vault, access)?;
        if !access.could_allow_item(&vault.id, &vault.name, &reference.item) {
            return Err(Unresolved::NotAllowed);
        }
        let Some(listing) = &vault.listing else {
            return Err(Unresolved::NotListed { vault_id: vault.id.clone() });
        };
        let identity = |item: &ListedItem| ItemIdentity {
            vault_id: vault.id.clone(),
            item_id: item.id.clone(),
            vault_name: vault.name.clone(),
            title: item.title.clone(),
        };
        let allowed = |item: &&ListedItem| access.rows_allowing(&identity(item)).next().is_some();
        let mut found: Vec<&ListedItem> = listing.exact(&reference.item).filter(allowed).collect();
        if found.is_empty() {
            found = listing.folded(&reference.item).filter(allowed).collect();
        }
        match found.as_slice() {
            [item] => Ok(Found { item: identity(item), version: item.version }),
            [] if access.may_speak_of_item(&vault.id, &vault.name, &reference.item) => {
                Err(Unresolved::ItemNotFound {
                    vault_id: vault.id.clone(),
                    vault_name: vault.name.clone(),
                })
            }
            [] => Err(Unresolved::NotAllowed),
            several => Err(Unresolved::AmbiguousItem {
                vault_id: vault.id.clone(),
                vault_name: vault.name.clone(),
                ids: several.iter().map(|i| i.id.clone()).collect(),
            }),
        }
    }
}

impl Listing {
    /// The list of a vault, guarded by the content version that was read before it.
    #[must_use]
    pub fn new(guard: Option<i64>, summaries: Vec<ItemSummary>) -> Self {
        let mut items: Vec<ListedItem> = summaries
            .into_iter()
            .filter(|s| s.state == State::Active)
            .map(|s| ListedItem { id: s.id, title: s.title, version: s.version })
            .collect();
        items.sort();
        let mut listing = Self { guard, ..Self::default() };
        for (position, item) in items.iter().enumerate() {
            listing.by_id.insert(item.id.clone(), position);
            listing.by_title.entry(item.title.clone()).or_default().push(position);
            listing.by_folded_title.entry(fold(&item.title)).or_default().push(position);
        }
        listing.items = items;
        listing
    }

    /// The items, in a fixed order.
    #[must_use]
    pub fn items(&self) -> &[ListedItem] {
        &self.items
    }

    fn exact(&self, spelled: &str) -> impl Iterator<Item = &ListedItem> {
        let by_id = self.by_id.get(spelled);
        let by_title = self.by_title.get(spelled).into_iter().flatten();
        by_id
            .into_iter()
            .chain(by_title.filter(move |p| Some(*p) != by_id))
            .filter_map(|p| self.items.get(*p))
    }

    fn folded(&self, spelled: &str) -> impl Iterator<Item = &ListedItem> {
        self.by_folded_title
            .get(&fold(spelled))
            .into_iter()
            .flatten()
            .filter_map(|p| self.items.get(*p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AccessRow, Namespaces, VaultSelector};
    use crate::policy::NamespaceFacts;
    use crate::reference::Wanted;

    fn id(letter: char) -> Arc<str> {
        letter.to_string().repeat(26).into()
    }

    fn snapshot() -> Snapshot {
        let vault = |letter, name: &str| Vault {
            id: id(letter),
            name: name.into(),
            content_version: Some(1),
            items: None,
        };
        let item = |letter, title: &str, state| ItemSummary {
            id: id(letter),
            title: title.into(),
            vault_id: id('s'),
            version: 1,
            state,
        };
        let items = vec![
            item('a', "orders-db", State::Active),
            item('b', "twice", State::Active),
            item('c', "twice", State::Active),
            item('d', "gone", State::Archived),
            item('e', "Mixed", State::Active),
            item('f', &id('z'), State::Active),
        ];
        Snapshot::default()
            .polled(vec![
                vault('s', "services"),
                vault('i', "infra"),
                vault('t', "dup"),
                vault('u', "dup"),
            ])
            .listed(&id('s'), Arc::new(Listing::new(Some(1), items)))
    }

    fn rows(vaults: &[&str], items: Option<&str>) -> Vec<AccessRow> {
        vec![AccessRow {
            name: "r".to_owned(),
            namespaces: Namespaces { all: Some(true), ..Namespaces::default() },
            vaults: vaults
                .iter()
                .map(|v| VaultSelector { name: Some((*v).to_owned()), id: None })
                .collect(),
            items: items.map(|i| vec![i.to_owned()]),
        }]
    }

    fn resolve(rows: &[AccessRow], vault: &str, item: &str) -> Result<String, Unresolved> {
        let access = Access::of(rows, &NamespaceFacts::default());
        let reference = Reference {
            vault: vault.to_owned(),
            item: item.to_owned(),
            section: None,
            field: "f".to_owned(),
            wanted: Wanted::Value,
        };
        snapshot().resolve(&reference, &access).map(|found| found.item.item_id.to_string())
    }

    #[test]
    fn every_spelling_of_an_item_means_the_same_item() {
        let rows = rows(&["services"], None);
        for (vault, item) in [
            ("services", "orders-db"),
            ("SERVICES", "Orders-DB"),
            (&*id('s'), "orders-db"),
            (&*id('s'), &*id('a')),
        ] {
            assert_eq!(resolve(&rows, vault, item), Ok(id('a').to_string()), "{vault}/{item}");
        }
    }

    #[test]
    fn outside_access_what_exists_and_what_does_not_are_alike() {
        let rows = rows(&["services"], Some("orders-*"));
        for (vault, item) in [
            ("infra", "x"),
            ("INFRA", "x"),
            (&*id('i'), "x"),
            ("no-such-vault", "x"),
            (&*id('n'), "x"),
            ("services", "twice"),
            ("services", "no-such-item"),
        ] {
            assert_eq!(resolve(&rows, vault, item), Err(Unresolved::NotAllowed), "{vault}/{item}");
        }
    }

    #[test]
    fn ambiguity_is_an_error_that_names_ids_the_namespace_may_see() {
        let rows = rows(&["*"], None);
        assert_eq!(
            resolve(&rows, "services", "twice"),
            Err(Unresolved::AmbiguousItem {
                vault_id: id('s'),
                vault_name: "services".into(),
                ids: vec![id('b'), id('c')]
            })
        );
        assert_eq!(
            resolve(&rows, "dup", "x"),
            Err(Unresolved::AmbiguousVault(vec![id('t'), id('u')]))
        );
        assert_eq!(resolve(&rows, "services", &id('b')), Ok(id('b').to_string()));
    }

    #[test]
    fn archived_items_are_not_found_and_id_like_titles_are() {
        let rows = rows(&["services"], None);
        assert!(matches!(resolve(&rows, "services", "gone"), Err(Unresolved::ItemNotFound { .. })));
        assert_eq!(resolve(&rows, "services", &id('z')), Ok(id('f').to_string()));
    }

    #[test]
    fn a_vault_that_nobody_needed_is_not_listed() {
        let rows = rows(&["*"], None);
        assert_eq!(resolve(&rows, "infra", "x"), Err(Unresolved::NotListed { vault_id: id('i') }));
    }
}
