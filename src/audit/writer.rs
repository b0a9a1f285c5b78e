//! The thread that numbers, seals and writes records. It alone blocks.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::chain::{Chain, Head, Line};
use super::entry::Kind;
use super::queue::{Job, Queue};
use super::sinks::Sink;
use crate::telemetry::Metrics;

/// What others may know of the writer.
#[derive(Default)]
pub(super) struct Progress {
    head: Mutex<Option<Head>>,
    trouble: Mutex<Option<io::ErrorKind>>,
}

impl Progress {
    /// The last record that was written.
    pub(super) fn head(&self) -> Option<Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the last write failed, if it did.
    pub(super) fn trouble(&self) -> Option<io::ErrorKind> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, head: Option<&Head>) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head.cloned();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, kind: io::ErrorKind) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
    }
}

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) chain: Chain,
    pub(super) sink: Box<dyn Sink>,
    pub(super) progress: Arc<Progress>,
    /// The pause before a write that failed is tried again.
    pub(super) pause: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) done: watch::Sender<bool>,
}

/// A record that was sealed, and whoever waits for it.
struct Sealed {
    id: String,
    kind: Kind,
    told: Option<oneshot::Sender<String>>,
}

impl Writer {
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.queue.take() {
            let (sealed, lines): (Vec<Sealed>, Vec<Line>) =
                jobs.into_iter().filter_map(|job| self.seal(job)).unzip();
            if !self.write(&lines) {
                break;
            }
            self.progress.wrote(self.chain.head());
            for record in sealed {
                self.metrics.audit.recorded(record.kind.as_str());
                let Some(told) = record.told else { continue };
                if let Err(id) = told.send(record.id)
                    && record.kind == Kind::Intent
                {
                    self.queue.unused(&id);
                }
            }
        }
        self.done.send_replace(true);
    }

    fn seal(&mut self, job: Job) -> Option<(Sealed, Line)> {
        let (kind, fields, told) = job.into_fields();
        let line = self.chain.seal(kind, &fields).ok()?;
        Some((Sealed { id: self.chain.id(), kind, told }, line))
    }

    /// Writes lines, and tries again until they are written or all ends. What was sealed once is written just so:
    /// nobody knows how much of it arrived, and two records of one number would look like a forgery.
    fn write(&mut self, lines: &[Line]) -> bool {
        loop {
            let Err(error) = self.sink.append(lines) else { return true };
            self.metrics.audit.failed("write");
            if self.progress.trouble().is_none() {
                tracing::error!(cause = %error.kind(), "the audit stream cannot be written; trying again");
            }
            self.progress.failed(error.kind());
            if self.queue.pause(self.pause) {
                return self.sink.append(lines).is_ok();
            }
        }
    }
}
