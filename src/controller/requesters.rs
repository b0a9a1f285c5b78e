//! Who wrote a request's spec, as far as that is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::index::RequestEntry;
use crate::kube_io::KubeIo;
use crate::policy::{Requester, glob_matches};
use crate::telemetry::Metrics;

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

    /// Looks, for as long as the operator runs, whether the admission policy of a name is in force.
    pub(super) fn watch(
        &self,
        policy: Option<String>,
        io: KubeIo,
        interval: Duration,
        metrics: Arc<Metrics>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let is_guarded = self.is_guarded.clone();
        async move {
            let Some(policy) = policy else { return std::future::pending().await };
            let mut looks = tokio::time::interval(interval);
            let mut was = None;
            loop {
                looks.tick().await;
                let is = io.denies_by_policy(&policy).await.unwrap_or(false);
                is_guarded.store(is, Ordering::Relaxed);
                metrics.requester_guarded(is);
                if was != Some(is) && !is {
                    tracing::warn!(
                        policy,
                        "the admission policy is not in force: who wrote a request counts as unknown"
                    );
                }
                was = Some(is);
            }
        }
    }
}
