//! The head of each stream in a ConfigMap outside the log, so that a log that was cut at its end is found out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{Audit, Head};
use crate::index::{ObjectKey, resource_version};
use crate::kube_io::{ApiError, Expected, KubeIo};
use crate::telemetry::Metrics;

/// The ConfigMap in the operator's namespace.
pub const CHECKPOINT: &str = "portcullis-audit";

/// How many streams are kept of a class, and in all.
const KEPT: usize = 32;
const KEPT_IN_ALL: usize = 512;

/// How often a write is tried that meets somebody else's.
const TRIES: usize = 5;

/// A stream, as the checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The last record.
    #[serde(flatten)]
    pub head: Head,
    /// The controller class of the instance.
    pub class: String,
    /// Whether the stream was ended in order.
    pub ended: bool,
}

/// The streams of a class in a checkpoint.
#[must_use]
pub fn streams(config_map: &ConfigMap, class: &str) -> Vec<Checkpoint> {
    let entries = config_map.data.iter().flatten();
    let known = entries.filter_map(|(_, text)| serde_json::from_str::<Checkpoint>(text).ok());
    known.filter(|checkpoint| checkpoint.class == class).collect()
}

/// Reads the streams of a class.
///
/// # Errors
/// When the API server does not answer as it should.
pub async fn read(io: &KubeIo, namespace: &str, class: &str) -> Result<Vec<Checkpoint>, ApiError> {
    let found = io.config_map(&ObjectKey::new(namespace, CHECKPOINT)).await?;
    Ok(found.map(|config_map| streams(&config_map, class)).unwrap_or_default())
}

/// The head of the latest stream.
#[must_use]
pub fn latest(streams: Vec<Checkpoint>) -> Option<Head> {
    streams.into_iter().map(|c| c.head).max_by(|a, b| a.time.cmp(&b.time))
}

/// Keeps the checkpoint of a stream up to date.
pub struct Keeper {
    /// Writes it.
    pub io: KubeIo,
    /// The operator's namespace.
    pub namespace: String,
    /// The controller class of the instance.
    pub class: String,
    /// The stream.
    pub audit: Audit,
    /// The time between two writes.
    pub interval: Duration,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What was written last. Held for as long as a write takes: of two at once the later could be undone by the other.
    pub written: Mutex<Option<Checkpoint>>,
}

impl Keeper {
    /// Writes what is new, at most once an interval, for as long as it is polled.
    pub async fn run(&self) {
        let mut behind: Option<Instant> = None;
        loop {
            tokio::time::sleep(self.interval).await;
            self.audit.publish_lengths();
            let since = *behind.get_or_insert_with(Instant::now);
            if self.write(false).await {
                behind = None;
                self.metrics.audit.checkpoint_waits(Duration::ZERO);
            } else {
                self.metrics.audit.checkpoint_waits(since.elapsed());
            }
        }
    }

    /// Ends the stream: waits for its last record, and writes it as the last.
    pub async fn finish(&self) {
        self.audit.close().await;
        self.write(true).await;
    }

    /// Brings the checkpoint up to date. Says whether it is.
    async fn write(&self, ended: bool) -> bool {
        let mut written = self.written.lock().await;
        let Some(head) = self.audit.head() else { return true };
        let checkpoint = Checkpoint { head, class: self.class.clone(), ended };
        let is_known = written.as_ref().is_some_and(|known| known.ended || *known == checkpoint);
        if is_known {
            return true;
        }
        let mut result = Err(ApiError::Conflict);
        for _ in 0..TRIES {
            result = self.put(&checkpoint).await;
            if !matches!(
                result,
                Err(ApiError::Conflict | ApiError::AlreadyExists | ApiError::NotFound)
            ) {
                break;
            }
        }
        match result {
            Ok(()) => {
                *written = Some(checkpoint);
                true
            }
            Err(error) => {
                self.metrics.audit.failed("checkpoint");
                tracing::warn!(%error, "the head of the audit stream was not written to ConfigMap {CHECKPOINT}");
                false
            }
        }
    }

    /// Compares and swaps: whoever else writes meanwhile is not overwritten.
    async fn put(&self, checkpoint: &Checkpoint) -> Result<(), ApiError> {
        let key = ObjectKey::new(&self.namespace, CHECKPOINT);
        let text = serde_json::to_string(checkpoint).map_err(|_| ApiError::Refused(0))?;
        let entry = (checkpoint.head.stream.clone(), text);
        let Some(found) = self.io.config_map(&key).await? else {
            let config_map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(CHECKPOINT.to_owned()),
                    namespace: Some(self.namespace.clone()),
                    labels: Some(BTreeMap::from([(
                        "app.kubernetes.io/managed-by".to_owned(),
                        "portcullis".to_owned(),
                    )])),
                    ..ObjectMeta::default()
                },
                data: Some(BTreeMap::from([entry])),
                ..ConfigMap::default()
            };
            return self.io.create_config_map(&key, &config_map).await;
        };
        let expected = Expected {
            uid: found.metadata.uid.clone().unwrap_or_default(),
            resource_version: resource_version(&found.metadata).to_string(),
        };
        let mut data = found.data.unwrap_or_default();
        data.insert(entry.0.clone(), entry.1);
        prune(&mut data, &entry.0, &self.class);
        self.io.patch_config_map(&key, &expected, data).await
    }
}

/// Drops the oldest streams beyond what is kept, and never `own`.
fn prune(data: &mut BTreeMap<String, String>, own: &str, class: &str) {
    let mut known: Vec<(String, String, bool)> = data
        .iter()
        .filter(|(stream, _)| *stream != own)
        .filter_map(|(stream, text)| {
            let checkpoint: Checkpoint = serde_json::from_str(text).ok()?;
            Some((checkpoint.head.time, stream.clone(), checkpoint.class == class))
        })
        .collect();
    known.sort_by(|a, b| b.cmp(a));
    let of_class = known.iter().filter(|(.., same)| *same).skip(KEPT - 1);
    let in_all = known.iter().skip(KEPT_IN_ALL - 1);
    for (_, stream, _) in of_class.chain(in_all) {
        data.remove(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stream: &str, class: &str, time: &str) -> (String, String) {
        let head = Head {
            stream: stream.to_owned(),
            sequence: 1,
            mac: "v1.k.m".to_owned(),
            time: time.to_owned(),
        };
        let checkpoint = Checkpoint { head, class: class.to_owned(), ended: true };
        (stream.to_owned(), serde_json::to_string(&checkpoint).unwrap())
    }

    #[test]
    fn the_oldest_streams_of_a_class_are_dropped_and_others_stay() {
        let of = |n: usize| entry(&format!("s{n}"), "a", &format!("2026-01-01T00:00:{n:02}.000Z"));
        let mut data: BTreeMap<_, _> = (0..KEPT + 5).map(of).collect();
        data.extend([entry("other", "b", "2025-01-01T00:00:00.000Z")]);
        data.insert("note".to_owned(), "somebody's".to_owned());
        prune(&mut data, "s0", "a");
        let of_a = data.keys().filter(|k| k.starts_with('s')).count();
        assert_eq!(of_a, KEPT);
        assert!(data.contains_key("s0"), "its own stays, however old");
        assert!(!data.contains_key("s1") && data.contains_key(&format!("s{}", KEPT + 4)));
        assert!(data.contains_key("other") && data.contains_key("note"));
    }

    #[test]
    fn a_class_sees_its_own_streams_and_follows_the_latest() {
        let data = BTreeMap::from([
            entry("old", "a", "2026-01-01T00:00:00.000Z"),
            entry("new", "a", "2026-01-02T00:00:00.000Z"),
            entry("other", "", "2026-01-03T00:00:00.000Z"),
        ]);
        let config_map = ConfigMap { data: Some(data), ..ConfigMap::default() };
        assert_eq!(latest(streams(&config_map, "a")).unwrap().stream, "new");
        assert_eq!(latest(streams(&config_map, "z")), None);
    }
}
