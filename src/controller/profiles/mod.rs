//! Past behaviour: kept in memory, looked at and added to under one lock, and stored as AccessProfiles in the
//! operator's namespace, signed.

mod observe;
mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::behavior::{self, Attempt, History, Installation, Limits, Noted, NotedOutcome, Seen};
use crate::kube_io::{ApiError, Expected, KubeIo};
use crate::policy::Verdict;
use crate::secret::MasterKeys;
use crate::settings::Settings;
use crate::status::EventSink;
use crate::telemetry::Metrics;

pub(super) use store::keep;

/// The name of the profile of all namespaces together.
const OVER_ALL: &str = behavior::Profiles::OVER_ALL;
/// How often an attempt is decided on anew, since others of its namespace came before, until they are kept waiting.
const TRIES: u32 = 8;

/// The profiles of the namespaces that this instance serves, and those of others as far as they tell of vaults.
pub(super) struct Profiles {
    state: Mutex<State>,
    place: Place,
    keys: MasterKeys,
    io: KubeIo,
    installation: Installation,
    limits: Limits,
    /// How long somebody waits for a profile to be stored.
    patience: Duration,
    /// Told when somebody waits.
    wake: Notify,
    /// Told after each write.
    written: watch::Sender<()>,
    events: EventSink,
    metrics: Arc<Metrics>,
}

/// Where the profiles of an instance are, and which of them are its own.
#[derive(Clone)]
pub(super) struct Place {
    /// The operator's namespace.
    pub(super) namespace: String,
    /// The class of the instance: another one's keep their own.
    pub(super) class: String,
    /// The namespaces that it serves; all when empty.
    pub(super) serves: Vec<String>,
}

#[derive(Default)]
struct State {
    known: behavior::Profiles,
    rows: HashMap<Arc<str>, Row>,
    epoch: u64,
}

/// How far the profile of a namespace is stored.
#[derive(Default)]
struct Row {
    /// The object as it was last seen or written.
    object: Option<Object>,
    /// Counts what was noted.
    noted: u64,
    /// The count that the stored one has.
    stored: u64,
    /// Whether somebody waits.
    is_awaited: bool,
    /// The tag of the last write, which the watch tells of as well.
    tag: String,
}

struct Object {
    uid: String,
    resource_version: u64,
    epoch: u64,
}

impl Object {
    fn expected(&self) -> Expected {
        Expected { uid: self.uid.clone(), resource_version: self.resource_version.to_string() }
    }
}

/// A profile was not stored in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what namespace {0} is granted was not added to its access profile yet, and nothing is delivered before that"
)]
pub(super) struct Unstored(String);

impl Place {
    fn name_of(&self, namespace: &str) -> String {
        behavior::Profiles::name_of(namespace, &self.class)
    }

    fn namespace_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        behavior::Profiles::namespace_of(name, &self.class)
    }

    fn serves(&self, namespace: &str) -> bool {
        namespace == OVER_ALL
            || self.serves.is_empty()
            || self.serves.iter().any(|served| served == namespace)
    }
}

impl Profiles {
    pub(super) fn new(
        place: Place,
        keys: MasterKeys,
        io: KubeIo,
        installation: Installation,
        settings: &Settings,
        events: EventSink,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            state: Mutex::default(),
            place,
            keys,
            io,
            installation,
            limits: settings.behavior.clone(),
            patience: settings.write_timeout,
            wake: Notify::new(),
            written: watch::Sender::new(()),
            events,
            metrics,
        }
    }

    /// Decides on an attempt by what is unusual about it, and takes in what it came to. As if in one step: of two
    /// attempts of a namespace at the same time the second one sees the first.
    ///
    /// Rules are asked while others look: those of one namespace must not hold up all.
    pub(super) fn decide(&self, attempt: &Attempt, decide: impl Fn(Seen) -> Verdict) -> Verdict {
        for _ in 0..TRIES {
            let look = self.lock().known.begin(attempt, &self.installation, &self.limits);
            let verdict = decide(look.seen.clone());
            let mut state = self.lock();
            if state.known.stands(attempt, &look) {
                let came = state.known.finish(attempt, look, noted(&verdict));
                self.take_in(&mut state, attempt, &came);
                return verdict;
            }
        }
        // Others of the namespace were always quicker.
        let mut state = self.lock();
        let (verdict, came) =
            state.known.weigh(attempt, &self.installation, &self.limits, |seen| {
                let verdict = decide(seen);
                let outcome = noted(&verdict);
                (verdict, outcome)
            });
        self.take_in(&mut state, attempt, &came);
        verdict
    }

    fn take_in(&self, state: &mut State, attempt: &Attempt, came: &Noted) {
        for anomaly in &came.news {
            self.metrics.decisions.anomaly(anomaly.detector.as_str());
        }
        if came.is_noted {
            state.row(&attempt.namespace).noted += 1;
        }
        if came.has_new_items {
            state.row(OVER_ALL).noted += 1;
        }
    }

    /// What rules may know of the past of a namespace where nobody attempts anything.
    pub(super) fn history(&self, attempt: &Attempt) -> History {
        self.lock().known.look(attempt, &self.installation, &self.limits).history
    }

    /// Waits until everything that was noted of a namespace so far is stored.
    pub(super) async fn commit(&self, namespace: &str) -> Result<(), Unstored> {
        let mut written = self.written.subscribe();
        let wanted = {
            let mut state = self.lock();
            let row = state.row(namespace);
            if row.stored >= row.noted {
                return Ok(());
            }
            row.is_awaited = true;
            row.noted
        };
        self.wake.notify_one();
        let stored = async {
            while self.lock().row(namespace).stored < wanted && written.changed().await.is_ok() {}
        };
        tokio::time::timeout(self.patience, stored)
            .await
            .map_err(|_| Unstored(namespace.to_owned()))
    }

    /// Forgets attempts that are over.
    pub(super) fn prune(&self) {
        self.lock().known.forget_attempts(chrono::Utc::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn row(&mut self, namespace: &str) -> &mut Row {
        if !self.rows.contains_key(namespace) {
            self.rows.insert(namespace.into(), Row::default());
        }
        self.rows.entry(namespace.into()).or_default()
    }
}

/// What a verdict is to past behaviour; nothing where no rule was asked for a reason that is not the requester's.
fn noted(verdict: &Verdict) -> Option<NotedOutcome> {
    use crate::api::{Outcome, Reason};
    let decision = verdict.decision();
    let risk = decision.risk_score;
    match (decision.outcome, decision.reason) {
        (Outcome::Allowed | Outcome::Alerted, _) => Some(NotedOutcome::Granted { risk }),
        (Outcome::Deferred, _) => Some(NotedOutcome::Deferred),
        (Outcome::Denied, Reason::Denied | Reason::EnvironmentMismatch) => {
            Some(NotedOutcome::Denied { risk })
        }
        (Outcome::Denied, _) => None,
    }
}
