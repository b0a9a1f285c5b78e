//! The admission policies that stand guard over what the operator rests on. It asks them nothing, and says when one is
//! not in force: `docs/admission.md` says what each keeps from whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::kube_io::{ApiError, KubeIo};
use crate::telemetry::Metrics;

/// Looks, for as long as the operator runs, whether the policies of these names are in force, each with a binding of
/// the same name.
pub(super) async fn watch(
    policies: Vec<String>,
    io: KubeIo,
    interval: Duration,
    metrics: Arc<Metrics>,
) {
    if policies.is_empty() {
        return std::future::pending().await;
    }
    let mut looks = tokio::time::interval(interval);
    let mut known = HashMap::new();
    loop {
        looks.tick().await;
        for policy in &policies {
            let is = match io.denies_by_policy(policy).await {
                Ok(is) => is,
                // It is as it was last, for all that anybody knows.
                Err(ApiError::TimedOut | ApiError::Unreachable) => continue,
                Err(error) => {
                    tracing::debug!(policy, %error, "the admission policy may not be looked at");
                    false
                }
            };
            metrics.admission_policy(policy, is);
            match known.insert(policy.clone(), is) {
                Some(was) if was == is => {}
                None if is => {}
                Some(_) if is => tracing::info!(policy, "the admission policy is in force again"),
                Some(_) | None => tracing::warn!(
                    policy,
                    "the admission policy is not in force: it or its binding is missing, does not deny, or may not \
                     be read; helm upgrade makes it again"
                ),
            }
        }
    }
}
