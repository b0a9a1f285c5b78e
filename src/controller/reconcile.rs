//! The path of a request, top to bottom: resolve and decide, fetch, render, write, record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::examine::{Examined, Knowledge};
use super::queue::{Next as Then, ParkKey};
use crate::api::{CredentialRequestSpec, CredentialRequestStatus, Reason, SyncStatus};
use crate::audit::{AuditSink, Entry, SecretLine};
use crate::connect::{Class, ConnectError};
use crate::fetch::{Values, fetch};
use crate::index::{ObjectKey, RequestEntry};
use crate::kube_io::{ApiError, KubeIo};
use crate::policy::{Grant, Refusal, RequestFacts, Verdict, Withdrawn};
use crate::render::{item_versions, render};
use crate::secret::{
    MasterKeys, Receipt, SecretChange, SecretState, SecretWriter, Signer, Written, state_of,
};
use crate::status::{EventSink, Next, Note, Problem, Report, Severity, StatusWriter};
use crate::telemetry::Metrics;
use crate::vaults::{Server, Trouble};

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

/// What is remembered of a request between reconciles; all of it may be lost.
#[derive(Default)]
pub(super) struct Memory {
    /// Since when Connect refuses an item of the request.
    refused: Option<(Reason, SystemTime)>,
    /// Its Secret was created just now, under this digest.
    created: Option<(Written, Instant)>,
}

/// One request, as it was when its reconcile began.
struct Subject<'a> {
    key: &'a ObjectKey,
    entry: Arc<RequestEntry>,
    spec: CredentialRequestSpec,
    status: Option<CredentialRequestStatus>,
    signer: Signer,
    receipt: Option<Receipt>,
    state: SecretState,
    rendering: Vec<u8>,
}

/// How a reconcile went on from the decision.
struct Outcome {
    next: Next,
    record: Option<String>,
    change: SecretChange,
    created: Option<(Grant, Written)>,
    then: Then,
}

impl Outcome {
    fn failed(problem: Problem, then: Then) -> Self {
        Self {
            next: Next::Failed(problem),
            record: None,
            change: SecretChange::None,
            created: None,
            then,
        }
    }
}

impl Reconciler {
    /// Reconciles one request. Returns when to look at it again.
    pub(super) async fn reconcile(&self, key: &ObjectKey) -> Then {
        let started = Instant::now();
        let Some(entry) = self.knowledge.index.request(key).filter(|e| !e.is_deleting) else {
            self.forget(key);
            return Then::Forget;
        };
        let subject = match self.subject(key, entry.clone()) {
            Ok(subject) => subject,
            Err(problem) => {
                let report = self.report(&entry, None, false, Next::Failed(problem), None);
                return self.record(key, &entry, report, None, Then::Done).await;
            }
        };
        if subject.spec.is_suspended() {
            let report = self.report(&entry, None, subject.state.is_ours(), Next::Suspended, None);
            return self.record(key, &entry, report, None, Then::Done).await;
        }
        let (decision, outcome) = match self.knowledge.examine(key, &entry, &subject.spec) {
            Examined::Elsewhere => return Then::Done,
            Examined::Wait => return Then::Done,
            Examined::Undecided(problem) => {
                let then = self.retry_of(&problem);
                (None, Outcome::failed(problem, then))
            }
            Examined::Decided(Verdict::Refused(refusal), _) => {
                let outcome = self.refuse(&subject, &refusal).await;
                (Some(refusal.decision), outcome)
            }
            Examined::Decided(Verdict::Granted(grant), server) => {
                let decision = grant.decision().clone();
                match self.deliver(&subject, grant, &server).await {
                    Some(outcome) => (Some(decision), outcome),
                    None => return Then::Park(ParkKey::new(server.name())),
                }
            }
        };
        self.notify(&subject, &outcome);
        let reason = reason_of(&outcome.next);
        let has_secret = self
            .state(key, &entry, &subject.signer, subject.receipt.as_ref())
            .is_ours();
        let report = self.report(&entry, decision, has_secret, outcome.next, outcome.record);
        let then = self
            .record(key, &entry, report, outcome.created, outcome.then)
            .await;
        self.metrics.reconciled(reason, started.elapsed());
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
            rendering: rendering(&spec),
            entry,
            spec,
            status,
            signer,
            receipt,
            state,
        })
    }

    fn state(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        signer: &Signer,
        receipt: Option<&Receipt>,
    ) -> SecretState {
        let secret = ObjectKey {
            namespace: key.namespace.clone(),
            name: entry.secret_name.clone(),
        };
        let known = self.knowledge.index.secret(&secret);
        state_of(known.as_deref(), &secret, &key.name, signer, receipt)
    }

    /// A denial keeps the Secret, but for one that was created a moment ago under a grant that had been
    /// withdrawn already.
    async fn refuse(&self, subject: &Subject<'_>, refusal: &Refusal) -> Outcome {
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
            &Entry::decision(&request, None, &refusal.decision),
            &refusal.decision.digest,
        ) {
            Ok(record) => record,
            Err(problem) => return Outcome::failed(problem, Then::Retry),
        };
        if record.is_some() {
            self.metrics
                .decided(refusal.decision.outcome, refusal.decision.reason);
        }
        let created = self.with_memory(subject.key, |m| m.created.take());
        if let Some((written, at)) = created
            && at.elapsed() < self.knowledge.settings.undo_window
        {
            self.undo(subject.key, &subject.entry.secret_name, &written)
                .await;
        }
        Outcome {
            record,
            ..Outcome::failed(problem, Then::Done)
        }
    }

    /// From a grant to a Secret. `None` when the server has no place free.
    async fn deliver(
        &self,
        subject: &Subject<'_>,
        grant: Grant,
        server: &Arc<Server>,
    ) -> Option<Outcome> {
        let trouble = self.knowledge.trouble(&server.view(), grant.facts());
        if self.is_current(subject, &grant) {
            let record = self.audit_grant(subject, &grant);
            return Some(match (record, trouble) {
                (Err(problem), _) => Outcome::failed(problem, Then::Retry),
                (Ok(record), Some(trouble)) => Outcome {
                    record,
                    ..self.troubled(&trouble)
                },
                (Ok(record), None) => self.confirmed(subject, record),
            });
        }
        if let Some(trouble) = trouble {
            return Some(match self.audit_grant(subject, &grant) {
                Ok(record) => Outcome {
                    record,
                    ..self.troubled(&trouble)
                },
                Err(problem) => Outcome::failed(problem, Then::Retry),
            });
        }
        let _place = server.try_permit()?;
        let record = match self.audit_grant(subject, &grant) {
            Ok(record) => record,
            Err(problem) => return Some(Outcome::failed(problem, Then::Retry)),
        };
        Some(match self.fetch_and_write(subject, &grant, server).await {
            Ok(written) => self.written(subject, grant, written, record),
            Err(Stop { problem, then }) => Outcome {
                record,
                ..Outcome::failed(problem, then)
            },
        })
    }

    async fn fetch_and_write(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
        server: &Arc<Server>,
    ) -> Result<Delivered, Stop> {
        let values = fetch(server.client(), server.name(), grant, &self.metrics)
            .await
            .map_err(|error| self.unfetched(subject.key, &error, server, grant))?;
        self.with_memory(subject.key, |m| m.refused = None);
        if let Some(item) = behind(&values) {
            let message =
                format!("a Connect server that is behind the others delivered item {item}");
            let problem = Problem::tolerable(Reason::ConnectUnavailable, message, super::now());
            return Err(Stop::new(problem, Then::Retry));
        }
        let rendered = render(&values).map_err(|error| {
            Stop::new(
                Problem::stalled(error.reason(), error.to_string()),
                Then::Done,
            )
        })?;
        drop(values);
        let written = self
            .secrets
            .write(
                &rendered,
                &subject.signer,
                subject.receipt.as_ref(),
                &basis(&subject.rendering, &rendered.item_versions()),
                || self.confirm(subject.key, grant),
            )
            .await
            .map_err(|error| {
                let reason = error.reason();
                let (problem, then) = match reason {
                    Reason::SecretNotOwned => {
                        (Problem::stalled(reason, error.to_string()), Then::Retry)
                    }
                    _ => (Problem::heals(reason, error.to_string()), Then::Retry),
                };
                Stop::new(problem, then)
            })?;
        // What was withdrawn while the write was on its way is found here, or a little later by `refuse`.
        if written.change == SecretChange::Created && self.confirm(subject.key, grant).is_err() {
            self.undo(subject.key, &subject.entry.secret_name, &written)
                .await;
            let message = "the decision changed while the Secret was written; it was deleted again";
            return Err(Stop::new(
                Problem::heals(Reason::GrantWithdrawn, message),
                Then::Retry,
            ));
        }
        Ok(Delivered {
            items: rendered.items().to_vec(),
            keys: rendered.data().keys().cloned().collect(),
            source: rendered.source(),
            written,
        })
    }

    /// Decides again on all that has been observed by now.
    fn confirm<'g>(
        &self,
        key: &ObjectKey,
        grant: &'g Grant,
    ) -> Result<crate::policy::Standing<'g>, Withdrawn> {
        let entry = self
            .knowledge
            .index
            .request(key)
            .filter(|e| !e.is_deleting)
            .ok_or(Withdrawn)?;
        let spec = entry.spec().map_err(|_| Withdrawn)?;
        if spec.is_suspended() {
            return Err(Withdrawn);
        }
        match self.knowledge.examine(key, &entry, &spec) {
            Examined::Decided(verdict, _) => grant.confirm(&verdict),
            Examined::Elsewhere | Examined::Wait | Examined::Undecided(_) => Err(Withdrawn),
        }
    }

    /// Whether the Secret holds what was granted, as far as the receipt and the lists of the vaults tell.
    fn is_current(&self, subject: &Subject<'_>, grant: &Grant) -> bool {
        let references = grant.facts().references.iter();
        let listed =
            item_versions(references.map(|r| (&*r.item.vault_id, &*r.item.item_id, r.version)));
        let receipt = subject.receipt.as_ref();
        subject.state == SecretState::Intact
            && receipt.is_some_and(|r| r.basis == basis(&subject.rendering, &listed))
    }

    fn confirmed(&self, subject: &Subject<'_>, record: Option<String>) -> Outcome {
        let sync = subject.status.as_ref().and_then(|s| s.sync.clone());
        let next = match sync {
            Some(sync) => Next::Synced(SyncStatus {
                stale_since: None,
                ..sync
            }),
            None => Next::Failed(Problem::heals(
                Reason::InternalError,
                "the status lost what it said of the Secret",
            )),
        };
        Outcome {
            next,
            record,
            change: SecretChange::None,
            created: None,
            then: Then::Done,
        }
    }

    fn written(
        &self,
        subject: &Subject<'_>,
        grant: Grant,
        delivered: Delivered,
        record: Option<String>,
    ) -> Outcome {
        let Delivered {
            items,
            keys,
            source,
            written,
        } = delivered;
        let previous = subject.status.as_ref().and_then(|s| s.sync.as_ref());
        let same_content = matches!(written.change, SecretChange::None | SecretChange::Retagged)
            || subject
                .receipt
                .as_ref()
                .is_some_and(|r| r.content_tag == written.receipt.content_tag);
        let (content_revision, last_change_time) = match previous {
            Some(previous) if same_content => {
                (previous.content_revision, previous.last_change_time.clone())
            }
            Some(previous) => (previous.content_revision + 1, super::now()),
            None => (1, super::now()),
        };
        let line = SecretLine {
            name: &subject.entry.secret_name,
            uid: &written.receipt.secret_uid,
            change: written.change.as_str(),
            source: source.as_str(),
        };
        let record = if written.change == SecretChange::None {
            record
        } else {
            self.metrics.secret_changed(written.change.as_str());
            match self
                .audit
                .record(&Entry::write(grant.facts(), grant.decision(), line))
            {
                Ok(id) => Some(id),
                Err(error) => {
                    tracing::error!(request = %subject.key, %error, "a change of a Secret was not recorded");
                    record
                }
            }
        };
        let sync = SyncStatus {
            secret_name: subject.entry.secret_name.to_string(),
            source,
            item_count: i32::try_from(items.len()).unwrap_or(i32::MAX),
            items: items.into_iter().take(64).collect(),
            keys,
            content_revision,
            last_change_time,
            stale_since: None,
            receipt: subject.signer.receipt(&subject.entry.uid, &written.receipt),
        };
        let change = written.change;
        let created = (change == SecretChange::Created).then_some((grant, written));
        Outcome {
            next: Next::Synced(sync),
            record,
            change,
            created,
            then: Then::Done,
        }
    }

    /// A failed fetch: refusals are believed only when they last, and a moved item is looked up again.
    fn unfetched(
        &self,
        key: &ObjectKey,
        error: &ConnectError,
        server: &Server,
        grant: &Grant,
    ) -> Stop {
        let class = error.class();
        if class == Class::Moved || error.reason() == Reason::ItemNotFound {
            for item in grant.facts().items() {
                let _ = server.look_again(&item.vault_id);
            }
        }
        let since = match class {
            Class::Refused => self.with_memory(key, |m| match m.refused {
                Some((reason, since)) if reason == error.reason() => since,
                _ => {
                    m.refused = Some((error.reason(), SystemTime::now()));
                    SystemTime::now()
                }
            }),
            Class::Unavailable | Class::Invalid | Class::Moved => SystemTime::now(),
        };
        let trouble = Trouble {
            error: error.clone(),
            since,
        };
        Stop::new(self.knowledge.problem_of(&trouble), Then::Retry)
    }

    fn troubled(&self, trouble: &Trouble) -> Outcome {
        let problem = self.knowledge.problem_of(trouble);
        let then = self.retry_of(&problem);
        Outcome::failed(problem, then)
    }

    /// A tolerable problem turns into another one with time; all others are told of by what mends them.
    fn retry_of(&self, problem: &Problem) -> Then {
        match (&problem.severity, problem.reason) {
            (Severity::Tolerable { .. }, Reason::ConnectUnavailable) => {
                Then::At(self.until_stale(problem))
            }
            (Severity::Tolerable { .. }, _) => Then::Retry,
            (Severity::Heals | Severity::Stalled, _) => Then::Done,
        }
    }

    fn until_stale(&self, problem: &Problem) -> Duration {
        let limit = self.knowledge.settings.max_staleness;
        let Severity::Tolerable { since } = &problem.severity else {
            return limit;
        };
        let since = SystemTime::from(since.0);
        limit.saturating_sub(since.elapsed().unwrap_or_default()) + Duration::from_secs(1)
    }

    fn audit_grant(&self, subject: &Subject<'_>, grant: &Grant) -> Result<Option<String>, Problem> {
        let (facts, decision) = (grant.facts(), grant.decision());
        let entry = Entry::decision(&facts.request, Some(facts), decision);
        let record = self.audit_decision(subject, &entry, &decision.digest)?;
        if record.is_some() {
            self.metrics.decided(decision.outcome, decision.reason);
        }
        Ok(record)
    }

    /// Records a decision that differs from the one in the status.
    fn audit_decision(
        &self,
        subject: &Subject<'_>,
        entry: &Entry<'_>,
        digest: &str,
    ) -> Result<Option<String>, Problem> {
        let known = subject.status.as_ref().and_then(|s| s.decision.as_ref());
        if known.is_some_and(|d| d.digest == digest) {
            return Ok(None);
        }
        match self.audit.record(entry) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(Problem::heals(Reason::AuditFailed, error.to_string())),
        }
    }

    fn report(
        &self,
        entry: &RequestEntry,
        decision: Option<crate::policy::Decision>,
        has_secret: bool,
        next: Next,
        record: Option<String>,
    ) -> Report {
        Report {
            generation: entry.generation,
            now: super::now(),
            decision,
            has_secret,
            next,
            record: record.unwrap_or_default(),
        }
    }

    /// Writes the status. Where the request changed under way, a Secret that was created for it goes again.
    async fn record(
        &self,
        key: &ObjectKey,
        entry: &Arc<RequestEntry>,
        report: Report,
        created: Option<(Grant, Written)>,
        then: Then,
    ) -> Then {
        let mut entry = entry.clone();
        for _ in 0..4 {
            match self.statuses.write(key, &entry, &report).await {
                Ok(()) => {
                    let created = created.map(|(_, written)| (written, Instant::now()));
                    self.with_memory(key, |m| m.created = created.or(m.created.take()));
                    return then;
                }
                Err(ApiError::Conflict | ApiError::NotFound) => {}
                Err(error) => {
                    tracing::warn!(request = %key, %error, "the status was not written");
                    return Then::Retry;
                }
            }
            // Something else about the request changed: its labels, or what was decided on.
            let fresh = match self.io.request(key).await {
                Ok(fresh) => fresh,
                Err(error) => {
                    tracing::warn!(request = %key, %error, "the request could not be read again");
                    return Then::Retry;
                }
            };
            if let Some(view) = &fresh {
                self.knowledge.index.observe_request(key, view);
            }
            let known = self
                .knowledge
                .index
                .request(key)
                .filter(|_| fresh.is_some());
            match known {
                Some(next)
                    if next.uid == entry.uid
                        && next.generation == entry.generation
                        && !next.is_deleting =>
                {
                    entry = next;
                }
                _ => {
                    if let Some((grant, written)) = &created {
                        self.undo(key, grant.secret().name, written).await;
                    }
                    return if fresh.is_some() {
                        Then::At(Duration::ZERO)
                    } else {
                        Then::Forget
                    };
                }
            }
        }
        Then::Retry
    }

    async fn undo(&self, key: &ObjectKey, secret: &str, written: &Written) {
        let secret = ObjectKey::new(&key.namespace, secret);
        match self.secrets.undo(&secret, written).await {
            Ok(()) => {
                tracing::info!(request = %key, "a Secret written under a withdrawn grant was deleted again")
            }
            Err(ApiError::Conflict | ApiError::NotFound) => {}
            Err(error) => {
                tracing::error!(request = %key, %error, "a Secret written under a withdrawn grant stays")
            }
        }
    }

    /// Sends an Event for what is new: another reason of `Ready`, or a change of the Secret.
    fn notify(&self, subject: &Subject<'_>, outcome: &Outcome) {
        let ready = subject
            .status
            .as_ref()
            .and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
        let reason = reason_of(&outcome.next);
        let is_new = ready.is_none_or(|c| c.reason != reason.as_str());
        let action = match outcome.change {
            SecretChange::Created => "SecretCreated",
            SecretChange::Updated => "SecretUpdated",
            SecretChange::Repaired => "SecretRepaired",
            SecretChange::Retagged => "SecretRetagged",
            SecretChange::None if is_new => "Reconcile",
            SecretChange::None => return,
        };
        let secret = &subject.entry.secret_name;
        let (message, is_warning) = match &outcome.next {
            Next::Failed(problem) => (problem.message.clone(), true),
            Next::Synced(_) => match outcome.change {
                SecretChange::None => {
                    (format!("Secret {secret} holds what 1Password holds"), false)
                }
                change => (format!("Secret {secret} was {}", change.as_str()), false),
            },
            Next::Suspended => return,
        };
        self.events.send(Note {
            key: subject.key.clone(),
            uid: subject.entry.uid.to_string(),
            reason,
            action,
            message,
            is_warning,
        });
    }

    fn with_memory<T>(&self, key: &ObjectKey, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let value = change(memory.entry(key.clone()).or_default());
        if memory
            .get(key)
            .is_some_and(|m| m.refused.is_none() && m.created.is_none())
        {
            memory.remove(key);
        }
        value
    }

    /// Drops memories whose time is over.
    pub(super) fn prune(&self) {
        let window = self.knowledge.settings.undo_window;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|_, m| {
            m.created = m.created.take().filter(|(_, at)| at.elapsed() < window);
            m.created.is_some() || m.refused.is_some()
        });
    }

    fn forget(&self, key: &ObjectKey) {
        self.memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// A delivery that went through.
struct Delivered {
    items: Vec<crate::api::SyncedItem>,
    keys: Vec<String>,
    source: crate::api::Source,
    written: Written,
}

/// A delivery that did not.
struct Stop {
    problem: Problem,
    then: Then,
}

impl Stop {
    fn new(problem: Problem, then: Then) -> Self {
        Self { problem, then }
    }
}

/// The title of an item that is older than the list said, if there is one.
fn behind<'v>(values: &'v Values<'_>) -> Option<&'v str> {
    let references = values.grant().facts().references.iter();
    references
        .filter(|r| {
            values
                .item(&r.item)
                .is_some_and(|item| item.version < r.version)
        })
        .map(|r| &*r.item.title)
        .next()
}

fn reason_of(next: &Next) -> Reason {
    match next {
        Next::Synced(_) => Reason::Synced,
        Next::Failed(problem) => problem.reason,
        Next::Suspended => Reason::Suspended,
    }
}

/// A digest of the part of the spec that decides what the Secret is.
fn rendering(spec: &CredentialRequestSpec) -> Vec<u8> {
    serde_json::to_vec(&(&spec.server_ref, &spec.data, &spec.target)).unwrap_or_default()
}

/// A digest of all that decides what the Secret holds. As long as it is the same the Secret need not be
/// rendered again, whatever policy says meanwhile.
fn basis(rendering: &[u8], item_versions: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((rendering.len() as u64).to_be_bytes());
    hash.update(rendering);
    hash.update(item_versions);
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
