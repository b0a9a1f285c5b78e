//! What follows where nothing is granted, or what was granted is held.

use super::circumstances::Weighing;
use super::examine::{Examined, Upstream};
use super::outcome::Ended;
use super::queue::Next as Then;
use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{OnDenied, Outcome, Reason};
use crate::audit::Entry;
use crate::policy::{Hold, Refusal, Verdict};
use crate::secret::{SecretChange, SecretState};
use crate::status::{Next, Problem};

impl Reconciler {
    /// A denial keeps the Secret, but for one that was created a moment ago under a grant that had been
    /// withdrawn already.
    pub(super) async fn refuse(&self, subject: &Subject<'_>, refusal: &Refusal) -> Ended {
        let problem = Problem::refused(&refusal.decision);
        let entry = Entry::decision(&subject.request, refusal.facts.as_deref(), &refusal.decision);
        let record = match self.audit_decision(subject, entry, &refusal.decision).await {
            Ok(record) => record,
            Err(problem) => return Ended::failed(problem, Then::Retry),
        };
        // A policy that cannot be evaluated takes nothing back: it does not say that the grant was wrong.
        let is_denial = refusal.lasts
            && !matches!(problem.reason, Reason::PolicyInvalid | Reason::PolicyUnreadable);
        let created = self.with_memory(subject.key, |m| m.created.take());
        let window = self.knowledge.settings.undo_window;
        let mut next = Next::Failed(problem.clone());
        let mut then = Then::Done;
        if let Some((written, at)) = created.filter(|(_, at)| is_denial && at.elapsed() < window) {
            let (facts, decision) = (refusal.facts.as_deref(), &refusal.decision);
            if self.take_back(subject.key, &written, &subject.request, facts, decision).await {
                next = Next::TakenBack(problem);
            } else {
                self.with_memory(subject.key, |m| m.created = Some((written, at)));
                then = Then::Retry;
            }
        } else if refusal.on_denied == OnDenied::Delete {
            match self.erase(subject, refusal).await {
                Ok(true) => next = Next::TakenBack(problem),
                Ok(false) => {}
                Err(failed) => {
                    next = Next::Failed(failed);
                    then = Then::Retry;
                }
            }
        }
        // What is denied by other policies now may keep its Secret.
        if matches!(then, Then::Done) {
            self.abandon_deletion(subject).await;
        }
        if refusal.decision.outcome == Outcome::Deferred {
            then = Then::At(self.knowledge.settings.redecide_interval);
        }
        Ended { next, record, change: SecretChange::None, created: None, then }
    }

    /// Deletes the Secret of a request that is denied, where the policy says so. Returns whether it is gone.
    async fn erase(&self, subject: &Subject<'_>, refusal: &Refusal) -> Result<bool, Problem> {
        if !matches!(subject.state, SecretState::Intact | SecretState::Touched) {
            return Ok(false);
        }
        // On all that has been observed by now, as before any other change.
        let weighing = Weighing::Durable(subject.occasion);
        let now = self.knowledge.examine(subject.key, &subject.entry, &subject.spec, weighing);
        let Examined::Decided(Verdict::Refused(Refusal { on_denied: OnDenied::Delete, .. }), _) =
            now
        else {
            return Ok(false);
        };
        let (facts, decision) = (refusal.facts.as_deref(), &refusal.decision);
        self.delete_secret(subject, facts, decision).await
    }

    /// What was granted stays; nothing is read or written, unless there is nothing to be done.
    pub(super) async fn hold(
        &self,
        subject: &Subject<'_>,
        hold: &Hold,
        upstream: &Upstream,
    ) -> Ended {
        let Hold { decision, facts, why } = hold;
        let request = &facts.request;
        let entry = Entry::decision(request, Some(facts), decision);
        let record = match self.audit_decision(subject, entry, decision).await {
            Ok(record) => record,
            Err(problem) => return Ended::failed(problem, Then::Retry),
        };
        match self.knowledge.trouble(&upstream.server.view(), facts) {
            Some(trouble) => Ended { record, ..self.troubled(subject, &trouble) },
            None if self.is_current(subject, facts) => {
                self.confirmed(subject, facts, decision, record).await
            }
            None => {
                self.metrics.decisions.held();
                let held = match self.audit_hold(subject, hold).await {
                    Ok(held) => held,
                    Err(problem) => return Ended::failed(problem, Then::Retry),
                };
                Ended {
                    next: Next::Failed(Problem::held(why)),
                    record: held.or(record),
                    change: SecretChange::None,
                    created: None,
                    then: Then::Done,
                }
            }
        }
    }
}
