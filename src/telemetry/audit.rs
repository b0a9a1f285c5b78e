use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of the audit stream.
#[derive(Debug)]
pub struct AuditMetrics {
    records: Family<KindLabel, Counter>,
    queue: Family<KindLabel, Gauge>,
    wait_seconds: Histogram,
    merged: Counter,
    failures: Family<StepLabel, Counter>,
    unrecorded: Counter,
    checkpoint_age: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

impl AuditMetrics {
    pub(super) fn new() -> Self {
        Self {
            records: Family::default(),
            queue: Family::default(),
            wait_seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            merged: Counter::default(),
            failures: Family::default(),
            unrecorded: Counter::default(),
            checkpoint_age: Gauge::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("audit_records", "Audit records written", self.records.clone());
        registry.register(
            "audit_queue",
            "Audit records that wait to be written",
            self.queue.clone(),
        );
        registry.register_with_unit(
            "audit_wait",
            "How long it takes until a record is written",
            Unit::Seconds,
            self.wait_seconds.clone(),
        );
        registry.register(
            "audit_merged",
            "Denials that were counted in a record of others",
            self.merged.clone(),
        );
        registry.register(
            "audit_failures",
            "Writes, waits and checkpoints of the audit stream that failed",
            self.failures.clone(),
        );
        registry.register(
            "audit_unrecorded",
            "What was done without a record, where the operator was told to",
            self.unrecorded.clone(),
        );
        registry.register_with_unit(
            "audit_checkpoint_age",
            "How long the first record that no checkpoint covers has waited for one",
            Unit::Seconds,
            self.checkpoint_age.clone(),
        );
    }

    /// A record was written.
    pub fn recorded(&self, kind: &'static str) {
        self.records.get_or_create(&KindLabel { kind }).inc();
    }

    /// So many records wait.
    pub fn queued(&self, grants: usize, denials: usize) {
        for (kind, count) in [("grant", grants), ("denial", denials)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.queue.get_or_create(&KindLabel { kind }).set(count);
        }
    }

    /// It took a time until a record was written, or given up.
    pub fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    /// A denial was counted with others.
    pub fn merged(&self) {
        self.merged.inc();
    }

    /// A step failed: `write`, `wait` or `checkpoint`.
    pub fn failed(&self, step: &'static str) {
        self.failures.get_or_create(&StepLabel { step }).inc();
    }

    /// Something was done without a record.
    pub fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    /// How long the first record without a checkpoint has waited for one.
    pub fn checkpoint_waits(&self, time: Duration) {
        self.checkpoint_age.set(time.as_secs_f64());
    }
}
