//! The cache of a server in Secrets of the operator's namespace: a sealed record for each vault, read when the
//! server is first reached and written when what is kept has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::api::{CacheEpoch, PURPOSE_LABEL, VAULT_LIMIT};
use crate::cache::{Listed, Names, Record, RecordError, Scope, SealedBy};
use crate::index::{ObjectKey, SecretEntry};
use crate::kube_io::{ApiError, Expected, KubeIo};
use crate::telemetry::Metrics;
use crate::vaults::Server;

/// The value of [`PURPOSE_LABEL`] on a record.
pub(super) const PURPOSE_CACHE: &str = "cache";
/// The key of the Secret that holds the record.
const RECORD_KEY: &str = "record";

/// How often a record is read at a start until it counts as unreadable, and the pause in between.
const READS: usize = 3;
const READ_PAUSE: Duration = Duration::from_millis(500);

/// Where the records of one server are.
#[derive(Clone)]
pub(super) struct Records {
    pub(super) io: KubeIo,
    pub(super) namespace: String,
    pub(super) server: Arc<str>,
    pub(super) metrics: Arc<Metrics>,
}

/// What was read, and the epochs of it.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) records: Vec<(Arc<str>, Record)>,
    pub(super) epochs: BTreeMap<Arc<str>, i64>,
    /// How often what is kept of each vault had changed when it was read.
    pub(super) changes: BTreeMap<Arc<str>, u64>,
}

/// Whether a record was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Kept {
    /// It was, or there was nothing to write.
    Written,
    /// Not all: why.
    Failed(String),
}

impl Records {
    fn key(&self, vault: &str) -> ObjectKey {
        ObjectKey::new(&self.namespace, &format!("{}{vault}", self.prefix()))
    }

    /// What the names of the records' Secrets begin with.
    pub(super) fn prefix(&self) -> String {
        let digest = Sha256::digest(self.server.as_bytes());
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("portcullis-cache-{short}-")
    }

    /// Reads the records among the Secrets of these names into a scope. One that is not the last one that was
    /// written for just this server, or was tampered with, is deleted.
    pub(super) async fn restore<'n>(
        &self,
        secrets: impl Iterator<Item = &'n String>,
        scope: &Scope,
        floors: &[CacheEpoch],
    ) -> Restored {
        let floor = |vault: &str| floors.iter().find(|f| *f.vault == *vault).map_or(0, |f| f.epoch);
        let mut restored = Restored::default();
        for known in floors {
            restored.epochs.insert(known.vault.as_str().into(), known.epoch);
        }
        let prefix = self.prefix();
        for vault in secrets.filter_map(|name| name.strip_prefix(&prefix)) {
            let vault: Arc<str> = vault.into();
            let secret = match self.read(&vault).await {
                Ok(Some(secret)) => secret,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(server = %self.server, %vault, %error, "a record of the cache cannot be read");
                    self.metrics.cache.persisted(&self.server, "unread");
                    continue;
                }
            };
            let bytes = secret.data.as_ref().and_then(|d| d.get(RECORD_KEY));
            let bytes = bytes.map(|b| b.0.as_slice()).unwrap_or_default();
            match scope.import(&vault, bytes, floor(&vault)) {
                Ok(record) => {
                    self.metrics.cache.persisted(&self.server, "read");
                    restored.epochs.insert(vault.clone(), record.epoch);
                    if record.sealed_by == SealedBy::Newest {
                        restored.changes.insert(vault.clone(), scope.changes(&vault));
                    }
                    restored.records.push((vault, record));
                }
                Err(error) => {
                    tracing::warn!(server = %self.server, %vault, %error, "a record of the cache is not used");
                    self.metrics.cache.persisted(&self.server, label(error));
                    // One whose key may come back is left.
                    if error != RecordError::UnknownKey
                        && let Err(error) = self.discard(&vault, &secret.metadata).await
                    {
                        tracing::warn!(server = %self.server, %vault, %error, "a record of the cache was not deleted");
                    }
                }
            }
        }
        restored
    }

    /// Deletes the records among the Secrets of these names: they are of no use any more.
    pub(super) async fn drop_all<'n>(&self, secrets: impl Iterator<Item = &'n String>) {
        let prefix = self.prefix();
        for vault in secrets.filter_map(|name| name.strip_prefix(&prefix)) {
            if let Err(error) = self.remove(vault).await {
                tracing::warn!(server = %self.server, vault, %error, "a record of the cache was not deleted");
            }
        }
    }

    /// Reads a record, in spite of an API server that is not quite there yet.
    async fn read(&self, vault: &str) -> Result<Option<Secret>, ApiError> {
        let mut result = self.io.secret(&self.key(vault)).await;
        for _ in 1..READS {
            if result.is_ok() {
                break;
            }
            tokio::time::sleep(READ_PAUSE).await;
            result = self.io.secret(&self.key(vault)).await;
        }
        result
    }

    async fn discard(&self, vault: &str, metadata: &ObjectMeta) -> Result<(), ApiError> {
        let Some(entry) = SecretEntry::from_meta(metadata) else { return Ok(()) };
        match self.io.delete_secret(&self.key(vault), &expected(&entry)).await {
            Ok(()) | Err(ApiError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, vault: &str, record: Vec<u8>) -> Result<(), ApiError> {
        let key = self.key(vault);
        let value = ByteString(record);
        match self.io.secret(&key).await? {
            None => {
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(key.name.to_string()),
                        namespace: Some(key.namespace.to_string()),
                        labels: Some(BTreeMap::from([
                            (PURPOSE_LABEL.to_owned(), PURPOSE_CACHE.to_owned()),
                            ("app.kubernetes.io/managed-by".to_owned(), "portcullis".to_owned()),
                        ])),
                        ..ObjectMeta::default()
                    },
                    type_: Some("Opaque".to_owned()),
                    data: Some(BTreeMap::from([(RECORD_KEY.to_owned(), value)])),
                    ..Secret::default()
                };
                self.io.create_secret(&key, &secret).await.map(|_| ())
            }
            Some(secret) => {
                let entry =
                    SecretEntry::from_meta(&secret.metadata).ok_or(ApiError::Unreachable)?;
                let data = json!({RECORD_KEY: value});
                let operations = vec![json!({"op": "add", "path": "/data", "value": data})];
                self.io.patch_secret(&key, &expected(&entry), operations).await.map(|_| ())
            }
        }
    }

    async fn remove(&self, vault: &str) -> Result<(), ApiError> {
        match self.io.secret(&self.key(vault)).await? {
            Some(secret) => self.discard(vault, &secret.metadata).await,
            None => Ok(()),
        }
    }
}

/// Keeps the records of a server up to date for as long as the server is reached as it is now.
pub(super) struct Keeper {
    pub(super) records: Records,
    pub(super) server: std::sync::Weak<Server>,
    pub(super) epochs: BTreeMap<Arc<str>, i64>,
    /// The records that are up to date at the start, by how often what they hold had changed.
    pub(super) changes: BTreeMap<Arc<str>, u64>,
    pub(super) interval: Duration,
    pub(super) confirmed: Duration,
    /// Told of each new epoch before an older record could be taken for the last one, and of how it went.
    pub(super) on_written: Box<dyn Fn(Vec<CacheEpoch>, Kept) + Send + Sync>,
}

/// What a look at a vault came to.
enum Wrote {
    /// Its record is up to date.
    Record,
    /// The same, without what does not fit: how much that is.
    Part(String),
    /// Nothing could be written yet.
    Nothing,
}

/// Why a record was not written.
enum Unwritten {
    /// The API server did not take it, and may the next time.
    Passing(String),
    /// Not all fits, and nothing will until something changes.
    Lasting(String),
}

/// The last that became of a vault's record.
struct Last {
    changes: u64,
    at: Instant,
    failure: Option<Unwritten>,
}

impl Last {
    fn new(changes: u64, failure: Option<Unwritten>) -> Self {
        Self { changes, at: Instant::now(), failure }
    }

    fn is_passing(&self) -> bool {
        matches!(self.failure, Some(Unwritten::Passing(_)))
    }
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let known = std::mem::take(&mut self.changes).into_iter();
        let mut last: BTreeMap<Arc<str>, Last> =
            known.map(|(vault, changes)| (vault, Last::new(changes, None))).collect();
        let mut told = None;
        loop {
            tokio::time::sleep(self.interval).await;
            let Some(server) = self.server.upgrade() else { return };
            let outcome = self.flush(&server, &mut last).await;
            let Some(outcome) = outcome.or_else(|| told.is_none().then_some(Kept::Written)) else {
                continue;
            };
            let epochs = self.epochs.iter();
            let epochs = epochs.map(|(v, e)| CacheEpoch { vault: v.to_string(), epoch: *e });
            // A vault's record may be written while another's fails as it did before.
            let news = (epochs.collect::<Vec<_>>(), outcome);
            if told.as_ref() != Some(&news) {
                (self.on_written)(news.0.clone(), news.1.clone());
                told = Some(news);
            }
        }
    }

    /// Writes the records that are out of date. How all of them are then; `None` when none was tried.
    async fn flush(
        &mut self,
        server: &Server,
        last: &mut BTreeMap<Arc<str>, Last>,
    ) -> Option<Kept> {
        let (scope, view) = (server.scope(), server.view());
        let mut tried = false;
        for vault in scope.vaults() {
            let changes = scope.changes(&vault);
            let before = last.get(&vault);
            let is_due = before.is_none_or(|l| {
                l.changes != changes
                    || l.is_passing()
                    || (l.at.elapsed() >= self.confirmed && scope.holds_some(&vault))
            });
            if !is_due {
                continue;
            }
            let result = if scope.holds_some(&vault) {
                self.write(scope, &view, &vault).await
            } else {
                if before.is_none_or(|l| l.changes != changes) {
                    self.retire(&vault);
                }
                let removed = self.records.remove(&vault).await;
                removed.map(|()| Wrote::Record).map_err(|e| Unwritten::Passing(e.to_string()))
            };
            let (failure, told) = match result {
                // Its names come with the next list.
                Ok(Wrote::Nothing) => continue,
                Ok(Wrote::Record) => (None, "written"),
                Ok(Wrote::Part(why)) => (Some(Unwritten::Lasting(why)), "written"),
                Err(failure) => (Some(failure), "failed"),
            };
            tried = true;
            self.records.metrics.cache.persisted(&self.records.server, told);
            last.insert(vault, Last::new(changes, failure));
        }
        let failure = |(vault, last): (&Arc<str>, &Last)| match &last.failure {
            Some(Unwritten::Passing(why) | Unwritten::Lasting(why)) => {
                Some(Kept::Failed(format!("the values of vault {vault}: {why}")))
            }
            None => None,
        };
        tried.then(|| last.iter().find_map(failure).unwrap_or(Kept::Written))
    }

    /// Lets no record of a vault count that was written so far: should it stay for now, or be put back, it would
    /// serve what 1Password refuses.
    fn retire(&mut self, vault: &str) {
        if let Some(epoch) = self.epochs.get_mut(vault) {
            *epoch += 1;
        }
    }

    async fn write(
        &mut self,
        scope: &Scope,
        view: &crate::vaults::View,
        vault: &Arc<str>,
    ) -> Result<Wrote, Unwritten> {
        // Without its names nothing of it could be found again.
        let Some(entry) = view.snapshot.vault(vault) else { return Ok(Wrote::Nothing) };
        let Some(listing) = &entry.listing else { return Ok(Wrote::Nothing) };
        let epoch = self.epochs.get(vault).copied().unwrap_or(0) + 1;
        if epoch == 1 && self.epochs.len() >= VAULT_LIMIT {
            let why = format!("there are {VAULT_LIMIT} vaults with records already");
            return Err(Unwritten::Lasting(why));
        }
        let listed = listing.items().iter().map(|item| Listed {
            id: item.id.clone(),
            title: item.title.clone(),
            version: item.version,
            category: item.category.clone(),
        });
        let namesakes = view.snapshot.namesakes(entry);
        let (record, bytes) = scope
            .export(
                vault,
                Names {
                    vault: entry.name.clone(),
                    content_version: entry.content_version,
                    namesakes,
                },
                listed,
                epoch,
            )
            .map_err(|e| Unwritten::Lasting(e.to_string()))?;
        let written = self.records.write(vault, bytes).await;
        written.map_err(|e| Unwritten::Passing(e.to_string()))?;
        self.epochs.insert(vault.clone(), epoch);
        if record.left_out > 0 {
            let all = record.values + record.left_out;
            let why = format!("{} of {all} do not fit into a record", record.left_out);
            return Ok(Wrote::Part(why));
        }
        Ok(Wrote::Record)
    }
}

pub(super) fn expected(entry: &SecretEntry) -> Expected {
    Expected { uid: entry.uid.to_string(), resource_version: entry.resource_version.to_string() }
}

fn label(error: RecordError) -> &'static str {
    match error {
        RecordError::UnknownKey => "unknown key",
        RecordError::Foreign => "foreign",
        RecordError::RolledBack => "rolled back",
        RecordError::Unmade => "failed",
    }
}
