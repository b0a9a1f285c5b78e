//! Which sealed values are kept, and for how long. Pure: the time is given.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::bind::{Part, Sealed};

/// A time, as the distance from a fixed point long before the process began: what was confirmed before a
/// restart has one, too.
pub(super) type Moment = Duration;

/// Names a vault of a scope.
pub(super) type VaultId = (u64, Arc<str>);
type EntryId = (Arc<str>, Part);

/// The values that are kept, in bytes at most a limit. Each is charged to the namespace that had it fetched
/// last, and where room is needed the namespace with the most gives its least recently used one: nobody
/// pushes out others while having more than they have.
pub(super) struct Store {
    vaults: HashMap<VaultId, Vault>,
    shares: HashMap<Arc<str>, Share>,
    bytes: usize,
    limit: usize,
    tick: u64,
}

#[derive(Default)]
struct Vault {
    /// When 1Password last said that nothing in the vault had moved.
    confirmed: Option<Moment>,
    entries: HashMap<EntryId, Entry>,
    /// Counts the changes of the entries.
    changes: u64,
}

#[derive(Default)]
struct Share {
    bytes: usize,
    /// The entries by when they were used last.
    order: BTreeMap<u64, (VaultId, EntryId)>,
}

/// A value that is kept.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) sealed: Arc<Sealed>,
    pub(super) version: i64,
    pub(super) class: Arc<str>,
    /// Milliseconds since 1970, as sealed.
    pub(super) fetched_at: u64,
    /// When 1Password gave it.
    came: Moment,
    /// When 1Password gave it, or said last that it was current.
    pub(super) confirmed: Moment,
    /// How long it is of use without a word from 1Password.
    pub(super) keep: Duration,
    /// The namespace that it is charged to.
    pub(super) namespace: Arc<str>,
    /// Since when it is in no list of the vault.
    missing: Option<Moment>,
    /// Whether it came before anybody needed it, and nobody has since.
    ahead: bool,
    tick: u64,
}

/// What is kept, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassFigures {
    /// Sealed bytes.
    pub bytes: usize,
    /// Values.
    pub entries: usize,
}

impl Entry {
    pub(super) fn new(
        sealed: Sealed,
        version: i64,
        (class, keep): (&Arc<str>, Duration),
        fetched_at: u64,
        namespace: &Arc<str>,
        confirmed: Moment,
    ) -> Self {
        Self {
            sealed: Arc::new(sealed),
            version,
            class: class.clone(),
            fetched_at,
            came: confirmed,
            confirmed,
            keep,
            namespace: namespace.clone(),
            missing: None,
            ahead: false,
            tick: 0,
        }
    }

    /// Whether it is in the last list of its vault.
    fn is_there(&self) -> bool {
        self.missing.is_none()
    }

    fn size(&self) -> usize {
        // The rest is keys and bookkeeping, about as much for each.
        self.sealed.size() + 256
    }
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self { vaults: HashMap::new(), shares: HashMap::new(), bytes: 0, limit, tick: 0 }
    }

    /// Keeps a value in place of the one before, unless that is of a later version. Returns how many others
    /// had to go for it.
    pub(super) fn put(
        &mut self,
        vault: &VaultId,
        item: &Arc<str>,
        part: &Part,
        entry: Entry,
    ) -> usize {
        let id = (item.clone(), part.clone());
        if self.entry(vault, &id).is_some_and(|known| known.version > entry.version) {
            return 0;
        }
        self.remove(vault, &id);
        self.tick += 1;
        let entry = Entry { tick: self.tick, ..entry };
        self.bytes += entry.size();
        let share = self.shares.entry(entry.namespace.clone()).or_default();
        share.bytes += entry.size();
        share.order.insert(entry.tick, (vault.clone(), id.clone()));
        let kept = self.vaults.entry(vault.clone()).or_default();
        kept.changes += 1;
        kept.entries.insert(id, entry);
        let mut evicted = 0;
        while self.bytes > self.limit && self.evict_one() {
            evicted += 1;
        }
        evicted
    }

    /// A value of a version or a later one, with when it was confirmed last. It counts as used.
    pub(super) fn get(
        &mut self,
        vault: &VaultId,
        item: &Arc<str>,
        part: &Part,
        version: i64,
    ) -> Option<Entry> {
        let id = (item.clone(), part.clone());
        self.tick += 1;
        let tick = self.tick;
        let kept = self.vaults.get_mut(vault)?;
        let confirmed = kept.confirmed;
        let entry = kept.entries.get_mut(&id)?;
        if entry.version < version || entry.missing.is_some() {
            return None;
        }
        if let Some(share) = self.shares.get_mut(&entry.namespace) {
            share.order.remove(&entry.tick);
            share.order.insert(tick, (vault.clone(), id));
        }
        entry.tick = tick;
        entry.confirmed = confirmed.map_or(entry.confirmed, |at| at.max(entry.confirmed));
        Some(entry.clone())
    }

    /// Notes that a value came before anybody needed it.
    pub(super) fn set_ahead(&mut self, vault: &VaultId, item: &Arc<str>, part: &Part) {
        if let Some(entry) = self.entry_mut(vault, &(item.clone(), part.clone())) {
            entry.ahead = true;
        }
    }

    /// Whether a value came before anybody needed it and nobody has since; somebody does now.
    pub(super) fn take_ahead(&mut self, vault: &VaultId, item: &Arc<str>, part: &Part) -> bool {
        let entry = self.entry_mut(vault, &(item.clone(), part.clone()));
        entry.is_some_and(|entry| std::mem::take(&mut entry.ahead))
    }

    /// Notes that nothing in a vault had moved at a time: what is kept of it was current then.
    /// Returns how many values that confirmed.
    pub(super) fn confirm(&mut self, vault: &VaultId, at: Moment) -> usize {
        let Some(kept) = self.vaults.get_mut(vault) else { return 0 };
        kept.confirmed = Some(kept.confirmed.map_or(at, |before| before.max(at)));
        kept.entries.len()
    }

    /// Takes in a list of a vault that was asked for at a time: values of other versions go, later ones too
    /// unless they came meanwhile, for the vault was set back then; and those that are not in it do not serve
    /// until they are again.
    pub(super) fn listed(&mut self, vault: &VaultId, versions: &HashMap<&str, i64>, at: Moment) {
        let Some(kept) = self.vaults.get_mut(vault) else { return };
        let mut outdated = Vec::new();
        for (id, entry) in &mut kept.entries {
            match versions.get(&*id.0) {
                Some(listed) if *listed > entry.version => outdated.push(id.clone()),
                Some(listed) if *listed < entry.version && entry.came < at => {
                    outdated.push(id.clone());
                }
                Some(_) => {
                    entry.missing = None;
                    entry.confirmed = entry.confirmed.max(at);
                }
                None => {
                    entry.missing.get_or_insert(at);
                }
            }
        }
        kept.confirmed = Some(kept.confirmed.map_or(at, |before| before.max(at)));
        for id in outdated {
            self.remove(vault, &id);
        }
    }

    /// Drops what is kept of an item.
    pub(super) fn forget_item(&mut self, vault: &VaultId, item: &str) {
        let Some(kept) = self.vaults.get(vault) else { return };
        let ids: Vec<EntryId> = kept.entries.keys().filter(|id| *id.0 == *item).cloned().collect();
        for id in ids {
            self.remove(vault, &id);
        }
    }

    /// Drops what is kept of a vault under another class, and keeps the rest for as long as it is of use now.
    pub(super) fn reclass(&mut self, vault: &VaultId, class: Option<(&str, Duration)>) {
        let Some(kept) = self.vaults.get_mut(vault) else { return };
        let mut ids: Vec<EntryId> = Vec::new();
        for (id, entry) in &mut kept.entries {
            match class {
                Some((name, keep)) if *entry.class == *name => entry.keep = keep,
                Some(_) | None => ids.push(id.clone()),
            }
        }
        for id in ids {
            self.remove(vault, &id);
        }
    }

    /// Drops what is kept of a vault.
    pub(super) fn forget_vault(&mut self, vault: &VaultId) {
        let ids: Vec<EntryId> =
            self.vaults.get(vault).map(|v| v.entries.keys().cloned().collect()).unwrap_or_default();
        for id in ids {
            self.remove(vault, &id);
        }
    }

    /// Drops what is kept of a scope.
    pub(super) fn forget_scope(&mut self, scope: u64) {
        let vaults: Vec<VaultId> = self.vaults.keys().filter(|v| v.0 == scope).cloned().collect();
        for vault in vaults {
            self.forget_vault(&vault);
            self.vaults.remove(&vault);
        }
    }

    /// Drops what is of no use any more: what nobody confirmed for too long, and what has been in no list for
    /// longer than `missing_for`.
    pub(super) fn sweep(&mut self, now: Moment, missing_for: Duration) {
        let mut due = Vec::new();
        for (vault, kept) in &self.vaults {
            for (id, entry) in &kept.entries {
                let confirmed =
                    kept.confirmed.map_or(entry.confirmed, |at| at.max(entry.confirmed));
                // What is missing is not confirmed by the vault's standing still.
                let confirmed = if entry.missing.is_some() { entry.confirmed } else { confirmed };
                let is_old = now.saturating_sub(confirmed) > entry.keep;
                let is_gone = entry.missing.is_some_and(|at| now.saturating_sub(at) >= missing_for);
                if is_old || is_gone {
                    due.push((vault.clone(), id.clone()));
                }
            }
        }
        for (vault, id) in due {
            self.remove(&vault, &id);
        }
    }

    /// How often what is kept of a vault changed.
    pub(super) fn changes(&self, vault: &VaultId) -> u64 {
        self.vaults.get(vault).map_or(0, |kept| kept.changes)
    }

    /// Whether anything is kept of a vault.
    pub(super) fn holds_some(&self, vault: &VaultId) -> bool {
        self.vaults.get(vault).is_some_and(|kept| kept.entries.values().any(Entry::is_there))
    }

    /// Everything that is kept of a vault, the most recently used first, with when it was confirmed last.
    pub(super) fn export(&self, vault: &VaultId) -> (Option<Moment>, Vec<(EntryId, Entry)>) {
        let Some(kept) = self.vaults.get(vault) else { return (None, Vec::new()) };
        let mut entries: Vec<(EntryId, Entry)> = kept
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_there())
            .map(|(id, entry)| (id.clone(), entry.clone()))
            .collect();
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.tick));
        (kept.confirmed, entries)
    }

    /// The vaults of a scope of which something is or was kept.
    pub(super) fn vaults(&self, scope: u64) -> Vec<Arc<str>> {
        self.vaults.keys().filter(|v| v.0 == scope).map(|v| v.1.clone()).collect()
    }

    /// What is kept, by class.
    pub(super) fn figures(&self) -> BTreeMap<Arc<str>, ClassFigures> {
        let mut classes: BTreeMap<Arc<str>, ClassFigures> = BTreeMap::new();
        for entry in self.vaults.values().flat_map(|kept| kept.entries.values()) {
            let figures = classes.entry(entry.class.clone()).or_default();
            figures.bytes += entry.size();
            figures.entries += 1;
        }
        classes
    }

    fn entry(&self, vault: &VaultId, id: &EntryId) -> Option<&Entry> {
        self.vaults.get(vault)?.entries.get(id)
    }

    fn entry_mut(&mut self, vault: &VaultId, id: &EntryId) -> Option<&mut Entry> {
        self.vaults.get_mut(vault)?.entries.get_mut(id)
    }

    fn remove(&mut self, vault: &VaultId, id: &EntryId) {
        let Some(kept) = self.vaults.get_mut(vault) else { return };
        let Some(entry) = kept.entries.remove(id) else { return };
        kept.changes += 1;
        self.bytes -= entry.size();
        if let Some(share) = self.shares.get_mut(&entry.namespace) {
            share.bytes -= entry.size();
            share.order.remove(&entry.tick);
            if share.order.is_empty() {
                self.shares.remove(&entry.namespace);
            }
        }
    }

    fn evict_one(&mut self) -> bool {
        let largest = self.shares.values().max_by_key(|share| share.bytes);
        let Some((vault, id)) = largest.and_then(|s| s.order.values().next()).cloned() else {
            return false;
        };
        self.remove(&vault, &id);
        true
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
