//! Who wrote a request's spec, as far as that is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::watch::Latch;
use crate::index::RequestEntry;
use crate::kube_io::{ApiError, KubeIo};
use crate::policy::{Requester, glob_matches};
use crate::telemetry::Metrics;

/// The pause before a first look that nobody answered is made again.
const RETRY: Duration = Duration::from_secs(1);

/// Reads who wrote a request off its annotation, which the API server vouches for where the admission policy is there
/// that refuses a false one.
pub(super) struct Requesters {
    /// Names, or patterns of them, of those who write on behalf of others.
    delegates: Vec<String>,
    /// Whether the API server vouches for the annotation, as far as was found out last.
    is_guarded: Arc<AtomicBool>,
}

impl Requesters {
    pub(super) fn new(delegates: Vec<String>) -> Self {
        Self { delegates, is_guarded: Arc::default() }
    }

    /// Who wrote the spec of a request; nobody where it does not say.
    pub(super) fn of(&self, entry: &RequestEntry) -> Option<Requester> {
        let name = entry.requested_by.as_deref()?;
        let is_delegate = self.delegates.iter().any(|pattern| glob_matches(pattern, name));
        let verified = self.is_guarded.load(Ordering::Relaxed) && !is_delegate;
        Some(Requester { name: name.to_owned(), verified })
    }

    /// Looks, for as long as the operator runs, whether the admission policy of a name is in force. Nothing is decided
    /// before that is known; where nobody answers, it is as it was last. `on_change` is told of each other answer.
    pub(super) fn watch(
        &self,
        policy: Option<String>,
        io: KubeIo,
        interval: Duration,
        metrics: Arc<Metrics>,
        mut latch: Latch,
        on_change: impl Fn() + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let is_guarded = self.is_guarded.clone();
        async move {
            let Some(policy) = policy else {
                latch.done();
                return std::future::pending().await;
            };
            let mut looks = tokio::time::interval(interval);
            let mut was = None;
            loop {
                looks.tick().await;
                let is = match io.denies_by_policy(&policy).await {
                    Ok(is) => is,
                    Err(error @ (ApiError::TimedOut | ApiError::Unreachable)) => {
                        tracing::warn!(policy, %error, "the admission policy cannot be looked at; it counts as it did");
                        if was.is_none() {
                            looks.reset_after(RETRY.min(interval));
                        }
                        continue;
                    }
                    // Without the right to look nothing is known of it.
                    Err(_) => false,
                };
                is_guarded.store(is, Ordering::Relaxed);
                metrics.requester_guarded(is);
                latch.done();
                if was != Some(is) && !is {
                    tracing::warn!(
                        policy,
                        "the admission policy is not in force: who wrote a request counts as unknown"
                    );
                }
                if was.is_some_and(|was| was != is) {
                    on_change();
                }
                was = Some(is);
            }
        }
    }
}
