//! Values out of 1Password, sealed: each opens only for the server, connection, vault, item, version, class
//! and time of fetching that it was sealed for. Whoever takes one out shows the grant for it.
//!
//! The keys lie in the same process, so that a dump of its memory opens everything in it; what sealing gives
//! is that a mixed-up or doctored value does not open, and that what is persisted is of no use without a key.

mod bind;
mod keys;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use zeroize::Zeroizing;

pub use bind::{Origin, Part};
pub use keys::{Keyring, KeyringError};
pub use record::{Listed, Names, RECORD_LIMIT, Record, RecordError, SealedBy};
pub use store::ClassFigures;

use crate::connect::{FileContent, Item};
use crate::policy::{GrantedRef, ItemIdentity};
use bind::Binding;
use store::{Entry, Moment, Store};

/// How values of a vault are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The class's name.
    pub name: Arc<str>,
    /// How long a value is current without a word from 1Password; `None` when it is never kept.
    pub ttl: Option<Duration>,
    /// How long it may serve in an outage, whom it is asked for.
    pub max_staleness: Duration,
    /// How long it may serve in an outage, whoever asks.
    pub keep: Duration,
}

/// What is kept of all servers. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    keyring: Keyring,
    store: Mutex<Store>,
    scopes: AtomicU64,
    evicted: AtomicU64,
    began: Instant,
}

/// How long before the process the moments of the store begin: more than anything is kept.
const BEFORE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is kept of one server as it is reached now. With the last handle everything in it goes: values of
/// another token or host are never met.
#[derive(Clone)]
pub struct Scope {
    inner: Arc<ScopeInner>,
}

struct ScopeInner {
    id: u64,
    origin: Origin,
    cache: Cache,
}

/// What the cache has of a value.
#[derive(Debug)]
pub enum Lookup<T> {
    /// 1Password said within the class's time that it is current, and when it did last.
    Fresh(T, SystemTime),
    /// It was current then, when it was last heard of.
    Stale(T, SystemTime),
    /// Nothing.
    Missing,
}

impl Cache {
    /// An empty cache of so many bytes at most.
    #[must_use]
    pub fn new(keyring: Keyring, limit: usize) -> Self {
        let inner = Inner {
            keyring,
            store: Mutex::new(Store::new(limit)),
            scopes: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            began: Instant::now(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The place for the values of a server as it is reached now.
    #[must_use]
    pub fn scope(&self, origin: Origin) -> Scope {
        let id = self.inner.scopes.fetch_add(1, Ordering::Relaxed);
        Scope { inner: Arc::new(ScopeInner { id, origin, cache: self.clone() }) }
    }

    /// Wipes what is of no use any more: what nobody confirmed for too long, and what has been in no list of
    /// its vault for longer than `missing_for`.
    pub fn sweep(&self, missing_for: Duration) {
        self.store().sweep(self.now(), missing_for);
    }

    /// What is kept, by class.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<Arc<str>, ClassFigures> {
        self.store().figures()
    }

    /// How many values had to go for others so far.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.inner.evicted.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    fn moment(&self, at: Instant) -> Moment {
        BEFORE + at.saturating_duration_since(self.inner.began)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ScopeInner {
    fn drop(&mut self) {
        self.cache.store().forget_scope(self.id);
    }
}

impl Scope {
    /// Names the scope among those of this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Keeps the fields of an item that was fetched for a namespace, if its class allows that.
    pub fn put_item(
        &self,
        granted: GrantedRef<'_>,
        item: &Item,
        class: &Class,
        namespace: &Arc<str>,
    ) {
        if let Some(plain) = class.ttl.and_then(|_| wire::encode(item)) {
            self.put(granted.identity(), &Part::Fields, item.version, plain, class, namespace);
        }
    }

    /// Keeps a file of an item of a version.
    pub fn put_file(
        &self,
        granted: GrantedRef<'_>,
        file: &Arc<str>,
        (version, content): (i64, &FileContent),
        class: &Class,
        namespace: &Arc<str>,
    ) {
        if class.ttl.is_some() {
            let plain = Zeroizing::new(content.expose().to_vec());
            let part = Part::File(file.clone());
            self.put(granted.identity(), &part, version, plain, class, namespace);
        }
    }

    /// The fields of an item, of a version or a later one.
    #[must_use]
    pub fn item(&self, granted: GrantedRef<'_>, version: i64, class: &Class) -> Lookup<Item> {
        let identity = granted.identity();
        self.get(identity, &Part::Fields, version, class).and_then(|b| wire::decode(identity, b))
    }

    /// A file of an item, of a version or a later one.
    #[must_use]
    pub fn file(
        &self,
        granted: GrantedRef<'_>,
        file: &Arc<str>,
        version: i64,
        class: &Class,
    ) -> Lookup<FileContent> {
        self.get(granted.identity(), &Part::File(file.clone()), version, class)
            .and_then(|bytes| Some(FileContent::from(bytes.clone())))
    }

    /// Whether a part of an item is kept and current, without opening it.
    #[must_use]
    pub fn is_fresh(
        &self,
        identity: &ItemIdentity,
        part: &Part,
        version: i64,
        class: &Class,
    ) -> bool {
        let vault = self.vault(&identity.vault_id);
        let entry = self.store().get(&vault, &identity.item_id, part, version);
        let now = self.inner.cache.now();
        class.ttl.zip(entry).is_some_and(|(ttl, entry)| {
            entry.class == class.name && now.saturating_sub(entry.confirmed) <= ttl
        })
    }

    /// Whether a part of an item of a version or a later one is kept, without opening it.
    #[must_use]
    pub fn has(&self, identity: &ItemIdentity, part: &Part, version: i64) -> bool {
        let vault = self.vault(&identity.vault_id);
        self.store().get(&vault, &identity.item_id, part, version).is_some()
    }

    /// Notes that what is kept of a part of an item was fetched before anybody needed it.
    pub fn came_ahead(&self, identity: &ItemIdentity, part: &Part) {
        let vault = self.vault(&identity.vault_id);
        self.store().set_ahead(&vault, &identity.item_id, part);
    }

    /// Whether what is kept of a part of an item was fetched ahead, and is needed for the first time now.
    #[must_use]
    pub fn first_use_of_ahead(&self, identity: &ItemIdentity, part: &Part) -> bool {
        let vault = self.vault(&identity.vault_id);
        self.store().take_ahead(&vault, &identity.item_id, part)
    }

    /// Notes that nothing in a vault had moved at a time. Returns how many values that confirmed.
    pub fn confirm(&self, vault: &Arc<str>, at: Instant) -> usize {
        self.store().confirm(&self.vault(vault), self.inner.cache.moment(at))
    }

    /// Takes in a list of a vault, item by item with its version, that was asked for at a time.
    pub fn listed<'l>(
        &self,
        vault: &Arc<str>,
        items: impl Iterator<Item = (&'l str, i64)>,
        at: Instant,
    ) {
        let versions: HashMap<&str, i64> = items.collect();
        self.store().listed(&self.vault(vault), &versions, self.inner.cache.moment(at));
    }

    /// Drops what is kept of a vault under any other class than this, under any where this one keeps nothing, and keeps
    /// the rest for as long as this one says.
    pub fn reclass(&self, vault: &Arc<str>, class: &Class) {
        let kept = class.ttl.map(|ttl| (&*class.name, class.keep.max(ttl)));
        self.store().reclass(&self.vault(vault), kept);
    }

    /// What the values in it are bound to.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// Drops what is kept of an item: 1Password refuses it for good.
    pub fn forget_item(&self, identity: &ItemIdentity) {
        self.store().forget_item(&self.vault(&identity.vault_id), &identity.item_id);
    }

    /// Drops what is kept of a vault: 1Password refuses it for good.
    pub fn forget_vault(&self, vault: &Arc<str>) {
        self.store().forget_vault(&self.vault(vault));
    }

    /// Drops everything: 1Password refuses the token for good.
    pub fn forget_all(&self) {
        let mut store = self.store();
        for vault in store.vaults(self.inner.id) {
            store.forget_vault(&self.vault(&vault));
        }
    }

    fn vault(&self, vault: &Arc<str>) -> store::VaultId {
        (self.inner.id, vault.clone())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.inner.cache.store()
    }

    fn put(
        &self,
        identity: &ItemIdentity,
        part: &Part,
        version: i64,
        plain: Zeroizing<Vec<u8>>,
        class: &Class,
        namespace: &Arc<str>,
    ) {
        let fetched_at = unix_millis(SystemTime::now());
        let binding = Binding {
            vault: &identity.vault_id,
            item: &identity.item_id,
            part,
            version,
            class: &class.name,
            fetched_at,
        };
        let cache = &self.inner.cache.inner;
        let Some(sealed) = bind::seal(&cache.keyring, &self.inner.origin, &binding, plain) else {
            return;
        };
        let keep = class.keep.max(class.ttl.unwrap_or_default());
        let entry = Entry::new(
            sealed,
            version,
            (&class.name, keep),
            fetched_at,
            namespace,
            self.inner.cache.now(),
        );
        let vault = self.vault(&identity.vault_id);
        let evicted = self.store().put(&vault, &identity.item_id, part, entry);
        cache.evicted.fetch_add(evicted as u64, Ordering::Relaxed);
    }

    fn get(
        &self,
        identity: &ItemIdentity,
        part: &Part,
        version: i64,
        class: &Class,
    ) -> Lookup<Zeroizing<Vec<u8>>> {
        let Some(ttl) = class.ttl else { return Lookup::Missing };
        let vault = self.vault(&identity.vault_id);
        let Some(entry) = self.store().get(&vault, &identity.item_id, part, version) else {
            return Lookup::Missing;
        };
        // A vault that has another class now: what was kept under the old one is not its.
        if entry.class != class.name {
            return Lookup::Missing;
        }
        let binding = Binding {
            vault: &identity.vault_id,
            item: &identity.item_id,
            part,
            version: entry.version,
            class: &entry.class,
            fetched_at: entry.fetched_at,
        };
        let cache = &self.inner.cache.inner;
        let Some(plain) = bind::open(&cache.keyring, &self.inner.origin, &binding, &entry.sealed)
        else {
            return Lookup::Missing;
        };
        let age = self.inner.cache.now().saturating_sub(entry.confirmed);
        let confirmed = SystemTime::now() - age;
        if age <= ttl {
            Lookup::Fresh(plain, confirmed)
        } else if age <= class.max_staleness {
            Lookup::Stale(plain, confirmed)
        } else {
            Lookup::Missing
        }
    }
}

impl<T> Lookup<T> {
    fn and_then<U>(self, read: impl FnOnce(&T) -> Option<U>) -> Lookup<U> {
        match self {
            Self::Fresh(value, at) => {
                read(&value).map_or(Lookup::Missing, |value| Lookup::Fresh(value, at))
            }
            Self::Stale(value, since) => {
                read(&value).map_or(Lookup::Missing, |value| Lookup::Stale(value, since))
            }
            Self::Missing => Lookup::Missing,
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("keyring", &self.inner.keyring).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("server", &self.inner.origin.server).finish_non_exhaustive()
    }
}

/// Milliseconds since 1970.
fn unix_millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
