//! The path of a request, top to bottom: resolve and decide, fetch, render, write, record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Instant, SystemTime};

use chrono::Utc;

use super::circumstances::Weighing;
use super::examine::{Examined, Knowledge, Upstream};
use super::outcome::{Behind, Delivered, Ended, Stop, Unended, basis, behind, unwritten};
use super::queue::{Next as Then, ParkKey, Worker};
use super::record::Memory;
use super::subject::Subject;
use super::tally::Tally;
use super::warm::Warmer;
use crate::api::{Occasion, Reason, Source};
use crate::audit::Audit;
use crate::connect::Class;
use crate::fetch::{Fallback, Fetcher, Order, Reach, Values};
use crate::index::ObjectKey;
use crate::kube_io::KubeIo;
use crate::policy::{Grant, Standing, Unconfirmed, Verdict};
use crate::render::render;
use crate::secret::{MasterKeys, SecretChange, SecretState, SecretWriter, WriteError};
use crate::status::{EventSink, Next, Problem, Severity, StatusWriter};
use crate::telemetry::Metrics;

/// Everything that a reconcile needs.
pub(super) struct Reconciler {
    pub(super) knowledge: Knowledge,
    pub(super) keys: MasterKeys,
    pub(super) io: KubeIo,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) warmer: Warmer,
    pub(super) secrets: SecretWriter,
    pub(super) statuses: StatusWriter,
    pub(super) audit: Audit,
    pub(super) events: EventSink,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tally: Arc<Tally>,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
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
                self.tally.seen(key);
                let report = self.report(&entry, None, false, Next::Failed(problem), None);
                return self.record(key, &entry, report, None, Then::Done).await;
            }
        };
        if let Err(problem) = self.close_intents(&subject).await {
            let has_secret = self.has_good_secret(&subject).await;
            let report = self.report(&entry, None, has_secret, Next::Failed(problem), None);
            return self.record(key, &entry, report, None, Then::Retry).await;
        }
        if subject.spec.is_suspended() {
            self.tally.seen(key);
            let report = self.report(&entry, None, false, Next::Suspended, None);
            return self.record(key, &entry, report, None, Then::Done).await;
        }
        let weighing = Weighing::Whole(subject.occasion);
        let examined = self.knowledge.examine(key, &entry, &subject.spec, weighing);
        if let Examined::Decided(verdict, _) = &examined {
            self.tally.note(key, verdict);
        }
        let (decision, outcome) = match examined {
            Examined::Elsewhere => return Then::Done,
            Examined::Wait => return Then::Done,
            Examined::Undecided(problem) => {
                self.tally.seen(key);
                let problem = self.aged(&subject, problem);
                let then = self.retry_of(&subject, &problem);
                (None, Ended::failed(problem, then))
            }
            Examined::Decided(Verdict::Refused(refusal), _) => {
                let outcome = self.refuse(&subject, &refusal).await;
                (Some(refusal.decision), outcome)
            }
            Examined::Decided(Verdict::Held(hold), upstream) => {
                self.abandon_deletion(&subject).await;
                let outcome = self.hold(&subject, &hold, &upstream).await;
                (Some(hold.decision), outcome)
            }
            Examined::Decided(Verdict::Granted(grant), upstream) => {
                self.abandon_deletion(&subject).await;
                let decision = grant.decision().clone();
                match self.deliver(&subject, *grant, &upstream, worker).await {
                    Ok(outcome) => {
                        self.notify_alert(&subject, &decision);
                        (Some(decision), outcome)
                    }
                    Err(Unended::NoPlace) => {
                        return Then::Park(ParkKey::new(upstream.server.name()));
                    }
                    Err(Unended::Stopping) => return Then::Retry,
                }
            }
        };
        self.notify(&subject, &outcome);
        let has_secret = match &outcome.next {
            Next::Failed(Problem {
                severity: Severity::Tolerable { .. } | Severity::Held, ..
            }) => self.has_good_secret(&subject).await,
            Next::Failed(_)
            | Next::TakenBack(_)
            | Next::Synced(_)
            | Next::Served(..)
            | Next::Suspended => false,
        };
        let again_at = decision.as_ref().and_then(|decision| decision.again_at);
        let mut report = self.report(&entry, decision, has_secret, outcome.next, outcome.record);
        // What stood in for an answer is none: it is asked for until there is one.
        if let Next::Synced(_) = report.next {
            report.refreshed = entry.refresh_requested.as_deref().map(str::to_owned);
        }
        let then = match outcome.then {
            Then::Done => again_at
                .map_or(Then::Done, |at| Then::At((at - Utc::now()).to_std().unwrap_or_default())),
            then => then,
        };
        let then = self.record(key, &entry, report, outcome.created, then).await;
        self.metrics.reconcile_took(started.elapsed());
        then
    }

    /// From a grant to a Secret.
    async fn deliver(
        &self,
        subject: &Subject<'_>,
        grant: Grant,
        upstream: &Upstream,
        worker: &Worker<ObjectKey>,
    ) -> Result<Ended, Unended> {
        let (grant, server) = (Arc::new(grant), &upstream.server);
        let view = server.view();
        let trouble = self.knowledge.trouble(&view, grant.facts());
        let reach = match &trouble {
            None if subject.refresh_wanted().is_some() => Some(Reach::Revalidate),
            None => Some(Reach::Ask),
            // While nobody can be asked a good Secret stays, and what is kept makes one where there is none.
            Some(trouble) if trouble.error.class() == Class::Unavailable => {
                self.interrupt_doubts(subject);
                let is_refused = view.is_refused || self.is_refused(subject);
                let serves = !is_refused && !self.has_good_secret(subject).await;
                serves.then_some(Reach::Down(trouble))
            }
            Some(_) => None,
        };
        let is_current = trouble.is_none() && self.is_current(subject, grant.facts());
        let order = reach.map(|reach| self.order(subject, &grant, upstream, reach));
        // Nothing is read for a Secret that will not be written.
        let is_foreign = subject.state == SecretState::Foreign;
        let is_at_hand = is_current && subject.refresh_wanted().is_none();
        let order = order.filter(|_| !is_at_hand && !is_foreign);
        let asks = order.as_ref().is_some_and(Order::asks);
        let _place = if asks { Some(server.try_permit().ok_or(Unended::NoPlace)?) } else { None };
        // After the place, so that the worker is taken back before it is free for another.
        let _lent = asks.then(|| {
            let calls = u32::try_from(grant.items().count()).unwrap_or(u32::MAX);
            worker.charge(calls.saturating_add(1));
            worker.lend()
        });
        let record = match self.audit_grant(subject, &grant).await {
            Ok(record) => record,
            Err(problem) => return Ok(Ended::failed(problem, Then::Retry)),
        };
        // What is granted for the first time is on record before anything comes of it.
        if grant.decision().occasion == Occasion::Grant
            && let Err(error) = self.knowledge.profiles.commit(&subject.key.namespace).await
        {
            let problem = Problem::heals(Reason::WriteFailed, error.to_string());
            return Ok(Ended { record, ..Ended::failed(problem, Then::Retry) });
        }
        let ended = match (&order, &trouble) {
            (Some(order), _) => match self.fetch_and_write(subject, order).await? {
                Ok(delivered) => return Ok(self.written(subject, grant, delivered, record).await),
                Err(Stop { problem, then }) => Ended::failed(problem, then),
            },
            (None, _) if is_foreign => {
                let secret = ObjectKey::new(&subject.key.namespace, &subject.entry.secret_name);
                let error = WriteError::NotOwned(secret);
                let problem = Problem::stalled(error.reason(), error.to_string());
                Ended::failed(problem, Then::Retry)
            }
            (None, Some(trouble)) => self.troubled(subject, trouble),
            (None, None) => {
                self.warmer.offer(subject.key, &grant, upstream, subject.staleness);
                let (facts, decision) = (grant.facts(), grant.decision());
                return Ok(self.confirmed(subject, facts, decision, record).await);
            }
        };
        Ok(Ended { record, ..ended })
    }

    fn order<'g>(
        &self,
        subject: &'g Subject<'_>,
        grant: &'g Arc<Grant>,
        upstream: &'g Upstream,
        reach: Reach<'g>,
    ) -> Order<'g> {
        let fallback = match subject.state {
            _ if upstream.server.view().is_refused || self.is_refused(subject) => Fallback::Refused,
            SecretState::Absent => Fallback::Secretless { secret: subject.spec.fallback_secret() },
            _ => Fallback::HasSecret,
        };
        Order {
            grant,
            server: &upstream.server,
            spec: &upstream.spec,
            reach,
            fallback,
            staleness: subject.staleness,
        }
    }

    async fn fetch_and_write(
        &self,
        subject: &Subject<'_>,
        order: &Order<'_>,
    ) -> Result<Result<Delivered, Stop>, Unended> {
        match self.fetcher.fetch(order).await {
            Ok(values) => Ok(self.write(subject, order.grant, values).await),
            Err(error) => match self.unfetched(subject, &error, order.server, order.grant) {
                Some(stop) => Ok(Err(stop)),
                None => Err(Unended::Stopping),
            },
        }
    }

    /// Render, write, and record what the write changed.
    async fn write(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
        values: Values<'_>,
    ) -> Result<Delivered, Stop> {
        self.check_replica(subject, &values)?;
        self.with_memory(subject.key, |m| {
            m.refused = None;
            m.lagging = None;
        });
        let rendered = render(&values).map_err(|error| {
            Stop::new(Problem::stalled(error.reason(), error.to_string()), Then::Done)
        })?;
        let stale = values.stale().cloned();
        drop(values);
        let intent = OnceLock::new();
        let basis = basis(&subject.rendering, &rendered.item_versions());
        let written = self.secrets.write(
            &rendered,
            (&subject.signer, subject.receipt.as_ref(), &basis),
            || self.confirm(subject.key, grant),
            || async {
                let id = self.audit_intent(subject, grant, "write").await?;
                Ok(intent.get_or_init(|| id).clone())
            },
        );
        let mut written = match written.await {
            Ok(written) => written,
            Err(error) => {
                let recorded = intent.get().and_then(Option::as_deref);
                self.audit_unwritten(subject, grant, recorded, &error).await;
                return Err(unwritten(&error));
            }
        };
        let record = self.audit_write(subject, grant, &mut written, rendered.source()).await;
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
            stale,
            written,
            record,
        })
    }

    /// Refuses values that are older than what is known. What is older than the Secret alone is believed once that
    /// lasts: a server may have been set back, and then its list is, too.
    fn check_replica(&self, subject: &Subject<'_>, values: &Values<'_>) -> Result<(), Stop> {
        let sync = subject.status.as_ref().and_then(|s| s.sync.as_ref());
        let synced = sync.map(|s| s.items.as_slice()).unwrap_or_default();
        let Some((item, behind)) = behind(values, synced) else { return Ok(()) };
        let since = self.with_memory(subject.key, |m| {
            let known = m.lagging.take().filter(|(known, _)| known == item);
            m.lagging.insert(known.unwrap_or_else(|| (item.clone(), SystemTime::now()))).1
        });
        // What is kept was confirmed by nobody, however long it has been older.
        let lasted = since.elapsed().unwrap_or_default() >= self.knowledge.settings.refusal_confirm;
        if lasted && behind == Behind::Secret && values.source() == Source::Connect {
            return Ok(());
        }
        let message = format!(
            "Connect delivered item {} in an older version than before; asking again",
            item.title
        );
        let problem = Problem::tolerable(Reason::InvalidResponse, message, super::now());
        Err(Stop::new(self.aged(subject, problem), Then::Retry))
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
        let weighing = Weighing::Durable(grant.decision().occasion);
        match self.knowledge.examine(key, &entry, &spec, weighing) {
            Examined::Decided(verdict, _) => grant.confirm(&verdict),
            Examined::Elsewhere => Err(Unconfirmed::Withdrawn),
            Examined::Wait | Examined::Undecided(_) => Err(Unconfirmed::Unknown),
        }
    }
}
