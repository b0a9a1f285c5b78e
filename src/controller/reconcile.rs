//! The path of a request, top to bottom: resolve and decide, fetch, render, write, record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::examine::{Examined, Knowledge};
use super::outcome::{Delivered, Ended, Stop, basis, behind, is_basis_of, rendering};
use super::queue::{Next as Then, ParkKey, Worker};
use super::record::Memory;
use crate::api::{CredentialRequestSpec, CredentialRequestStatus, Reason};
use crate::audit::{AuditSink, Entry};
use crate::fetch::{Values, fetch};
use crate::index::{ObjectKey, RequestEntry};
use crate::kube_io::KubeIo;
use crate::policy::{Grant, Refusal, RequestFacts, Standing, Unconfirmed, Verdict};
use crate::render::render;
use crate::secret::{
    MasterKeys, Receipt, SecretChange, SecretState, SecretWriter, Signer, WriteError, state_of,
};
use crate::status::{EventSink, Next, Problem, Severity, StatusWriter};
use crate::telemetry::Metrics;
use crate::vaults::Server;

/// Everything that a reconcile needs.
pub(super) struct Reconciler {
    pub(super) knowledge: Knowledge,
    pub(super) keys: MasterKeys,
    pub(super) io: KubeIo,
    pub(super) secrets: SecretWriter,
    pub(super) statuses: StatusWriter,
    pub(super) audit: AuditSink,
    pub(super) events: EventSink,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
}

/// One request, as it was when its reconcile began.
pub(super) struct Subject<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) entry: Arc<RequestEntry>,
    pub(super) spec: CredentialRequestSpec,
    pub(super) status: Option<CredentialRequestStatus>,
    pub(super) signer: Signer,
    pub(super) receipt: Option<Receipt>,
    pub(super) state: SecretState,
    pub(super) rendering: Vec<u8>,
}

impl Reconciler {
    /// Reconciles one request. Returns when to look at it again.
    pub(super) async fn reconcile(&self, key: &ObjectKey, worker: &Worker<ObjectKey>) -> Then {
        let started = Instant::now();
        let Some(entry) = self.knowledge.index.request(key).filter(|e| !e.is_deleting) else {
            self.forget(key);
            return Then::Forget;
        };
        // Before anything is read: an instance of another class may be of another version.
        if self.knowledge.is_elsewhere(&entry.server) {
            return Then::Done;
        }
        let subject = match self.subject(key, entry.clone()) {
            Ok(subject) => subject,
            Err(problem) => {
                let report = self.report(&entry, None, false, Next::Failed(problem), None);
                return self.record(key, &entry, report, None, Then::Done).await;
            }
        };
        if subject.spec.is_suspended() {
            let report = self.report(&entry, None, false, Next::Suspended, None);
            return self.record(key, &entry, report, None, Then::Done).await;
        }
        let (decision, outcome) = match self.knowledge.examine(key, &entry, &subject.spec) {
            Examined::Elsewhere => return Then::Done,
            Examined::Wait => return Then::Done,
            Examined::Undecided(problem) => {
                let problem = self.aged(&subject, problem);
                let then = self.retry_of(&problem);
                (None, Ended::failed(problem, then))
            }
            Examined::Decided(Verdict::Refused(refusal), _) => {
                let outcome = self.refuse(&subject, &refusal).await;
                (Some(refusal.decision), outcome)
            }
            Examined::Decided(Verdict::Granted(grant), server) => {
                let decision = grant.decision().clone();
                match self.deliver(&subject, *grant, &server, worker).await {
                    Some(outcome) => {
                        self.notify_alert(&subject, &decision);
                        (Some(decision), outcome)
                    }
                    None => return Then::Park(ParkKey::new(server.name())),
                }
            }
        };
        self.notify(&subject, &outcome);
        let has_secret = match &outcome.next {
            Next::Failed(Problem { severity: Severity::Tolerable { .. }, .. }) => {
                self.has_good_secret(&subject).await
            }
            Next::Failed(_) | Next::TakenBack(_) | Next::Synced(_) | Next::Suspended => false,
        };
        let report = self.report(&entry, decision, has_secret, outcome.next, outcome.record);
        let then = self.record(key, &entry, report, outcome.created, outcome.then).await;
        self.metrics.reconcile_took(started.elapsed());
        then
    }

    fn subject<'a>(
        &self,
        key: &'a ObjectKey,
        entry: Arc<RequestEntry>,
    ) -> Result<Subject<'a>, Problem> {
        let spec = entry.spec().map_err(|place| {
            Problem::stalled(
                Reason::InvalidSpec,
                format!("this version of Portcullis cannot read spec, {place}; upgrade Portcullis or mend the request"),
            )
        })?;
        let status = entry.status();
        let signer = self.keys.signer(&key.namespace, &key.name);
        let receipt = status
            .as_ref()
            .and_then(|s| s.sync.as_ref())
            .and_then(|sync| signer.read_receipt(&entry.uid, &sync.receipt));
        let state = self.state(key, &entry, &signer, receipt.as_ref());
        Ok(Subject {
            key,
            rendering: rendering(&entry.uid, &spec),
            entry,
            spec,
            status,
            signer,
            receipt,
            state,
        })
    }

    pub(super) fn state(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        signer: &Signer,
        receipt: Option<&Receipt>,
    ) -> SecretState {
        let secret =
            ObjectKey { namespace: key.namespace.clone(), name: entry.secret_name.clone() };
        let known = self.knowledge.index.secret(&secret);
        state_of(known.as_deref(), &secret, &key.name, signer, receipt)
    }

    /// Whether the request has a Secret to go on with while 1Password cannot be asked: ours, made for this
    /// spec, and holding what we wrote.
    async fn has_good_secret(&self, subject: &Subject<'_>) -> bool {
        let Some(receipt) =
            subject.receipt.as_ref().filter(|r| is_basis_of(&r.basis, &subject.rendering))
        else {
            return false;
        };
        match self.state(subject.key, &subject.entry, &subject.signer, Some(receipt)) {
            SecretState::Intact => true,
            SecretState::Touched => {
                let secret = ObjectKey::new(&subject.key.namespace, &subject.entry.secret_name);
                self.secrets.holds(&secret, &subject.signer, receipt).await
            }
            SecretState::Absent | SecretState::Unproven | SecretState::Foreign => false,
        }
    }

    /// A denial keeps the Secret, but for one that was created a moment ago under a grant that had been
    /// withdrawn already.
    async fn refuse(&self, subject: &Subject<'_>, refusal: &Refusal) -> Ended {
        let request = RequestFacts::new(
            &subject.key.namespace,
            &subject.key.name,
            &subject.entry.uid,
            subject.entry.generation,
            &subject.spec,
        );
        let problem = Problem::refused(&refusal.decision);
        let record = match self.audit_decision(
            subject,
            &Entry::decision(&request, refusal.facts.as_deref(), &refusal.decision),
            &refusal.decision.digest,
        ) {
            Ok(record) => record,
            Err(problem) => return Ended::failed(problem, Then::Retry),
        };
        if record.is_some() {
            self.metrics.decided(refusal.decision.outcome, refusal.decision.reason);
        }
        // A policy that cannot be evaluated takes nothing back: it does not say that the grant was wrong.
        let is_denial = !matches!(problem.reason, Reason::PolicyInvalid | Reason::PolicyUnreadable);
        let created = self.with_memory(subject.key, |m| m.created.take());
        let window = self.knowledge.settings.undo_window;
        let mut next = Next::Failed(problem.clone());
        let mut then = Then::Done;
        if let Some((written, at)) = created.filter(|(_, at)| is_denial && at.elapsed() < window) {
            let (facts, decision) = (refusal.facts.as_deref(), &refusal.decision);
            if self.take_back(subject.key, &written, &request, facts, decision).await {
                next = Next::TakenBack(problem);
            } else {
                self.with_memory(subject.key, |m| m.created = Some((written, at)));
                then = Then::Retry;
            }
        }
        Ended { next, record, change: SecretChange::None, created: None, then }
    }

    /// From a grant to a Secret. `None` when the server has no place free.
    async fn deliver(
        &self,
        subject: &Subject<'_>,
        grant: Grant,
        server: &Arc<Server>,
        worker: &Worker<ObjectKey>,
    ) -> Option<Ended> {
        let trouble = self.knowledge.trouble(&server.view(), grant.facts());
        let is_current = self.is_current(subject, &grant);
        // Nothing is read for a Secret that will not be written.
        let is_foreign = subject.state == SecretState::Foreign;
        let fetches = trouble.is_none() && !is_current && !is_foreign;
        let _place = if fetches { Some(server.try_permit()?) } else { None };
        // After the place, so that the worker is taken back before it is free for another.
        let _lent = fetches.then(|| {
            let calls = u32::try_from(grant.items().count()).unwrap_or(u32::MAX);
            worker.charge(calls.saturating_add(1));
            worker.lend()
        });
        let record = match self.audit_grant(subject, &grant) {
            Ok(record) => record,
            Err(problem) => return Some(Ended::failed(problem, Then::Retry)),
        };
        let ended = match trouble {
            Some(trouble) => self.troubled(subject, &trouble),
            None if is_current => return Some(self.confirmed(subject, record)),
            None if is_foreign => {
                let secret = ObjectKey::new(&subject.key.namespace, &subject.entry.secret_name);
                let error = WriteError::NotOwned(secret);
                let problem = Problem::stalled(error.reason(), error.to_string());
                Ended::failed(problem, Then::Retry)
            }
            None => match self.fetch_and_write(subject, &grant, server).await {
                Ok(delivered) => return Some(self.written(subject, grant, delivered, record)),
                Err(Stop { problem, then }) => Ended::failed(problem, then),
            },
        };
        Some(Ended { record, ..ended })
    }

    async fn fetch_and_write(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
        server: &Arc<Server>,
    ) -> Result<Delivered, Stop> {
        let values = fetch(server.client(), server.name(), grant, &self.metrics)
            .await
            .map_err(|error| self.unfetched(subject, &error, server, grant))?;
        self.check_replica(subject, &values)?;
        self.with_memory(subject.key, |m| m.refused = None);
        let rendered = render(&values).map_err(|error| {
            Stop::new(Problem::stalled(error.reason(), error.to_string()), Then::Done)
        })?;
        drop(values);
        let written = self
            .secrets
            .write(
                &rendered,
                &subject.signer,
                subject.receipt.as_ref(),
                &basis(&subject.rendering, &rendered.item_versions()),
                || {
                    let standing = self.confirm(subject.key, grant)?;
                    let intent = Entry::intent(grant.facts(), grant.decision());
                    self.audit.record(&intent).map_err(|_| Unconfirmed::Unrecorded)?;
                    Ok(standing)
                },
            )
            .await
            .map_err(|error| {
                let reason = error.reason();
                let (problem, then) = match reason {
                    Reason::SecretNotOwned => {
                        (Problem::stalled(reason, error.to_string()), Then::Retry)
                    }
                    _ if matches!(error, WriteError::Immutable(_)) => {
                        (Problem::stalled(reason, error.to_string()), Then::Retry)
                    }
                    _ if matches!(error, WriteError::Unknown(_)) => {
                        (Problem::tolerable(reason, error.to_string(), super::now()), Then::Retry)
                    }
                    _ => (Problem::heals(reason, error.to_string()), Then::Retry),
                };
                Stop::new(problem, then)
            })?;
        let record = self.audit_write(subject.key, grant, &written);
        // What was withdrawn while the write was on its way is found here, or a little later by `refuse`.
        let withdrawn = self.confirm(subject.key, grant).err() == Some(Unconfirmed::Withdrawn);
        if written.change == SecretChange::Created && withdrawn {
            let facts = grant.facts();
            self.take_back(subject.key, &written, &facts.request, Some(facts), grant.decision())
                .await;
            let message = "the decision changed while the Secret was written; it was deleted again";
            return Err(Stop::new(Problem::heals(Reason::GrantWithdrawn, message), Then::Retry));
        }
        Ok(Delivered {
            items: rendered.items().to_vec(),
            keys: rendered.data().keys().cloned().collect(),
            source: rendered.source(),
            written,
            record,
        })
    }

    /// Refuses values that are older than what is known, unless that lasts: a server may have been set back.
    fn check_replica(&self, subject: &Subject<'_>, values: &Values<'_>) -> Result<(), Stop> {
        let sync = subject.status.as_ref().and_then(|s| s.sync.as_ref());
        let synced = sync.map(|s| s.items.as_slice()).unwrap_or_default();
        let Some(item) = behind(values, synced) else { return Ok(()) };
        let reason = Reason::InvalidResponse;
        let since = self.with_memory(subject.key, |m| match m.refused {
            Some((known, since)) if known == reason => since,
            _ => {
                m.refused = Some((reason, SystemTime::now()));
                SystemTime::now()
            }
        });
        if since.elapsed().unwrap_or_default() >= self.knowledge.settings.refusal_confirm {
            return Ok(());
        }
        let message =
            format!("Connect delivered item {item} in an older version than before; asking again");
        Err(Stop::new(Problem::tolerable(reason, message, super::now()), Then::Retry))
    }

    /// Decides again on all that has been observed by now.
    fn confirm<'g>(&self, key: &ObjectKey, grant: &'g Grant) -> Result<Standing<'g>, Unconfirmed> {
        let entry = self
            .knowledge
            .index
            .request(key)
            .filter(|e| !e.is_deleting)
            .ok_or(Unconfirmed::Withdrawn)?;
        let spec = entry.spec().map_err(|_| Unconfirmed::Withdrawn)?;
        if spec.is_suspended() || entry.generation != grant.facts().request.generation {
            return Err(Unconfirmed::Withdrawn);
        }
        match self.knowledge.examine(key, &entry, &spec) {
            Examined::Decided(verdict, _) => grant.confirm(&verdict),
            Examined::Elsewhere => Err(Unconfirmed::Withdrawn),
            Examined::Wait | Examined::Undecided(_) => Err(Unconfirmed::Unknown),
        }
    }
}
