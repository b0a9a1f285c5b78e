//! Secrets that the operator deletes: with a denial, or since the grant had been withdrawn by the time that they were
//! there. A Secret that is gone names no intent, so that status does until the end is recorded.

use super::audited::Change;
use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{Reason, Source};
use crate::audit::{Entry, Kind, SecretLine};
use crate::index::ObjectKey;
use crate::kube_io::ApiError;
use crate::policy::{Decision, Facts, RequestFacts};
use crate::secret::Written;
use crate::status::Problem;

/// A Secret that was deleted again.
const TAKEN_BACK: &str = "taken back";
/// A Secret that went with a denial.
const DELETED: &str = "deleted";
/// A Secret that is gone, after an intent to delete it whose end was not recorded.
const GONE: &str = "gone";

impl Reconciler {
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
        let uid = &written.receipt.secret_uid;
        let secret = line(&request.secret_name, Some(uid), TAKEN_BACK);
        let entry = || Entry::decision(request, facts, decision);
        let intent = match self.audit.record(&entry().about(Kind::Intent, secret)).await {
            Ok(intent) => intent,
            Err(error) => {
                tracing::error!(request = %key, %error, "a Secret written under a withdrawn grant stays for now");
                return false;
            }
        };
        let intent = intent.as_deref();
        let note = self.note_deletion(key, request, intent).await;
        match self
            .secrets
            .take_back(&ObjectKey::new(&key.namespace, &request.secret_name), written)
            .await
        {
            Ok(true) => {
                let change = Change { uid, change: TAKEN_BACK, source: written.source, intent };
                if self.audit_change(key, request, entry(), change).await.is_some() {
                    self.settle(key, note);
                }
                true
            }
            Ok(false) => {
                let why = "it was gone, or another one".to_owned();
                self.audit_undeleted(key, entry(), secret, intent, why).await;
                self.settle(key, note);
                true
            }
            Err(error) => {
                tracing::error!(request = %key, %error, "a Secret written under a withdrawn grant stays for now");
                false
            }
        }
    }

    /// Deletes a request's Secret, if it is the operator's own, and records it. Says whether it is gone.
    pub(super) async fn delete_secret(
        &self,
        subject: &Subject<'_>,
        facts: Option<&Facts>,
        decision: &Decision,
    ) -> Result<bool, Problem> {
        let request = &subject.request;
        let secret = line(&request.secret_name, None, DELETED);
        let entry = || Entry::decision(request, facts, decision).after(subject.started.elapsed());
        let intent = self.audit.record(&entry().about(Kind::Intent, secret)).await;
        let intent =
            intent.map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))?;
        let intent = intent.as_deref();
        let note = self.note_deletion(subject.key, request, intent).await;
        let key = ObjectKey::new(&subject.key.namespace, &request.secret_name);
        let receipt = subject.receipt.as_ref();
        match self.secrets.delete(&key, &request.name, &subject.signer, receipt).await {
            Ok(Some(uid)) => {
                let source = subject.status.as_ref().and_then(|s| s.sync.as_ref());
                let source = source.map_or(Source::Connect, |sync| sync.source);
                let change = Change { uid: &uid, change: DELETED, source, intent };
                if self.audit_change(subject.key, request, entry(), change).await.is_some() {
                    self.settle(subject.key, note);
                }
                Ok(true)
            }
            Ok(None) => {
                let why = "it was gone, or not the operator's".to_owned();
                self.audit_undeleted(subject.key, entry(), secret, intent, why).await;
                self.settle(subject.key, note);
                Ok(false)
            }
            Err(error) => {
                let why = format!(
                    "the request is denied, and Secret {} was not deleted: {error}",
                    request.secret_name
                );
                if error.is_certain() {
                    self.audit_undeleted(subject.key, entry(), secret, intent, why.clone()).await;
                    self.settle(subject.key, note);
                }
                Err(Problem::heals(Reason::WriteFailed, why))
            }
        }
    }

    /// Records that nothing came of an intent to delete.
    async fn audit_undeleted(
        &self,
        key: &ObjectKey,
        entry: Entry<'_>,
        secret: SecretLine<'_>,
        intent: Option<&str>,
        why: String,
    ) {
        let entry = entry
            .about(Kind::Failed, SecretLine { change: "none", ..secret })
            .closing(intent)
            .failing(why);
        if let Err(error) = self.audit.record(&entry).await {
            tracing::error!(request = %key, %error, "the end of an intent was not recorded");
        }
    }

    /// Notes in the status by which intent the Secret is about to be deleted. Nothing where there is no stream, or no
    /// request any more: the deletion goes on, for what was withdrawn is worse than a record that stays open.
    async fn note_deletion(
        &self,
        key: &ObjectKey,
        request: &RequestFacts,
        intent: Option<&str>,
    ) -> Option<String> {
        let signer = self.keys.signer(&key.namespace, &key.name);
        let note = signer.audit_record(&key.namespace, &request.secret_name, intent?);
        for _ in 0..4 {
            let entry = self.knowledge.index.request(key).filter(|e| *e.uid == *request.uid)?;
            match self.statuses.note_deletion(key, &entry, &note).await {
                Ok(()) => return Some(note),
                Err(ApiError::Conflict) => {}
                Err(error) => {
                    tracing::warn!(request = %key, %error, "the status does not tell of a deletion");
                    return None;
                }
            }
            match self.io.request(key).await {
                Ok(Some(fresh)) => self.knowledge.index.observe_request(key, &fresh),
                Ok(None) | Err(_) => return None,
            }
        }
        None
    }

    /// The end of a deletion is recorded: the next status does not tell of it any more.
    fn settle(&self, key: &ObjectKey, note: Option<String>) {
        if note.is_some() {
            self.with_memory(key, |m| m.settled = note);
        }
    }

    /// Closes the intent to delete that the status names, if it does: the operator ended before the end was recorded,
    /// or the API server's answer was lost. One whose Secret is there was not carried out, and stays open.
    pub(super) async fn close_deletion(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        let Some(note) = subject.status.as_ref().and_then(|s| s.deleting.as_deref()) else {
            return Ok(());
        };
        if self.with_memory(subject.key, |m| m.settled.as_deref() == Some(note)) {
            return Ok(());
        }
        let (namespace, name) = (&subject.key.namespace, &subject.request.secret_name);
        let is_gone = self.named_intent(subject).is_none();
        if let Some(intent) =
            subject.signer.read_audit_record(namespace, name, note).filter(|_| is_gone)
        {
            let entry = Entry::told(&subject.request)
                .about(Kind::Write, line(name, None, GONE))
                .closing(Some(intent));
            let recorded = self.audit.record(&entry).await;
            recorded.map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))?;
            self.metrics.secret_changed(GONE);
        }
        self.settle(subject.key, Some(note.to_owned()));
        Ok(())
    }
}

fn line<'a>(name: &'a str, uid: Option<&'a str>, change: &'static str) -> SecretLine<'a> {
    SecretLine { name, uid, change, source: None, token: None }
}
