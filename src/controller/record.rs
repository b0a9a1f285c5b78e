//! What a reconcile leaves behind: the one status write, Events, and what is remembered.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kube::runtime::events::EventType;

use super::deletions::Deletion;
use super::outcome::Ended;
use super::queue::Next as Then;
use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{Outcome, Reason};
use crate::index::{ObjectKey, RequestEntry};
use crate::kube_io::ApiError;
use crate::policy::{Decision, Grant, ItemIdentity};
use crate::secret::{SecretChange, Written};
use crate::status::{About, Next, Note, Problem, Report, restates};
use crate::vaults::Trouble;

/// What is remembered of a request between reconciles; all of it may be lost.
#[derive(Default)]
pub(super) struct Memory {
    /// The item of the request that Connect refuses.
    pub(super) refused: Option<(ItemIdentity, Trouble)>,
    /// The item that Connect delivers in an older version than before, and since when it does without a break.
    pub(super) lagging: Option<(ItemIdentity, SystemTime)>,
    /// Its Secret was created just now, under this digest.
    pub(super) created: Option<(Written, Instant)>,
    /// The intent that was closed last, until a receipt says so.
    pub(super) closed: Option<String>,
    /// A deletion of its Secret that was begun.
    pub(super) deletion: Option<Deletion>,
    /// What status notes of a deletion whose end was recorded, until it does not any more.
    pub(super) settled: Option<String>,
}

impl Memory {
    fn is_empty(&self) -> bool {
        self.refused.is_none()
            && self.lagging.is_none()
            && self.created.is_none()
            && self.closed.is_none()
            && self.deletion.is_none()
            && self.settled.is_none()
    }
}

impl Reconciler {
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
            settled: None,
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
        let report = Report { settled: self.with_memory(key, |m| m.settled.clone()), ..report };
        let mut entry = entry.clone();
        for _ in 0..4 {
            match self.statuses.write(key, &entry, &report).await {
                Ok(()) => {
                    let created = created.map(|(_, written)| (written, Instant::now()));
                    let has_receipt = matches!(report.next, Next::Synced(_) | Next::Served(..));
                    self.with_memory(key, |m| {
                        m.created = created.or(m.created.take());
                        m.closed = m.closed.take().filter(|_| !has_receipt);
                        m.settled = None;
                    });
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

    /// Sends an Event for a decision that alerts and was not taken before.
    pub(super) fn notify_alert(&self, subject: &Subject<'_>, decision: &Decision) {
        let known = subject.status.as_ref().and_then(|s| s.decision.as_ref());
        let is_new = known.is_none_or(|known| !restates(known, decision));
        if decision.outcome == Outcome::Alerted && is_new {
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
            about: About::Request,
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
        if memory.get(key).is_some_and(Memory::is_empty) {
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
        self.knowledge.profiles.prune();
        let window = self.knowledge.settings.undo_window;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|_, m| {
            m.created = m.created.take().filter(|(_, at)| at.elapsed() < window);
            !m.is_empty()
        });
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.tally.forget(key);
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
