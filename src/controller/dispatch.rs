use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::queue::{Key, Lane, Next, ParkKey, Queue};
use super::reconcile::Reconciler;
use super::watch::Gate;
use crate::index::ObjectKey;

/// Requests share the workers by namespace.
impl Key for ObjectKey {
    type Flow = Arc<str>;

    fn flow(&self) -> Self::Flow {
        self.namespace.clone()
    }
}

/// Runs what the queue hands out until it is closed, then waits for what is under way.
pub(super) async fn run(
    queue: Queue<ObjectKey>,
    reconciler: Arc<Reconciler>,
    gate: Gate,
    stop: CancellationToken,
) {
    tokio::select! {
        () = gate.opened() => {}
        () = stop.cancelled() => return,
    }
    let mut runs = JoinSet::new();
    let mut figures = tokio::time::interval(Duration::from_secs(1));
    loop {
        let running = tokio::select! {
            running = queue.next() => running,
            Some(_) = runs.join_next() => continue,
            _ = figures.tick() => {
                publish(&queue, &reconciler);
                reconciler.prune();
                continue;
            }
        };
        let Some(running) = running else { break };
        let (queue, reconciler) = (queue.clone(), reconciler.clone());
        runs.spawn(async move {
            let key = running.key().clone();
            let limit = reconciler.time_limit(&key);
            tracing::debug!(request = %key, lane = running.lane().as_str(), failures = running.failures(), "reconciling");
            // Before the run: the request may be gone after it.
            let server = reconciler
                .knowledge
                .index
                .request(&key)
                .map(|entry| entry.server.clone());
            let work = AssertUnwindSafe(reconciler.reconcile(&key, running.worker())).catch_unwind();
            let next = match tokio::time::timeout(limit, work).await {
                Ok(Ok(next)) => next,
                // The panic's own text may hold anything; the hook of the process tells its place alone.
                Ok(Err(_)) => {
                    reconciler.metrics.panicked();
                    tracing::error!(request = %key, "a reconcile panicked");
                    reconciler.abandon(&key, "the operator failed; its log says where").await;
                    Next::Retry
                }
                Err(_) => {
                    tracing::warn!(request = %key, "a reconcile took too long and was abandoned");
                    let seconds = limit.as_secs();
                    let message = format!("it took longer than {seconds} s, and is tried again");
                    reconciler.abandon(&key, &message).await;
                    Next::Retry
                }
            };
            let parked = matches!(next, Next::Park(_));
            running.finish(next);
            // A run that ended may have given back a place at its server.
            if let Some(server) = server.filter(|_| !parked) {
                queue.unpark_one(&ParkKey::new(&server));
            }
        });
    }
    while runs.join_next().await.is_some() {}
}

fn publish(queue: &Queue<ObjectKey>, reconciler: &Reconciler) {
    let depths = queue.depths();
    for (state, count) in [
        (Lane::Interactive.as_str(), depths.interactive),
        (Lane::Changed.as_str(), depths.changed),
        (Lane::Sweep.as_str(), depths.sweep),
        ("running", depths.running),
        ("lent", depths.lent),
        ("parked", depths.parked),
        ("waiting", depths.waiting),
        ("namespaces", depths.flows),
    ] {
        reconciler.metrics.queued(state, count);
    }
    reconciler.metrics.oldest_waits(queue.oldest_wait().unwrap_or_default());
    let index = &reconciler.knowledge.index;
    reconciler.metrics.known_requests(index.request_count());
    let stale = index.stale_since();
    let oldest = stale.iter().min().and_then(|at| at.elapsed().ok()).unwrap_or_default();
    reconciler.metrics.stale_requests(stale.len(), oldest);
}
