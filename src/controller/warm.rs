//! Fetching ahead: items of standing grants that are not in the cache, after a restart or the loss of a key,
//! so that an outage finds them there. One at a time a server, behind everything else.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::examine::Upstream;
use crate::fetch::{Fallback, Fetcher, Order, Reach, Staleness};
use crate::index::ObjectKey;
use crate::policy::Grant;
use crate::telemetry::Metrics;
use crate::vaults::Health;

/// Takes what is to be fetched ahead. What does not fit any more is left to the next look at its request.
#[derive(Clone)]
pub(super) struct Warmer {
    /// A line a server, so that none holds up another.
    lines: Arc<Mutex<HashMap<Arc<str>, mpsc::Sender<Job>>>>,
    shared: Arc<Shared>,
}

struct Shared {
    fetcher: Arc<Fetcher>,
    pause: Duration,
    /// Told of a server whose place is free again. Says whether somebody has waited for it.
    on_free: Box<dyn Fn(&str) -> bool + Send + Sync>,
    metrics: Arc<Metrics>,
    /// The requests that wait in some line, each once.
    waiting: Mutex<HashSet<ObjectKey>>,
}

struct Job {
    request: ObjectKey,
    grant: Arc<Grant>,
    upstream: Upstream,
    staleness: Staleness,
}

impl Job {
    fn order(&self) -> Order<'_> {
        Order {
            grant: &self.grant,
            server: &self.upstream.server,
            spec: &self.upstream.spec,
            reach: Reach::Ahead,
            fallback: Fallback::HasSecret,
            staleness: self.staleness,
        }
    }
}

/// The most requests that wait in one line.
const CAPACITY: usize = 16_384;

impl Warmer {
    /// A warmer that looks for a free place after each pause.
    pub(super) fn new(
        fetcher: Arc<Fetcher>,
        pause: Duration,
        on_free: Box<dyn Fn(&str) -> bool + Send + Sync>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Shared { fetcher, pause, on_free, metrics, waiting: Mutex::default() };
        Self { lines: Arc::default(), shared: Arc::new(shared) }
    }

    /// Has the items of a grant fetched if its server is to be warmed and some of them are not kept.
    pub(super) fn offer(
        &self,
        request: &ObjectKey,
        grant: &Arc<Grant>,
        upstream: &Upstream,
        staleness: Staleness,
    ) {
        if !upstream.spec.warms() {
            return;
        }
        let job = Job {
            request: request.clone(),
            grant: grant.clone(),
            upstream: upstream.clone(),
            staleness,
        };
        if job.order().is_kept() || !self.shared.enter(request) {
            return;
        }
        if self.line(upstream.server.name()).try_send(job).is_err() {
            self.shared.leave(request);
        }
    }

    /// The line of a server, whose task ends with the warmer.
    fn line(&self, server: &Arc<str>) -> mpsc::Sender<Job> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let (line, mut jobs) = mpsc::channel::<Job>(CAPACITY);
            let shared = self.shared.clone();
            tokio::spawn(async move {
                while let Some(job) = jobs.recv().await {
                    shared.warm(&job).await;
                    shared.leave(&job.request);
                }
            });
            line
        };
        lines.entry(server.clone()).or_insert_with(start).clone()
    }
}

impl Shared {
    async fn warm(&self, job: &Job) {
        let server = &job.upstream.server;
        // Whoever waits for a Secret goes first, and a server that is away is left alone.
        let place = loop {
            if server.view().health != Health::Good {
                return;
            }
            match server.try_permit() {
                Some(place) => break place,
                None => tokio::time::sleep(self.pause).await,
            }
        };
        self.fetcher.warm(&job.order()).await;
        drop(place);
        if (self.on_free)(server.name()) {
            // Not to take it again before who has waited is there.
            tokio::time::sleep(self.pause).await;
        }
    }

    fn enter(&self, request: &ObjectKey) -> bool {
        let mut waiting = self.waiting();
        let is_new = waiting.insert(request.clone());
        self.metrics.cache.warming(waiting.len());
        is_new
    }

    fn leave(&self, request: &ObjectKey) {
        let mut waiting = self.waiting();
        waiting.remove(request);
        self.metrics.cache.warming(waiting.len());
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<ObjectKey>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
