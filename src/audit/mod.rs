//! The audit stream: a record for every decision that differs from the one before, for every intent to change a
//! Secret before it is changed, and for every change of one. Never a value.
//!
//! [`Audit`] takes entries in a bounded [`queue`]; a thread of its own numbers them, seals each with the one
//! before into a [`chain`], and gives them to a [sink](Sink). [`checkpoint`] keeps the head of the chain outside
//! of the log; [`verify`] holds files against both.

mod chain;
pub mod checkpoint;
mod entry;
mod grounds;
mod queue;
mod read;
pub mod report;
mod sinks;
pub mod text;
pub mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use chain::{Beginning, Head, Line, Link, Unproven, VERSION, is_later, prove};
pub use entry::{Anomaly, Entry, Kind, RequestLine, Requester, SecretLine, Trial};
pub use grounds::Grounds;
pub use read::{Filter, Item, Place, ReadError, Record, each_record, in_order};
pub use sinks::{FileOptions, FileSink, Sink, StreamSink};
#[cfg(feature = "otlp")]
pub use sinks::{OtlpError, OtlpSink};

use crate::secret::Signer;
use crate::telemetry::Metrics;
use chain::Chain;
use queue::{Denial, Denied, Queue};
use writer::{Progress, Writer};

/// What happens when records cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnFailure {
    /// Nothing is granted or written that is not recorded.
    #[default]
    Block,
    /// Work goes on, and a metric counts what is missing from the stream.
    Alert,
}

/// Where records go.
pub struct AuditConfig {
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// What happens when it fails.
    pub on_failure: OnFailure,
}

/// How much waits, and how long.
#[derive(Clone, Copy, Debug)]
pub struct AuditLimits {
    /// The most records that wait to be written, without denials.
    pub room: usize,
    /// The most denials that wait to be written one by one.
    pub denial_room: usize,
    /// How long a record may take to be written before it counts as not written.
    pub wait: Duration,
    /// The pause before a write that failed is tried again.
    pub retry: Duration,
}

/// Takes records. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    on_failure: OnFailure,
    wait: Duration,
    done: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

/// A record that could not be written. What was not granted before is not granted without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The sink fails.
    #[error(
        "the audit stream cannot be written ({0}), and nothing is granted that is not recorded; mend the stream"
    )]
    Unwritable(io::ErrorKind),
    /// The sink takes too long.
    #[error(
        "the audit stream takes longer than {} ms to be written, and nothing is granted that is not recorded; \
         mend whatever reads it", .0.as_millis()
    )]
    Slow(Duration),
    /// The operator stops.
    #[error("the operator stops, and nothing is granted that is not recorded")]
    Stopped,
}

impl Audit {
    /// Starts the stream of a process, which names the last head that the sink or `beginning` has.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        config: AuditConfig,
        signer: Signer,
        beginning: Beginning,
        limits: AuditLimits,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let AuditConfig { mut sink, on_failure } = config;
        let there = sink.resume(&signer).unwrap_or_else(|error| {
            tracing::warn!(cause = %error.kind(), "what the audit stream ended with cannot be read; the checkpoint counts");
            None
        });
        let heads = [there, beginning.after].into_iter().flatten();
        let after = heads.max_by(|a, b| a.time.cmp(&b.time));
        let beginning = Beginning { after, ..beginning };
        let counts_lost = on_failure == OnFailure::Alert;
        let queue = Arc::new(Queue::new(limits.room, limits.denial_room, counts_lost));
        let progress = Arc::new(Progress::default());
        let (ended, done) = watch::channel(false);
        let writer = Writer {
            queue: queue.clone(),
            chain: Chain::new(signer, beginning),
            sink,
            progress: progress.clone(),
            pause: limits.retry,
            metrics: metrics.clone(),
            done: ended,
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(|| writer.run())?;
        Ok(Self { queue, progress, on_failure, wait: limits.wait, done, metrics })
    }

    /// Records what must be recorded, and waits until it is written. Returns its id; none where the operator goes
    /// on without.
    ///
    /// # Errors
    /// When it was not written in time, unless the operator goes on without.
    pub async fn record(&self, entry: &Entry<'_>) -> Result<Option<String>, AuditError> {
        let started = Instant::now();
        let fields = fields(entry);
        let written = async { self.queue.push(entry.kind, fields).await?.await.ok() };
        let written = tokio::time::timeout(self.wait, written).await;
        self.metrics.audit.waited(started.elapsed());
        match written {
            Ok(Some(id)) => Ok(Some(id)),
            Ok(None) => self.unrecorded(AuditError::Stopped),
            Err(_) => self.unrecorded(self.why()),
        }
    }

    /// Records a denial. One that is `alike` to one that waits, in the same words, is counted with it. Where too many wait it
    /// is counted with others and has no id of its own.
    ///
    /// # Errors
    /// When it was not written in time, unless the operator goes on without.
    pub async fn record_denial(
        &self,
        entry: &Entry<'_>,
        alike: &str,
    ) -> Result<Option<String>, AuditError> {
        let denial = Denial {
            namespace: entry.request.namespace,
            uid: entry.request.uid,
            reason: entry.decision.as_ref().map_or("", |d| d.reason),
            alike,
            fields: fields(entry),
        };
        let id = match self.queue.deny(denial) {
            Denied::Waits(id) => id,
            Denied::Merged => {
                self.metrics.audit.merged();
                return Ok(None);
            }
        };
        match tokio::time::timeout(self.wait, id).await {
            Ok(Ok(id)) => Ok(Some(id)),
            Ok(Err(_)) => self.unrecorded(AuditError::Stopped),
            Err(_) => self.unrecorded(self.why()),
        }
    }

    /// The last record that was written.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.progress.head()
    }

    /// Says how many records wait.
    pub(crate) fn publish_lengths(&self) {
        let (grants, denials) = self.queue.lengths();
        self.metrics.audit.queued(grants, denials);
    }

    /// Takes nothing more, and waits until what waits is written, for as long as a record may take.
    pub async fn close(&self) {
        self.queue.close();
        let mut done = self.done.clone();
        let ended = tokio::time::timeout(self.wait, done.wait_for(|done| *done)).await;
        if !matches!(ended, Ok(Ok(_))) {
            tracing::error!("the end of the audit stream was not written in time");
        }
    }

    /// Waits until the writer ends, which it does by itself only when it fails.
    pub async fn ended(&self) {
        // An error says that it panicked.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }

    fn why(&self) -> AuditError {
        match self.progress.trouble() {
            Some(kind) => AuditError::Unwritable(kind),
            None => AuditError::Slow(self.wait),
        }
    }

    fn unrecorded(&self, error: AuditError) -> Result<Option<String>, AuditError> {
        self.metrics.audit.failed("wait");
        match self.on_failure {
            OnFailure::Block => Err(error),
            OnFailure::Alert => {
                self.metrics.audit.unrecorded();
                tracing::error!(%error, "something is not recorded, and goes on: --audit-on-failure=alert");
                Ok(None)
            }
        }
    }
}

/// The fields of an entry as JSON without the braces, safe to look at.
fn fields(entry: &Entry<'_>) -> String {
    // Strings, numbers and lists of them always serialize.
    let json = serde_json::to_string(entry).unwrap_or_default();
    let inner = json.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    text::json(inner.unwrap_or_default())
}
