use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::GoneVault;
use super::listing::{ListedItem, Listing};
use crate::cache::Record;
use crate::connect::Vault;
use crate::policy::{Access, ItemIdentity};
use crate::reference::{Reference, fold, select};

/// The vaults of a server as of the last poll.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    vaults: Vec<VaultEntry>,
    gone: Vec<GoneVault>,
}

/// How a poll is taken in.
pub(super) struct Polled<'p> {
    /// Vaults whose lower versions are not believed yet.
    pub(super) held: &'p BTreeSet<Arc<str>>,
    /// Whether a vault is missed when it is gone.
    pub(super) in_use: &'p dyn Fn(&Arc<str>) -> bool,
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

impl VaultEntry {
    /// Whether its list is of its content as it is, as far as versions tell.
    #[must_use]
    pub fn is_unmoved(&self) -> bool {
        self.listing.as_ref().is_some_and(|l| l.guard.is_some() && l.guard == self.content_version)
    }
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The item.
    pub item: ItemIdentity,
    /// Its version in the list.
    pub version: i64,
    /// Its category; empty where the server does not tell.
    pub category: Arc<str>,
}

/// Why a reference means nothing, or not one thing. Ids are only of what the namespace may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Nothing that the namespace may read, whether it exists or not.
    NotAllowed,
    /// No vault of that name, which the namespace could read.
    VaultNotFound,
    /// There was one until a while ago: the token has no access any more, or it was deleted.
    VaultGone {
        /// The vault's id.
        vault_id: Arc<str>,
        /// The vault's canonical name.
        vault_name: Arc<str>,
        /// Since when.
        since: SystemTime,
        /// How long that has lasted, by what 1Password said.
        lasted: Duration,
    },
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
    /// What was known of vaults before a restart, by their ids. The lists hold only what is kept.
    #[must_use]
    pub fn restored(records: impl IntoIterator<Item = (Arc<str>, Record)>) -> Self {
        let records: Vec<(Arc<str>, Record)> = records.into_iter().collect();
        let mut vaults: Vec<VaultEntry> = Vec::new();
        for (id, name) in records.iter().flat_map(|(_, record)| &record.namesakes) {
            let is_known = records.iter().any(|(known, _)| known == id)
                || vaults.iter().any(|vault| vault.id == *id);
            if !is_known {
                let (id, name) = (id.clone(), name.clone());
                vaults.push(VaultEntry { id, name, content_version: None, listing: None });
            }
        }
        let recorded = records.into_iter().map(|(id, record)| VaultEntry {
            id,
            name: record.name,
            content_version: record.content_version,
            listing: Some(Arc::new(Listing::part(record.items))),
        });
        vaults.extend(recorded);
        vaults.sort_by(|a, b| a.id.cmp(&b.id));
        Self { vaults, gone: Vec::new() }
    }

    /// The other vaults that a spelling of this one's name may mean, by id, with their names.
    #[must_use]
    pub fn namesakes(&self, vault: &VaultEntry) -> Vec<(Arc<str>, Arc<str>)> {
        let folded = fold(&vault.name);
        let others = self.vaults.iter().filter(|other| other.id != vault.id);
        let alike = others.filter(|other| fold(&other.name) == folded || *other.name == *vault.id);
        alike.map(|other| (other.id.clone(), other.name.clone())).collect()
    }

    /// The vaults of a poll whose content version is lower than it was.
    pub(super) fn lower_than_known(&self, vaults: &[Vault]) -> BTreeSet<Arc<str>> {
        vaults
            .iter()
            .filter(|v| {
                let known = self.known(&v.id).and_then(|known| known.content_version);
                known.zip(v.content_version).is_some_and(|(known, now)| now < known)
            })
            .map(|v| v.id.clone())
            .collect()
    }

    /// Takes in a poll: the vaults as they are now, with the listings that were known.
    #[must_use]
    pub(super) fn polled(&self, vaults: Vec<Vault>, how: &Polled<'_>) -> Self {
        let mut vaults: Vec<VaultEntry> = vaults
            .into_iter()
            .map(|vault| {
                let known = self.known(&vault.id);
                let held = known.filter(|_| how.held.contains(&vault.id));
                let listing = known.and_then(|known| known.listing.clone());
                let is_in_use = (how.in_use)(&vault.id);
                let mut entry = VaultEntry {
                    listing,
                    content_version: held.map_or(vault.content_version, |k| k.content_version),
                    id: vault.id,
                    name: vault.name,
                };
                // Nobody lists a vault that is not in use: whoever needs it next must not go by what was.
                if !is_in_use && !entry.is_unmoved() {
                    entry.listing = None;
                }
                entry
            })
            .collect();
        vaults.sort_by(|a, b| a.id.cmp(&b.id));
        let is_there = |id: &str| vaults.binary_search_by(|v| (*v.id).cmp(id)).is_ok();
        let polled = SystemTime::now();
        let before = self.gone.iter().map(|gone| gone.still(polled));
        let now = self.vaults.iter().map(|vault| GoneVault::new(vault, polled));
        // What is known of one that is not in use, or not yet after a restart, ends with it as well.
        let is_missed = |g: &GoneVault| (how.in_use)(&g.vault.id) || g.vault.listing.is_some();
        let gone = before.chain(now).filter(|g| !is_there(&g.vault.id) && is_missed(g)).collect();
        Self { vaults, gone }
    }

    /// After an outage: what is gone, and was not believed to be, has to be so anew.
    #[must_use]
    pub(super) fn interrupted(&self, confirm: Duration) -> Self {
        let mut next = self.clone();
        for gone in &mut next.gone {
            *gone = gone.interrupted(confirm);
        }
        next
    }

    /// The vaults that requests use and that are gone.
    pub(super) fn gone(&self) -> impl Iterator<Item = &GoneVault> {
        self.gone.iter()
    }

    /// Has the list of a vault count as outdated.
    #[must_use]
    pub(super) fn unguarded(&self, vault_id: &str) -> Self {
        let mut next = self.clone();
        for vault in next.vaults.iter_mut().filter(|v| *v.id == *vault_id) {
            vault.listing = vault.listing.as_ref().map(|l| Arc::new(l.unguarded()));
        }
        next
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

    /// A vault, also one that is gone.
    fn known(&self, id: &str) -> Option<&VaultEntry> {
        let gone = || self.gone.iter().map(|g| &g.vault).find(|v| *v.id == *id);
        self.vault(id).or_else(gone)
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
            [] => Err(self.gone_vault(spelled, access).unwrap_or_else(|| {
                if access.may_speak_of_vault(spelled) {
                    Unresolved::VaultNotFound
                } else {
                    Unresolved::NotAllowed
                }
            })),
            several => {
                Err(Unresolved::AmbiguousVault(several.iter().map(|v| v.id.clone()).collect()))
            }
        }
    }

    fn gone_vault(&self, spelled: &str, access: &Access<'_>) -> Option<Unresolved> {
        let allowed: Vec<&GoneVault> =
            self.gone.iter().filter(|g| access.allows_vault(&g.vault.id, &g.vault.name)).collect();
        let found = select(&allowed, spelled, |g| &g.vault.id, |g| &g.vault.name);
        found.first().map(|gone| Unresolved::VaultGone {
            vault_id: gone.vault.id.clone(),
            vault_name: gone.vault.name.clone(),
            since: gone.since,
            lasted: gone.lasted(),
        })
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
            [item] => Ok(Found {
                item: identity(item),
                version: item.version,
                category: item.category.clone(),
            }),
            // Not kept is not gone: nobody has listed the vault since the restart.
            [] if listing.is_part => Err(Unresolved::NotListed { vault_id: vault.id.clone() }),
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

#[cfg(test)]
mod tests;
