//! Fetching ahead: items of standing grants that are not in the cache, after a restart or the loss of a key,
//! so that an outage finds them there. One at a time, behind everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::examine::Upstream;
use crate::fetch::{Fallback, Fetcher, Order, Reach, class_of};
use crate::policy::{Grant, ItemIdentity};
use crate::telemetry::Metrics;
use crate::vaults::Health;

/// Takes what is to be fetched ahead. What does not fit any more is left to the next look at its request.
#[derive(Clone)]
pub(super) struct Warmer {
    queue: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

struct Job {
    grant: Arc<Grant>,
    upstream: Upstream,
    max_staleness: Duration,
}

/// The most requests that wait to be warmed.
const CAPACITY: usize = 16_384;

impl Warmer {
    /// A warmer, and the task that does its work.
    pub(super) fn new(
        fetcher: Arc<Fetcher>,
        pause: Duration,
        metrics: Arc<Metrics>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, mut jobs) = mpsc::channel::<Job>(CAPACITY);
        let warmer = Self { queue, waiting: Arc::default(), metrics };
        let (waiting, figures) = (warmer.waiting.clone(), warmer.metrics.clone());
        let task = async move {
            while let Some(job) = jobs.recv().await {
                // Whoever waits for a Secret goes first.
                let place = loop {
                    if job.upstream.server.view().health != Health::Good {
                        break None;
                    }
                    match job.upstream.server.try_permit() {
                        Some(place) => break Some(place),
                        None => tokio::time::sleep(pause).await,
                    }
                };
                if place.is_some() {
                    fetcher
                        .warm(&Order {
                            grant: &job.grant,
                            server: &job.upstream.server,
                            spec: &job.upstream.spec,
                            reach: Reach::Ask,
                            fallback: Fallback::HasSecret,
                            max_staleness: job.max_staleness,
                        })
                        .await;
                }
                figures.cache.warming(waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
            }
        };
        (warmer, task)
    }

    /// Has the items of a grant fetched if its server is to be warmed and some of them are not kept.
    pub(super) fn offer(&self, grant: &Arc<Grant>, upstream: &Upstream, max_staleness: Duration) {
        if !upstream.spec.warms() {
            return;
        }
        let facts = grant.facts();
        let scope = upstream.server.scope();
        let is_kept = |item: &ItemIdentity| {
            let class = class_of(&upstream.spec, &item.vault_name, max_staleness);
            class.ttl.is_none() || scope.has(item, facts.version_of(item))
        };
        if facts.items().all(is_kept) {
            return;
        }
        let job = Job { grant: grant.clone(), upstream: upstream.clone(), max_staleness };
        if self.queue.try_send(job).is_ok() {
            self.metrics.cache.warming(self.waiting.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }
}
