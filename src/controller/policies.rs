use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::jiff;
use kube::runtime::watcher::Event;
use serde::Deserialize as _;
use tokio::time::Instant;

use crate::api::{
    ConditionType, Conditions, CredentialPolicy, CredentialPolicySpec, CredentialPolicyStatus,
    Reason, RequestCounts,
};
use crate::index::Raw;
use crate::kube_io::{ApiError, KubeIo};
use crate::policy::{PolicySet, PolicyState};

/// The policies of the operator's class, compiled.
pub(super) struct Policies {
    class: String,
    settle: Duration,
    known: Mutex<Known>,
    set: RwLock<Arc<PolicySet>>,
}

#[derive(Default)]
struct Known {
    policies: HashMap<String, Entry>,
    epoch: u64,
}

struct Entry {
    state: Arc<PolicyState>,
    generation: i64,
    uid: String,
    epoch: u64,
    /// The counts that its status has.
    counted: Option<RequestCounts>,
    /// Set when the policy was deleted: it counts until this time.
    until: Option<Instant>,
}

/// The status that a policy should have.
pub(super) struct PolicyVerdict {
    name: String,
    previous: CredentialPolicyStatus,
    next: CredentialPolicyStatus,
}

impl Policies {
    pub(super) fn new(class: String, settle: Duration) -> Self {
        Self { class, settle, known: Mutex::default(), set: RwLock::default() }
    }

    /// The policies as they count now.
    pub(super) fn set(&self) -> Arc<PolicySet> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Folds an event in. Returns whether the set changed, and the status of a policy that was read.
    pub(super) fn fold(
        &self,
        event: Event<Raw<CredentialPolicy>>,
    ) -> (bool, Option<PolicyVerdict>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (changed, verdict) = match event {
            Event::Init => {
                known.epoch += 1;
                (false, None)
            }
            Event::InitApply(policy) | Event::Apply(policy) => self.put(&mut known, &policy),
            Event::InitDone => {
                let epoch = known.epoch;
                let until = Instant::now() + self.settle;
                for entry in known.policies.values_mut().filter(|e| e.epoch < epoch) {
                    entry.until.get_or_insert(until);
                }
                (true, None)
            }
            Event::Delete(policy) => {
                let until = Instant::now() + self.settle;
                if let Some(entry) =
                    policy.metadata.name.as_ref().and_then(|n| known.policies.get_mut(n))
                {
                    entry.until = Some(until);
                }
                (false, None)
            }
        };
        if changed {
            self.publish(&known);
        }
        (changed, verdict)
    }

    fn put(
        &self,
        known: &mut Known,
        policy: &Raw<CredentialPolicy>,
    ) -> (bool, Option<PolicyVerdict>) {
        let Some(name) = policy.metadata.name.clone() else {
            return (false, None);
        };
        let class = policy.spec.get("controllerClass").and_then(|c| c.as_str()).unwrap_or_default();
        if class != self.class {
            // One that was ours goes as if it were deleted.
            if let Some(entry) = known.policies.get_mut(&name) {
                entry.until.get_or_insert(Instant::now() + self.settle);
            }
            return (false, None);
        }
        let generation = policy.metadata.generation.unwrap_or(0);
        let uid = policy.metadata.uid.clone().unwrap_or_default();
        let epoch = known.epoch;
        let previous = CredentialPolicyStatus::deserialize(&policy.status).unwrap_or_default();
        let counted = previous.requests;
        if let Some(entry) = known.policies.get_mut(&name)
            && entry.generation == generation
            && entry.uid == uid
        {
            entry.epoch = epoch;
            entry.until = None;
            entry.counted = counted;
            return (false, None);
        }
        let state = match CredentialPolicySpec::deserialize(&policy.spec) {
            Ok(spec) => PolicyState::compile(&name, &spec),
            Err(_) => PolicyState::Unreadable { name: name.clone() },
        };
        let verdict = PolicyVerdict {
            next: status(&previous, &state, generation),
            previous: CredentialPolicyStatus { requests: None, ..previous },
            name: name.clone(),
        };
        known.policies.insert(
            name,
            Entry { state: Arc::new(state), generation, uid, epoch, counted, until: None },
        );
        (true, Some(verdict))
    }

    /// The policies that there are, with the counts that their status has.
    pub(super) fn counted(&self) -> Vec<(Arc<str>, Option<RequestCounts>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let there = known.policies.iter().filter(|(_, entry)| entry.until.is_none());
        there.map(|(name, entry)| (name.as_str().into(), entry.counted)).collect()
    }

    /// Whether a verdict speaks of a policy as it is now.
    pub(super) fn is_current(&self, verdict: &PolicyVerdict) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.policies.get(&verdict.name).filter(|e| e.until.is_none());
        entry.is_some_and(|e| Some(e.generation) == verdict.next.observed_generation)
    }

    /// Drops policies whose time is over. Returns whether there were any.
    pub(super) fn expire(&self) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, now) = (known.policies.len(), Instant::now());
        known.policies.retain(|_, entry| entry.until.is_none_or(|until| until > now));
        let changed = known.policies.len() != before;
        if changed {
            self.publish(&known);
        }
        changed
    }

    /// When the next deleted policy stops to count.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.policies.values().filter_map(|e| e.until).min()
    }

    fn publish(&self, known: &Known) {
        let states = known.policies.values().map(|e| e.state.clone()).collect();
        *self.set.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(PolicySet::new(states));
    }
}

impl PolicyVerdict {
    /// Writes the status if it says something new.
    pub(super) async fn write(&self, io: &KubeIo) -> Result<(), ApiError> {
        if self.previous == self.next {
            return Ok(());
        }
        io.merge_status::<CredentialPolicy, _>("CredentialPolicy", &self.name, &self.next).await
    }

    /// The policy's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn status(
    previous: &CredentialPolicyStatus,
    state: &PolicyState,
    generation: i64,
) -> CredentialPolicyStatus {
    let conditions = Conditions::replacing(&previous.conditions, Some(generation), super::now());
    let valid = ConditionType::Valid;
    let conditions = match state {
        PolicyState::Compiled(_) => {
            conditions.set(valid, Some(true), Reason::Compiled, "every rule can be evaluated")
        }
        PolicyState::Invalid { rule, error, column, .. } => conditions.set(
            valid,
            Some(false),
            Reason::InvalidRule,
            &format!("rule {rule}{}: {error}; requests that this policy matches are not granted anew until it is mended", column.map(|c| format!(", column {c}")).unwrap_or_default()),
        ),
        PolicyState::Unreadable { .. } => conditions.set(
            valid,
            Some(false),
            Reason::PolicyUnreadable,
            "this version of Portcullis cannot read the policy, and grants nothing anew until it can; \
             upgrade Portcullis or mend the policy",
        ),
    };
    CredentialPolicyStatus {
        observed_generation: Some(generation),
        conditions: conditions.finish(),
        // Counted elsewhere.
        requests: None,
    }
}

/// A time in the resolution in which Kubernetes keeps it.
pub(super) fn whole_seconds(
    time: std::time::SystemTime,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let timestamp = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX));
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        timestamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
    )
}
