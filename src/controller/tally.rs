//! How many requests each policy applies to, by what it came to for each: counted in memory, written to the policies'
//! status on change and at most once an interval.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::api::{CredentialPolicy, Outcome, RequestCounts};
use crate::index::ObjectKey;
use crate::kube_io::{ApiError, KubeIo};
use crate::policy::{PolicyResult, Verdict};

/// What each policy came to for each request.
#[derive(Default)]
pub(super) struct Tally {
    requests: Mutex<Outcomes>,
}

/// By request, the outcome of each policy.
type Outcomes = HashMap<ObjectKey, Vec<(Arc<str>, Outcome)>>;

impl Tally {
    /// A request was decided on.
    pub(super) fn note(&self, key: &ObjectKey, verdict: &Verdict) {
        let is_held = matches!(verdict, Verdict::Held(_));
        let outcome = |result: &PolicyResult| match result.outcome {
            Outcome::Denied if is_held => Outcome::Deferred,
            outcome => outcome,
        };
        let policies = verdict.decision().policies.iter();
        let results = policies.map(|result| (result.policy.as_str().into(), outcome(result)));
        self.lock().insert(key.clone(), results.collect());
    }

    /// A look at a request ended without a decision. One that still waits for what it is decided on was not seen yet.
    pub(super) fn seen(&self, key: &ObjectKey) {
        self.lock().entry(key.clone()).or_default();
    }

    /// A request is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    fn counts(&self) -> BTreeMap<Arc<str>, RequestCounts> {
        let mut counts: BTreeMap<Arc<str>, RequestCounts> = BTreeMap::new();
        for (policy, outcome) in self.lock().values().flatten() {
            let count = counts.entry(policy.clone()).or_default();
            let of_outcome = match outcome {
                Outcome::Allowed => &mut count.allowed,
                Outcome::Alerted => &mut count.alerted,
                Outcome::Deferred => &mut count.deferred,
                Outcome::Denied => &mut count.denied,
            };
            *of_outcome += 1;
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the counts are held against.
pub(super) trait Counted: Send {
    /// The policies that there are, with the counts that their status has.
    fn policies(&self) -> Vec<(Arc<str>, Option<RequestCounts>)>;
    /// How many requests there are.
    fn requests(&self) -> usize;
}

/// How many intervals after a start counts may be of only a part of the requests, and are not written.
const SETTLES: usize = 20;

/// Writes the counts of policies, for as long as the operator runs.
pub(super) async fn publish(
    tally: Arc<Tally>,
    counted: impl Counted,
    io: KubeIo,
    interval: Duration,
) {
    let mut settles = SETTLES;
    loop {
        tokio::time::sleep(interval).await;
        if settles > 0 && tally.lock().len() < counted.requests() {
            settles -= 1;
            continue;
        }
        settles = 0;
        let counts = tally.counts();
        for (name, known) in counted.policies() {
            let count = counts.get(&name).copied().unwrap_or_default();
            if known.unwrap_or_default() == count {
                continue;
            }
            let status = json!({ "requests": count });
            match io.merge_status::<CredentialPolicy, _>("CredentialPolicy", &name, &status).await {
                Ok(()) | Err(ApiError::NotFound) => {}
                Err(error) => {
                    tracing::warn!(policy = %name, %error, "the counts of a policy were not written; trying again");
                }
            }
        }
    }
}
