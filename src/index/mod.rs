//! Watch events folded into compact state: what a reconcile needs to know of requests, Secrets and
//! namespaces without asking the API server, and the reverse maps that say whom a change concerns.
//!
//! Not a `kube::runtime` store: that keeps whole objects and doubles while it lists again.

mod table;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

pub use table::{Change, Versioned};
pub use view::{
    NamespaceEntry, Raw, RequestEntry, RequestView, SecretEntry, refresh_requested,
    resource_version,
};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use table::Table;

/// Names a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// All that has been observed. Cheap to share; locks are held for look-ups alone.
#[derive(Clone, Debug, Default)]
pub struct Index {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Table<ObjectKey, RequestEntry>,
    secrets: Table<ObjectKey, SecretEntry>,
    namespaces: Table<String, NamespaceEntry>,
    by_namespace: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    by_server: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    by_secret: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    by_vault: HashMap<VaultKey, HashSet<ObjectKey>>,
    vaults_of: HashMap<ObjectKey, BTreeSet<VaultKey>>,
}

/// A vault of a server: the server's name and the vault's id.
pub type VaultKey = (Arc<str>, Arc<str>);

impl Index {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds an event of the request watch of one scope (a namespace, or the whole cluster as `None`).
    #[must_use]
    pub fn fold_request(
        &self,
        scope: Option<&str>,
        event: Event<RequestView>,
    ) -> Vec<(ObjectKey, Change<RequestEntry>)> {
        let mut state = self.write();
        let in_scope = |key: &ObjectKey| scope.is_none_or(|s| *key.namespace == *s);
        let changes = state.requests.fold(scope, event, in_scope, |view| {
            let entry = RequestEntry::from_view(&view)?;
            Some((
                ObjectKey::new(view.metadata.namespace.as_deref()?, view.metadata.name.as_deref()?),
                entry,
            ))
        });
        for (key, change) in &changes {
            let before = match change {
                Change::Added(_) => None,
                Change::Updated(before, _) | Change::Removed(before) => Some(before.clone()),
            };
            state.reindex(key, before.as_deref());
        }
        changes
    }

    /// Folds an event of the watch on the metadata of our Secrets.
    #[must_use]
    pub fn fold_secret(
        &self,
        scope: Option<&str>,
        event: Event<PartialObjectMeta<Secret>>,
    ) -> Vec<(ObjectKey, Change<SecretEntry>)> {
        let in_scope = |key: &ObjectKey| scope.is_none_or(|s| *key.namespace == *s);
        self.write().secrets.fold(scope, event, in_scope, |secret| {
            let entry = SecretEntry::from_meta(&secret.metadata)?;
            Some((
                ObjectKey::new(
                    secret.metadata.namespace.as_deref()?,
                    secret.metadata.name.as_deref()?,
                ),
                entry,
            ))
        })
    }

    /// Folds an event of the namespace watch.
    #[must_use]
    pub fn fold_namespace(
        &self,
        event: Event<PartialObjectMeta<Namespace>>,
    ) -> Vec<(String, Change<NamespaceEntry>)> {
        self.write().namespaces.fold(
            None,
            event,
            |_| true,
            |namespace| {
                let entry = NamespaceEntry::from_meta(&namespace.metadata)?;
                Some((namespace.metadata.name?, entry))
            },
        )
    }

    /// Takes in what the API server answered to our own write of a request's status, so that the watch
    /// event of it is no news.
    pub fn observe_request(&self, key: &ObjectKey, view: &RequestView) {
        if let Some(entry) = RequestEntry::from_view(view) {
            let mut state = self.write();
            let before = state.requests.get(key);
            state.requests.observe(key, entry);
            state.reindex(key, before.as_deref());
        }
    }

    /// The same for a Secret.
    pub fn observe_secret(&self, key: &ObjectKey, entry: SecretEntry) {
        self.write().secrets.observe(key, entry);
    }

    /// A request.
    #[must_use]
    pub fn request(&self, key: &ObjectKey) -> Option<Arc<RequestEntry>> {
        self.read().requests.get(key)
    }

    /// The metadata of a Secret that has our label.
    #[must_use]
    pub fn secret(&self, key: &ObjectKey) -> Option<Arc<SecretEntry>> {
        self.read().secrets.get(key)
    }

    /// The labels of a namespace.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.read().namespaces.get(name).map(|n| n.labels.clone())
    }

    /// When a namespace was created.
    #[must_use]
    pub fn namespace_created(&self, name: &str) -> Option<SystemTime> {
        self.read().namespaces.get(name).and_then(|namespace| namespace.created)
    }

    /// How many requests there are.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.read().requests.keys().count()
    }

    /// Since when the Secrets of requests are not confirmed, by their status: of each request whose is not.
    #[must_use]
    pub fn stale_since(&self) -> Vec<SystemTime> {
        self.read().requests.values().filter_map(|entry| entry.stale_since).collect()
    }

    /// Every request.
    #[must_use]
    pub fn requests(&self) -> Vec<ObjectKey> {
        self.read().requests.keys().cloned().collect()
    }

    /// The requests of a namespace.
    #[must_use]
    pub fn requests_in_namespace(&self, namespace: &str) -> Vec<ObjectKey> {
        collected(self.read().by_namespace.get(namespace))
    }

    /// The requests that name a server.
    #[must_use]
    pub fn requests_of_server(&self, server: &str) -> Vec<ObjectKey> {
        collected(self.read().by_server.get(server))
    }

    /// The requests whose target is a Secret.
    #[must_use]
    pub fn requests_of_secret(&self, secret: &ObjectKey) -> Vec<ObjectKey> {
        collected(self.read().by_secret.get(secret))
    }

    /// The requests that look into a vault.
    #[must_use]
    pub fn requests_of_vault(&self, vault: &VaultKey) -> Vec<ObjectKey> {
        self.read()
            .by_vault
            .get(vault)
            .map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether any request looks into a vault.
    #[must_use]
    pub fn is_vault_in_use(&self, vault: &VaultKey) -> bool {
        self.read().by_vault.contains_key(vault)
    }

    /// Notes which vaults a request looks into, in place of what was noted before.
    pub fn set_vaults(&self, key: &ObjectKey, vaults: BTreeSet<VaultKey>) {
        if self.read().vaults_of.get(key).is_some_and(|known| *known == vaults) {
            return;
        }
        self.write().set_vaults(key, vaults);
    }
}

impl State {
    /// Brings the reverse maps up to date with the request of the key, from what it was before.
    fn reindex(&mut self, key: &ObjectKey, before: Option<&RequestEntry>) {
        let secret_of = |entry: &RequestEntry| ObjectKey {
            namespace: key.namespace.clone(),
            name: entry.secret_name.clone(),
        };
        if let Some(before) = before {
            remove(&mut self.by_server, &before.server, key);
            remove(&mut self.by_secret, &secret_of(before), key);
        }
        match self.requests.get(key) {
            Some(entry) => {
                insert(&mut self.by_namespace, key.namespace.clone(), key);
                insert(&mut self.by_server, entry.server.clone(), key);
                insert(&mut self.by_secret, secret_of(&entry), key);
            }
            None => {
                remove(&mut self.by_namespace, &key.namespace, key);
                self.set_vaults(key, BTreeSet::new());
            }
        }
    }

    fn set_vaults(&mut self, key: &ObjectKey, vaults: BTreeSet<VaultKey>) {
        for vault in self.vaults_of.remove(key).unwrap_or_default() {
            if let Some(keys) = self.by_vault.get_mut(&vault) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_vault.remove(&vault);
                }
            }
        }
        for vault in &vaults {
            self.by_vault.entry(vault.clone()).or_default().insert(key.clone());
        }
        if !vaults.is_empty() {
            self.vaults_of.insert(key.clone(), vaults);
        }
    }
}

fn collected(keys: Option<&BTreeSet<ObjectKey>>) -> Vec<ObjectKey> {
    keys.map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
}

fn insert<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, BTreeSet<ObjectKey>>,
    by: K,
    key: &ObjectKey,
) {
    map.entry(by).or_default().insert(key.clone());
}

fn remove<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, BTreeSet<ObjectKey>>,
    by: &K,
    key: &ObjectKey,
) {
    if let Some(keys) = map.get_mut(by) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(by);
        }
    }
}
