//! How a reconcile goes on from a decision, and what a failure means for the request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::policies::whole_seconds;
use super::queue::Next as Then;
use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{CredentialRequestSpec, Reason, Source, SyncStatus, SyncedItem};
use crate::connect::Class;
use crate::fetch::{FetchError, Stale, Values};
use crate::policy::{Decision, Facts, Grant, ItemIdentity, ResolvedReference};
use crate::render::item_versions;
use crate::secret::{SecretChange, SecretState, WriteError, Written};
use crate::settings::Settings;
use crate::status::{Next, Problem, Severity};
use crate::vaults::{Server, Trouble};

/// How a reconcile went on from the decision.
pub(super) struct Ended {
    pub(super) next: Next,
    pub(super) record: Option<String>,
    pub(super) change: SecretChange,
    pub(super) created: Option<(Arc<Grant>, Written)>,
    pub(super) then: Then,
}

impl Ended {
    pub(super) fn failed(problem: Problem, then: Then) -> Self {
        Self {
            next: Next::Failed(problem),
            record: None,
            change: SecretChange::None,
            created: None,
            then,
        }
    }
}

/// A delivery that went through.
pub(super) struct Delivered {
    pub(super) items: Vec<SyncedItem>,
    pub(super) keys: Vec<String>,
    pub(super) source: Source,
    /// Why some of the values are not Connect's, and since when.
    pub(super) stale: Option<Stale>,
    pub(super) written: Written,
    /// The audit record of the change, if there was one.
    pub(super) record: Option<String>,
}

/// Why a grant was not delivered on, with nothing to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unended {
    /// The server has no place free.
    NoPlace,
    /// The operator stops.
    Stopping,
}

/// A delivery that did not.
pub(super) struct Stop {
    pub(super) problem: Problem,
    pub(super) then: Then,
}

impl Stop {
    pub(super) fn new(problem: Problem, then: Then) -> Self {
        Self { problem, then }
    }
}

impl Reconciler {
    /// Whether the Secret holds what was granted, as far as the receipt and the lists of the vaults tell.
    pub(super) fn is_current(&self, subject: &Subject<'_>, facts: &Facts) -> bool {
        let references = facts.references.iter();
        let listed =
            item_versions(references.map(|r| (&*r.item.vault_id, &*r.item.item_id, r.version)));
        let receipt = subject.receipt.as_ref();
        subject.state == SecretState::Intact
            && receipt.is_some_and(|r| r.basis == basis(&subject.rendering, &listed))
    }

    pub(super) async fn confirmed(
        &self,
        subject: &Subject<'_>,
        facts: &Facts,
        decision: &Decision,
        record: Option<String>,
    ) -> Ended {
        self.with_memory(subject.key, |m| {
            m.refused = None;
            m.lagging = None;
        });
        let sync = subject.status.as_ref().and_then(|s| s.sync.clone());
        let uid = subject.receipt.as_ref().map(|r| r.secret_uid.as_str()).unwrap_or_default();
        let record =
            self.audit_source(subject, (facts, decision), uid, Source::Connect).await.or(record);
        let next = match sync {
            // Whatever it was made of, 1Password says now that it holds just that.
            Some(mut sync) => {
                if let Some(receipt) = self.confirmed_receipt(subject) {
                    sync.receipt = receipt;
                }
                Next::Synced(SyncStatus { source: Source::Connect, stale_since: None, ..sync })
            }
            None => Next::Failed(Problem::heals(
                Reason::InternalError,
                "the status lost what it said of the Secret",
            )),
        };
        Ended { next, record, change: SecretChange::None, created: None, then: Then::Done }
    }

    pub(super) async fn written(
        &self,
        subject: &Subject<'_>,
        grant: Arc<Grant>,
        delivered: Delivered,
        record: Option<String>,
    ) -> Ended {
        let Delivered { items, keys, source, stale, written, record: change_record } = delivered;
        let uid = written.receipt.secret_uid.as_str();
        let record = match change_record {
            Some(record) => Some(record),
            None => {
                let of = (grant.facts(), grant.decision());
                self.audit_source(subject, of, uid, source).await.or(record)
            }
        };
        let previous = subject.status.as_ref().and_then(|s| s.sync.as_ref());
        let same_content = written.change == SecretChange::Retagged
            || match &subject.receipt {
                // Also where nothing was written now: the record of the write may have been lost.
                Some(receipt) => receipt.content_tag == written.receipt.content_tag,
                None => matches!(written.change, SecretChange::None | SecretChange::Confirmed),
            };
        let (content_revision, last_change_time) = match previous {
            Some(previous) if same_content => {
                (previous.content_revision, previous.last_change_time.clone())
            }
            Some(previous) => (previous.content_revision + 1, super::now()),
            None => (1, super::now()),
        };
        let sync = SyncStatus {
            secret_name: subject.entry.secret_name.to_string(),
            source,
            item_count: i32::try_from(items.len()).unwrap_or(i32::MAX),
            items: items.into_iter().take(64).collect(),
            keys,
            content_revision,
            last_change_time,
            stale_since: stale.as_ref().map(|s| {
                let since = whole_seconds(s.since);
                // The same thing that goes on serving has done so since it began.
                let before =
                    previous.filter(|p| p.source == source).and_then(|p| p.stale_since.clone());
                before.map_or(since.clone(), |before| before.min(since))
            }),
            receipt: subject.signer.receipt(&subject.entry.uid, &written.receipt),
        };
        let change = written.change;
        // What was not recorded yet is, as soon as it can be.
        let is_open = written.intent.as_ref().is_some_and(|i| *i != written.receipt.record);
        let created = (change == SecretChange::Created).then_some((grant, written));
        let (next, then) = match served_from(source) {
            None if is_open => (Next::Synced(sync), Then::Retry),
            None => (Next::Synced(sync), Then::Done),
            Some((reason, message)) => {
                let cause = stale.map(|s| s.cause).unwrap_or_default();
                let message = format!("{message}: {cause}");
                let since = sync.stale_since.clone().unwrap_or_else(super::now);
                // Also where the server answers others, and nobody tells when it answers for this again.
                (Next::Served(sync, Problem::tolerable(reason, message, since)), Then::Retry)
            }
        };
        Ended { next, record, change, created, then }
    }

    /// A failed fetch: refusals are believed only when they last, and a moved item is looked up again. `None` when
    /// the operator stops.
    pub(super) fn unfetched(
        &self,
        subject: &Subject<'_>,
        failed: &FetchError,
        server: &Server,
        grant: &Grant,
    ) -> Option<Stop> {
        let (error, item) = match failed {
            FetchError::Connect { error, item, .. } => (error, item),
            FetchError::BrokenOff(_) => {
                let problem = Problem::heals(Reason::InternalError, failed.to_string());
                return Some(Stop::new(problem, Then::Retry));
            }
            FetchError::Stopping => return None,
        };
        // Nothing is older for as long as nobody says so.
        self.with_memory(subject.key, |m| m.lagging = None);
        let class = error.class();
        if class == Class::Moved || error.reason() == Reason::ItemNotFound {
            for item in grant.facts().items() {
                let may_look = || self.knowledge.looks.take(&subject.key.namespace);
                let _ = server.look_again(&item.vault_id, may_look);
            }
        }
        let (now, confirm) = (SystemTime::now(), self.knowledge.settings.refusal_confirm);
        let following = |before: Option<Trouble>| {
            Trouble::following(before.as_ref(), error.clone(), now, now, confirm)
        };
        let trouble = match class {
            Class::Refused | Class::NotFound => self.with_memory(subject.key, |m| {
                let before = m.refused.take().filter(|(known, _)| known == &**item);
                let trouble = following(before.map(|(_, trouble)| trouble));
                m.refused = Some(((**item).clone(), trouble.clone()));
                trouble
            }),
            Class::Unavailable | Class::Throttled | Class::Invalid => {
                self.interrupt_doubts(subject);
                following(None)
            }
            Class::Moved => {
                self.with_memory(subject.key, |m| m.refused = None);
                following(None)
            }
        };
        // A server that says when it can be asked again is taken at its word, within reason.
        let Settings { retry_first, retry_max, .. } = self.knowledge.settings;
        let then = match error.retry_after() {
            Some(after) if after > retry_first => Then::At(after.min(retry_max)),
            Some(_) | None => Then::Retry,
        };
        let problem = self.knowledge.problem_of(&trouble, subject.max_staleness);
        if matches!(class, Class::Refused | Class::NotFound)
            && problem.severity == Severity::Stalled
        {
            server.scope().forget_item(item);
        }
        let problem = Problem { message: failed.to_string(), ..problem };
        Some(Stop::new(self.aged(subject, problem), then))
    }

    /// Whether Connect refused an item of the request the last time that it could be asked.
    pub(super) fn is_refused(&self, subject: &Subject<'_>) -> bool {
        self.with_memory(subject.key, |m| m.refused.is_some())
    }

    /// An outage makes neither a refusal old that was not believed yet nor a lag.
    pub(super) fn interrupt_doubts(&self, subject: &Subject<'_>) {
        let confirm = self.knowledge.settings.refusal_confirm;
        self.with_memory(subject.key, |m| {
            m.lagging = None;
            if let Some((_, trouble)) = &mut m.refused {
                *trouble = trouble.interrupted(confirm);
            }
        });
    }

    pub(super) fn troubled(&self, subject: &Subject<'_>, trouble: &Trouble) -> Ended {
        let problem = self.knowledge.problem_of(trouble, subject.max_staleness);
        let problem = self.aged(subject, problem);
        let then = self.retry_of(subject, &problem);
        Ended::failed(problem, then)
    }

    /// An outage lasts since the request's Secret could not be confirmed: neither the next failure nor a
    /// restart of the operator makes it young again, or forgets what the Secret was made of. A refusal counts for
    /// itself.
    pub(super) fn aged(&self, subject: &Subject<'_>, problem: Problem) -> Problem {
        let is_outage = problem.reason.is_outage();
        let sync = subject.status.as_ref().and_then(|s| s.sync.as_ref());
        let stale = sync.and_then(|s| s.stale_since.as_ref()).filter(|_| is_outage);
        let problem = match (&problem.severity, stale) {
            (Severity::Tolerable { since }, Some(stale)) if stale < since => {
                let lasted = SystemTime::from(stale.0).elapsed().unwrap_or_default();
                if lasted < subject.max_staleness {
                    Problem::tolerable(problem.reason, problem.message, stale.clone())
                } else {
                    Problem::heals(problem.reason, problem.message)
                }
            }
            _ => problem,
        };
        as_served(subject, problem)
    }

    /// A tolerable problem turns into another one with time; all others are told of by what mends them.
    pub(super) fn retry_of(&self, subject: &Subject<'_>, problem: &Problem) -> Then {
        match (&problem.severity, problem.reason) {
            (Severity::Tolerable { .. }, Reason::InvalidResponse) => Then::Retry,
            (Severity::Tolerable { .. }, reason) if reason.is_outage() => {
                Then::At(self.until_stale(subject, problem))
            }
            (Severity::Tolerable { .. }, _) => Then::Retry,
            (Severity::Heals | Severity::Held | Severity::Stalled, _) => Then::Done,
        }
    }

    pub(super) fn until_stale(&self, subject: &Subject<'_>, problem: &Problem) -> Duration {
        let limit = subject.max_staleness;
        let Severity::Tolerable { since } = &problem.severity else {
            return limit;
        };
        let since = SystemTime::from(since.0);
        limit.saturating_sub(since.elapsed().unwrap_or_default()) + Duration::from_secs(1)
    }
}

/// What a write that failed means for the request.
pub(super) fn unwritten(error: &WriteError) -> Stop {
    let (reason, message) = (error.reason(), error.to_string());
    let problem = match error {
        WriteError::NotOwned(_)
        | WriteError::KeyLost(_)
        | WriteError::OtherType(_)
        | WriteError::Immutable(_) => Problem::stalled(reason, message),
        WriteError::Unknown(_) => Problem::tolerable(reason, message, super::now()),
        WriteError::Withdrawn(_) | WriteError::Unrecorded(_) | WriteError::Api(..) => {
            Problem::heals(reason, message)
        }
    };
    Stop::new(problem, Then::Retry)
}

/// What the Secret was made of stays true, whatever fails meanwhile.
fn as_served(subject: &Subject<'_>, problem: Problem) -> Problem {
    let sync = subject.status.as_ref().and_then(|s| s.sync.as_ref());
    let served = sync.filter(|s| s.stale_since.is_some()).and_then(|s| served_from(s.source));
    match (&problem.severity, served) {
        (Severity::Tolerable { .. }, Some((reason, message))) if problem.reason.is_outage() => {
            let message = format!("{message}: {}", problem.message);
            Problem { reason, message, ..problem }
        }
        _ => problem,
    }
}

/// The reason and words for a Secret that was made of something else than what Connect confirms.
fn served_from(source: Source) -> Option<(Reason, &'static str)> {
    match source {
        Source::Connect => None,
        Source::Cache => Some((
            Reason::ServedFromCache,
            "1Password cannot be asked, and the Secret was made of values that it gave earlier",
        )),
        Source::FallbackSecret => Some((
            Reason::ServedFromFallbackSecret,
            "1Password cannot be asked, and the Secret was made of the request's fallback Secret",
        )),
        Source::Environment => Some((
            Reason::ServedFromEnvironment,
            "1Password cannot be asked, and the Secret was made of variables of the operator's environment",
        )),
    }
}

/// An item that was delivered in an older version than it is known to have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Than the list of its vault says, which is believed.
    List,
    /// Than the Secret was made of.
    Secret,
}

/// An item that is older than the list said, or than what the Secret was made of, if there is one: a replica that lags
/// would put an old password back.
pub(super) fn behind<'v>(
    values: &'v Values<'_>,
    synced: &[SyncedItem],
) -> Option<(&'v ItemIdentity, Behind)> {
    let older = |r: &'v ResolvedReference| {
        let version = values.item(&r.item)?.version;
        let before =
            synced.iter().find(|s| *s.vault == *r.item.vault_id && *s.item == *r.item.item_id);
        if version < r.version {
            Some((&r.item, Behind::List))
        } else if before.is_some_and(|s| version < s.version) {
            Some((&r.item, Behind::Secret))
        } else {
            None
        }
    };
    let all: Vec<_> = values.grant().facts().references.iter().filter_map(older).collect();
    all.iter().find(|(_, behind)| *behind == Behind::List).or(all.first()).copied()
}

/// The part of the request that decides what the Secret is, with its UID: equal requests show no equal digest.
pub(super) fn rendering(uid: &str, spec: &CredentialRequestSpec) -> Vec<u8> {
    serde_json::to_vec(&(uid, &spec.server_ref, &spec.data, &spec.target)).unwrap_or_default()
}

/// A digest of all that decides what the Secret holds: of the request's part, and of the items' versions.
/// As long as it is the same the Secret need not be rendered again, whatever policy says meanwhile.
pub(super) fn basis(rendering: &[u8], item_versions: &str) -> String {
    format!("{}-{}", short_digest(rendering), short_digest(item_versions.as_bytes()))
}

/// Whether a basis is one of the request's part, whatever the items' versions.
pub(super) fn is_basis_of(basis: &str, rendering: &[u8]) -> bool {
    basis.split('-').next() == Some(short_digest(rendering).as_str())
}

fn short_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
