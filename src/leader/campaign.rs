use std::sync::Arc;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use super::lease::{Sight, Standing, taken};
use super::renew::Leader;
use super::{LeaseTiming, lease};
use crate::api::FIELD_MANAGER;
use crate::telemetry::Metrics;

/// Who wants to hold which Lease.
pub struct CandidateConfig {
    /// A client of its own, which sends nothing a second time: the Lease does not wait behind the operator's work.
    pub client: Client,
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub lease: String,
    /// A name that no other process has that runs. Who comes back under the name of a holder takes the Lease at once.
    pub replica: String,
    /// How long it is held.
    pub timing: LeaseTiming,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A replica that wants to work.
pub struct Candidate {
    leases: Api<Lease>,
    pub(super) lease: String,
    pub(super) replica: String,
    pub(super) timing: LeaseTiming,
    pub(super) metrics: Arc<Metrics>,
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum CallError {
    /// Somebody else wrote the Lease meanwhile.
    Conflict,
    /// There is no Lease any more.
    Gone,
    /// No answer, or another one than was expected, in words.
    Failed(String),
}

impl Candidate {
    /// A candidate.
    #[must_use]
    pub fn new(config: CandidateConfig) -> Self {
        let CandidateConfig { client, namespace, lease, replica, timing, metrics } = config;
        let leases = Api::namespaced(client, &namespace);
        Self { leases, lease, replica, timing, metrics }
    }

    /// Waits until the Lease is this candidate's, and keeps it from then on. `stands_by` is told whenever it is known that
    /// another one holds it.
    ///
    /// An API server that does not answer, or that refuses, is asked again for as long as it takes; the log says so.
    pub async fn campaign(self, stands_by: impl Fn()) -> Leader {
        let mut sight = Sight::default();
        let mut said = String::new();
        loop {
            let outcome = self.stand(&mut sight).await;
            let says = match outcome {
                Ok(Stood::Elected(leader)) => return Leader::begin(self, *leader),
                Ok(Stood::StandsBy(holder)) => {
                    stands_by();
                    format!("standing by: {holder} holds the Lease {}", self.lease)
                }
                Err(CallError::Conflict | CallError::Gone) => String::new(),
                Err(CallError::Failed(why)) => {
                    format!("the Lease {} cannot be had, trying again: {why}", self.lease)
                }
            };
            if !says.is_empty() && says != said {
                tracing::info!("{says}");
                said = says;
            }
            tokio::time::sleep(self.timing.retry).await;
        }
    }

    async fn stand(&self, sight: &mut Sight) -> Result<Stood, CallError> {
        let found = self.read().await?;
        let spec = found.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let now = Instant::now();
        let last = match sight.look(spec.as_ref(), &self.replica, self.timing.duration, now) {
            Standing::Held { by } => return Ok(Stood::StandsBy(by)),
            Standing::Free { term } => term,
        };
        let spec = taken(&self.replica, last.saturating_add(1), self.timing.duration);
        let sent = Instant::now();
        let lease = match found {
            Some(lease) => self.replace(&lease, spec).await?,
            None => self.create(spec).await?,
        };
        Ok(Stood::Elected(Box::new(Held { lease, sent })))
    }

    pub(super) async fn read(&self) -> Result<Option<Lease>, CallError> {
        self.call(self.leases.get_opt(&self.lease)).await
    }

    /// Writes the Lease of a resourceVersion, and no other.
    pub(super) async fn replace(&self, old: &Lease, spec: LeaseSpec) -> Result<Lease, CallError> {
        let lease = Lease { spec: Some(spec), ..old.clone() };
        self.call(self.leases.replace(&self.lease, &params(), &lease)).await
    }

    pub(super) async fn create(&self, spec: LeaseSpec) -> Result<Lease, CallError> {
        let metadata = ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec) };
        self.call(self.leases.create(&params(), &lease)).await
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(self.timing.call, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => Err(match status.code {
                // Of a creation as well: there is one already.
                409 => CallError::Conflict,
                404 => CallError::Gone,
                403 => CallError::Failed(
                    "the API server forbids it; compare the operator's rights with docs/operations.md"
                        .to_owned(),
                ),
                code => CallError::Failed(format!("the API server answers {code}")),
            }),
            Ok(Err(_)) => Err(CallError::Failed("the API server cannot be reached".to_owned())),
            Err(_) => Err(CallError::Failed("the API server did not answer in time".to_owned())),
        }
    }

    /// Until when a Lease written by a call that was sent at this time is held.
    pub(super) fn until(&self, sent: Instant) -> Instant {
        sent + self.timing.duration
    }

    pub(super) fn term_of(lease: &Lease) -> u32 {
        lease.spec.as_ref().map_or(0, lease::term)
    }
}

/// What came of a look at the Lease.
enum Stood {
    /// It is the candidate's.
    Elected(Box<Held>),
    /// It is another one's.
    StandsBy(String),
}

/// A Lease, with when the call was sent that wrote it.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) sent: Instant,
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
