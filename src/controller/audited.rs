//! What a reconcile says in the audit stream: decisions, and of each change of a Secret first the intent, then
//! the end.

use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{ConditionType, Outcome, Reason, Source};
use crate::audit::{Entry, Kind, SecretLine, is_later};
use crate::index::ObjectKey;
use crate::policy::{Decision, Facts, Grant, Hold, RequestFacts, Unconfirmed};
use crate::secret::{AUDIT_RECORD, ITEM_VERSIONS, Receipt, SecretChange, WriteError, Written};
use crate::status::{Problem, restates};

impl Reconciler {
    pub(super) async fn audit_grant(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
    ) -> Result<Option<String>, Problem> {
        let (facts, decision) = (grant.facts(), grant.decision());
        let entry = Entry::decision(&facts.request, Some(facts), decision);
        self.audit_decision(subject, entry, decision).await
    }

    /// Records a decision that differs from the one in the status, and counts it.
    pub(super) async fn audit_decision(
        &self,
        subject: &Subject<'_>,
        entry: Entry<'_>,
        decision: &Decision,
    ) -> Result<Option<String>, Problem> {
        let known = subject.status.as_ref().and_then(|s| s.decision.as_ref());
        if known.is_some_and(|known| restates(known, decision)) {
            return Ok(None);
        }
        let entry = entry.after(subject.started.elapsed());
        let record = match decision.outcome {
            Outcome::Denied | Outcome::Deferred => {
                // Denied by other rules is another denial.
                let rules = decision.factors.iter().map(|f| format!(" {}/{}", f.policy, f.rule));
                let alike = std::iter::once(decision.digest.clone()).chain(rules);
                self.audit.record_denial(&entry, &alike.collect::<String>()).await
            }
            Outcome::Allowed | Outcome::Alerted => self.audit.record(&entry).await,
        };
        let record =
            record.map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))?;
        let metrics = &self.metrics.decisions;
        metrics.decided(decision.outcome, decision.reason, decision.risk_score);
        for result in &decision.policies {
            metrics.policy_decided(&result.policy, result.outcome);
        }
        for factor in decision.factors.iter().filter(|factor| factor.failed) {
            metrics.rule_failed(&factor.policy, &factor.rule);
        }
        Ok(record)
    }

    /// Records that refreshes are held from now on, once for all of them.
    pub(super) async fn audit_hold(
        &self,
        subject: &Subject<'_>,
        hold: &Hold,
    ) -> Result<Option<String>, Problem> {
        let conditions = subject.status.iter().flat_map(|s| &s.conditions);
        let mut synced = conditions.filter(|c| c.type_ == ConditionType::Synced.as_str());
        if synced.any(|c| c.reason == Reason::HeldByPolicy.as_str()) {
            return Ok(None);
        }
        let entry = Entry::decision(&hold.facts.request, Some(&hold.facts), &hold.decision)
            .held(&hold.why)
            .after(subject.started.elapsed());
        let record = self.audit.record(&entry).await;
        record.map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))
    }

    /// Records that the Secret of a grant is about to be changed.
    pub(super) async fn audit_intent(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
        change: &'static str,
    ) -> Result<Option<String>, Unconfirmed> {
        let (facts, decision) = (grant.facts(), grant.decision());
        let name = &facts.request.secret_name;
        let secret = SecretLine { name, uid: None, change, source: None, token: None };
        let entry = Entry::decision(&facts.request, Some(facts), decision)
            .about(Kind::Intent, secret)
            .after(subject.started.elapsed());
        self.audit.record(&entry).await.map_err(|_| Unconfirmed::Unrecorded)
    }

    /// Records that nothing came of an intent. Where nobody knows, what the Secret says tells later.
    pub(super) async fn audit_unwritten(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
        intent: Option<&str>,
        error: &WriteError,
    ) {
        let Some(intent) = intent.filter(|_| error.is_certain()) else { return };
        let (facts, name) = (grant.facts(), &grant.facts().request.secret_name);
        let secret = SecretLine { name, uid: None, change: "none", source: None, token: None };
        let entry = Entry::decision(&facts.request, Some(facts), grant.decision())
            .about(Kind::Failed, secret)
            .closing(Some(intent))
            .failing(error.to_string())
            .after(subject.started.elapsed());
        if let Err(error) = self.audit.record(&entry).await {
            tracing::error!(request = %subject.key, %error, intent, "the end of an intent was not recorded");
        }
    }

    /// Records what a write changed, and notes in its receipt that this was recorded.
    pub(super) async fn audit_write(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
        written: &mut Written,
        source: Source,
    ) -> Option<String> {
        // What the Secret tells was closed before anything was done.
        written.receipt.record = self.closed_intent(subject);
        if written.change == SecretChange::None {
            return None;
        }
        let (facts, uid) = (grant.facts(), written.receipt.secret_uid.clone());
        let change = Change {
            uid: &uid,
            change: written.change.as_str(),
            source,
            intent: written.intent.as_deref(),
        };
        let entry = Entry::decision(&facts.request, Some(facts), grant.decision())
            .after(subject.started.elapsed());
        let record = self.audit_change(subject.key, &facts.request, entry, change).await?;
        if let Some(intent) = &written.intent {
            written.receipt.record.clone_from(intent);
            self.with_memory(subject.key, |m| m.closed = Some(intent.clone()));
        }
        record
    }

    /// Records that a Secret which was made of one source is as another one has it, without a write.
    pub(super) async fn audit_source(
        &self,
        subject: &Subject<'_>,
        (facts, decision): (&Facts, &Decision),
        uid: &str,
        source: Source,
    ) -> Option<String> {
        let before = subject.status.as_ref()?.sync.as_ref()?.source;
        if before == source {
            return None;
        }
        let change = SecretChange::Confirmed.as_str();
        let entry =
            Entry::decision(&facts.request, Some(facts), decision).after(subject.started.elapsed());
        let change = Change { uid, change, source, intent: None };
        self.audit_change(subject.key, &facts.request, entry, change).await?
    }

    /// Records a change of the Secret, and counts it. Nothing when it was not recorded.
    pub(super) async fn audit_change(
        &self,
        key: &ObjectKey,
        request: &RequestFacts,
        entry: Entry<'_>,
        change: Change<'_>,
    ) -> Option<Option<String>> {
        self.metrics.secret_changed(change.change);
        let token = self.knowledge.servers.token_id(&request.server);
        let secret = SecretLine {
            name: &request.secret_name,
            uid: Some(change.uid),
            change: change.change,
            source: Some(change.source.as_str()),
            token: token.as_deref(),
        };
        match self.audit.record(&entry.about(Kind::Write, secret).closing(change.intent)).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::error!(request = %key, %error, change.change, "a change of a Secret was not recorded yet");
                None
            }
        }
    }

    /// Closes what an operator before this one began on the request and did not tell the end of.
    pub(super) async fn close_intents(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        self.close_intent(subject).await?;
        self.close_deletion(subject).await
    }

    /// Closes the intent that the Secret names, if nothing says that it is closed: a write of ours whose end was
    /// not recorded, since the operator ended or the API server's answer was lost.
    async fn close_intent(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        let Some(intent) = self.named_intent(subject) else { return Ok(()) };
        // An earlier one was closed before that: somebody put an old Secret back.
        let told = subject.receipt.as_ref().map(|r| r.record.clone()).unwrap_or_default();
        let done = self.with_memory(subject.key, |m| m.closed.clone()).unwrap_or_default();
        if !is_later(&intent, &told) || !is_later(&intent, &done) {
            return Ok(());
        }
        let secret = ObjectKey::new(&subject.key.namespace, &subject.entry.secret_name);
        let Some(secret) = self.knowledge.index.secret(&secret) else { return Ok(()) };
        let versions =
            secret.annotations.get(ITEM_VERSIONS).map(String::as_str).unwrap_or_default();
        let entry = Entry::found(&subject.request, &secret.uid, versions, &intent);
        self.audit
            .record(&entry)
            .await
            .map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))?;
        self.metrics.secret_changed("found");
        self.with_memory(subject.key, |m| m.closed = Some(intent));
        Ok(())
    }

    /// The receipt anew of a Secret that stays as it is, where the spec that is granted is another one now, or the
    /// Secret names an intent that it does not know to be closed.
    pub(super) fn confirmed_receipt(&self, subject: &Subject<'_>) -> Option<String> {
        let receipt = subject.receipt.as_ref()?;
        let closed = Receipt {
            record: self.closed_intent(subject),
            granted: subject.request.spec_id(),
            ..receipt.clone()
        };
        (closed != *receipt).then(|| subject.signer.receipt(&subject.entry.uid, &closed))
    }

    /// The last intent that is closed, once [`Self::close_intent`] has been through.
    fn closed_intent(&self, subject: &Subject<'_>) -> String {
        let told = subject.receipt.as_ref().map(|r| r.record.clone()).unwrap_or_default();
        let named = self.named_intent(subject).unwrap_or_default();
        if is_later(&named, &told) { named } else { told }
    }

    /// The intent by which the Secret was written last, as it says itself and we can prove.
    pub(super) fn named_intent(&self, subject: &Subject<'_>) -> Option<String> {
        let (namespace, name) = (&subject.key.namespace, &subject.entry.secret_name);
        let secret = self.knowledge.index.secret(&ObjectKey::new(namespace, name))?;
        let text = secret.annotations.get(AUDIT_RECORD)?;
        subject.signer.read_audit_record(namespace, name, text).map(str::to_owned)
    }
}

/// A change of a Secret.
pub(super) struct Change<'a> {
    pub(super) uid: &'a str,
    pub(super) change: &'static str,
    pub(super) source: Source,
    pub(super) intent: Option<&'a str>,
}
