//! What a reconcile leaves behind: audit lines, the one status write, Events, and what is remembered.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kube::runtime::events::EventType;

use super::outcome::Ended;
use super::queue::Next as Then;
use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{Outcome, Reason, Source};
use crate::audit::{Entry, SecretLine};
use crate::index::{ObjectKey, RequestEntry};
use crate::kube_io::ApiError;
use crate::policy::{Decision, Facts, Grant, ItemIdentity, RequestFacts};
use crate::secret::{SecretChange, Written};
use crate::status::{Next, Note, Problem, Report};
use crate::vaults::Trouble;

/// What is remembered of a request between reconciles; all of it may be lost.
#[derive(Default)]
pub(super) struct Memory {
    /// The item of the request that Connect refuses.
    pub(super) refused: Option<(ItemIdentity, Trouble)>,
    /// Since when Connect delivers an item in an older version than before.
    pub(super) lagging: Option<SystemTime>,
    /// Its Secret was created just now, under this digest.
    pub(super) created: Option<(Written, Instant)>,
}

impl Reconciler {
    pub(super) fn audit_grant(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
    ) -> Result<Option<String>, Problem> {
        let (facts, decision) = (grant.facts(), grant.decision());
        let entry = Entry::decision(&facts.request, Some(facts), decision);
        let record = self.audit_decision(subject, &entry, &decision.digest)?;
        if record.is_some() {
            self.metrics.decided(decision.outcome, decision.reason);
        }
        Ok(record)
    }

    /// Records a decision that differs from the one in the status.
    pub(super) fn audit_decision(
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

    pub(super) fn report(
        &self,
        entry: &RequestEntry,
        decision: Option<Decision>,
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
            record,
            refreshed: None,
        }
    }

    /// Writes the status. Where the request changed under way, a Secret that was created for it goes again.
    pub(super) async fn record(
        &self,
        key: &ObjectKey,
        entry: &Arc<RequestEntry>,
        report: Report,
        created: Option<(Arc<Grant>, Written)>,
        then: Then,
    ) -> Then {
        self.metrics.reconciled(reason_of(&report.next));
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
            let known = self.knowledge.index.request(key).filter(|_| fresh.is_some());
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
                        let facts = grant.facts();
                        self.take_back(key, written, &facts.request, Some(facts), grant.decision())
                            .await;
                    }
                    return if fresh.is_some() { Then::At(Duration::ZERO) } else { Then::Forget };
                }
            }
        }
        Then::Retry
    }

    /// Deletes a Secret that was created under a grant that had been withdrawn by then, and records it.
    /// Says whether it is settled: gone, or not the one that was written.
    pub(super) async fn take_back(
        &self,
        key: &ObjectKey,
        written: &Written,
        request: &RequestFacts,
        facts: Option<&Facts>,
        decision: &Decision,
    ) -> bool {
        let secret = ObjectKey::new(&key.namespace, &request.secret_name);
        match self.secrets.take_back(&secret, written).await {
            Ok(false) => true,
            Ok(true) => {
                self.audit_change(
                    key,
                    request,
                    facts,
                    decision,
                    &written.receipt.secret_uid,
                    ("taken back", written.source),
                );
                true
            }
            Err(error) => {
                tracing::error!(request = %key, %error, "a Secret written under a withdrawn grant stays for now");
                false
            }
        }
    }

    /// Records what a write changed.
    pub(super) fn audit_write(
        &self,
        key: &ObjectKey,
        grant: &Grant,
        written: &Written,
        source: Source,
    ) -> Option<String> {
        if written.change == SecretChange::None {
            return None;
        }
        let (facts, uid) = (grant.facts(), &written.receipt.secret_uid);
        self.audit_change(
            key,
            &facts.request,
            Some(facts),
            grant.decision(),
            uid,
            (written.change.as_str(), source),
        )
    }

    /// Records a change of the Secret, and counts it.
    fn audit_change(
        &self,
        key: &ObjectKey,
        request: &RequestFacts,
        facts: Option<&Facts>,
        decision: &Decision,
        uid: &str,
        (change, source): (&'static str, Source),
    ) -> Option<String> {
        self.metrics.secret_changed(change);
        let source = source.as_str();
        let token = self.knowledge.servers.token_id(&request.server);
        let token = token.as_deref();
        let secret = SecretLine { name: &request.secret_name, uid, change, source, token };
        match self.audit.record(&Entry::write(request, facts, decision, secret)) {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::error!(request = %key, %error, change, "a change of a Secret was not recorded");
                None
            }
        }
    }

    /// Sends an Event for a decision that alerts and was not taken before.
    pub(super) fn notify_alert(&self, subject: &Subject<'_>, decision: &Decision) {
        let known = subject.status.as_ref().and_then(|s| s.decision.as_ref());
        if decision.outcome == Outcome::Alerted && known.is_none_or(|d| d.digest != decision.digest)
        {
            self.send(
                subject,
                decision.reason,
                "Decide",
                decision.message.clone(),
                EventType::Warning,
            );
        }
    }

    /// Sends an Event for what is new: another reason of `Ready`, or a change of the Secret.
    pub(super) fn notify(&self, subject: &Subject<'_>, outcome: &Ended) {
        let ready =
            subject.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
        let reason = reason_of(&outcome.next);
        let is_new = ready.is_none_or(|c| c.reason != reason.as_str());
        let action = match outcome.change {
            SecretChange::Created => "SecretCreated",
            SecretChange::Updated => "SecretUpdated",
            SecretChange::Repaired => "SecretRepaired",
            SecretChange::Retagged => "SecretRetagged",
            SecretChange::None | SecretChange::Confirmed if is_new => "Reconcile",
            SecretChange::None | SecretChange::Confirmed => return,
        };
        let secret = &subject.entry.secret_name;
        let (message, type_) = match &outcome.next {
            Next::Failed(problem) | Next::TakenBack(problem) | Next::Served(_, problem) => {
                (problem.message.clone(), EventType::Warning)
            }
            Next::Synced(_) => match outcome.change {
                SecretChange::None => {
                    (format!("Secret {secret} holds what 1Password holds"), EventType::Normal)
                }
                change => (format!("Secret {secret} was {}", change.as_str()), EventType::Normal),
            },
            Next::Suspended => return,
        };
        self.send(subject, reason, action, message, type_);
    }

    fn send(
        &self,
        subject: &Subject<'_>,
        reason: Reason,
        action: &'static str,
        message: String,
        type_: EventType,
    ) {
        self.events.send(Note {
            key: subject.key.clone(),
            uid: subject.entry.uid.to_string(),
            reason,
            action,
            message,
            type_,
        });
    }

    pub(super) fn with_memory<T>(
        &self,
        key: &ObjectKey,
        change: impl FnOnce(&mut Memory) -> T,
    ) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let value = change(memory.entry(key.clone()).or_default());
        if memory
            .get(key)
            .is_some_and(|m| m.refused.is_none() && m.lagging.is_none() && m.created.is_none())
        {
            memory.remove(key);
        }
        value
    }

    /// How long a reconcile may take: longer for a request of many keys, whose items are fetched one after
    /// the other where the server's limit says so.
    pub(super) fn time_limit(&self, key: &ObjectKey) -> Duration {
        let spec = self.knowledge.index.request(key).and_then(|entry| entry.spec().ok());
        let keys = u32::try_from(spec.map_or(0, |s| s.data.len())).unwrap_or(u32::MAX);
        let settings = &self.knowledge.settings;
        settings.reconcile_timeout + settings.call_timeout.saturating_mul(keys) / 4
    }

    /// Says of a request that its reconcile did not come to an end.
    pub(super) async fn abandon(&self, key: &ObjectKey, message: &str) {
        let Some(entry) = self.knowledge.index.request(key) else { return };
        // Nothing is known to be wrong with a Secret that was good before.
        let has_secret = match self.subject(key, entry.clone()) {
            Ok(subject) => self.has_good_secret(&subject).await,
            Err(_) => false,
        };
        let next = Next::Failed(Problem::tolerable(Reason::InternalError, message, super::now()));
        let report = self.report(&entry, None, has_secret, next, None);
        self.record(key, &entry, report, None, Then::Retry).await;
    }

    /// Drops memories whose time is over.
    pub(super) fn prune(&self) {
        self.knowledge.looks.prune();
        let window = self.knowledge.settings.undo_window;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|_, m| {
            m.created = m.created.take().filter(|(_, at)| at.elapsed() < window);
            m.created.is_some() || m.refused.is_some() || m.lagging.is_some()
        });
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

pub(super) fn reason_of(next: &Next) -> Reason {
    match next {
        Next::Synced(_) => Reason::Synced,
        Next::Failed(problem) | Next::TakenBack(problem) | Next::Served(_, problem) => {
            problem.reason
        }
        Next::Suspended => Reason::Suspended,
    }
}
