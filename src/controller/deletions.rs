//! Secrets that the operator deletes: with a denial, or since the grant had been withdrawn by the time that they were
//! there. A Secret that is gone names no intent, so that memory and status do until the end is recorded.

use super::audited::Change;
use super::reconcile::Reconciler;
use super::subject::Subject;
use crate::api::{Reason, Source};
use crate::audit::{Entry, Kind, SecretLine};
use crate::index::ObjectKey;
use crate::kube_io::ApiError;
use crate::policy::{Decision, Facts, RequestFacts};
use crate::secret::{Attempt, Signer, Written};
use crate::status::Problem;

/// A Secret that was deleted again.
const TAKEN_BACK: &str = "taken back";
/// A Secret that went with a denial.
const DELETED: &str = "deleted";
/// A Secret that is gone, after an intent to delete it whose end was not recorded.
const GONE: &str = "gone";

/// A deletion that was begun, and whose end is not recorded.
#[derive(Clone, Debug)]
pub(super) struct Deletion {
    /// The Secret.
    uid: String,
    /// What the deletion is called.
    change: &'static str,
    /// The record of the intent; none where it was not recorded, and work goes on without.
    intent: Option<String>,
    /// What status says of it, if it does.
    note: Option<String>,
    /// Whether the Secret may be gone by it already.
    attempt: Attempt,
}

impl Deletion {
    /// What a status says of a deletion, if the operator wrote it.
    fn read(signer: &Signer, key: &ObjectKey, secret: &str, note: &str) -> Option<Self> {
        let (uid, sealed) = note.split_once('/')?;
        let intent = signer.read_deletion(&key.namespace, secret, uid, sealed)?;
        Some(Self {
            uid: uid.to_owned(),
            // What it was called the record of the intent says.
            change: DELETED,
            intent: Some(intent.to_owned()),
            note: Some(note.to_owned()),
            attempt: Attempt::Again,
        })
    }
}

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
        let entry = || Entry::decision(request, facts, decision);
        let begun = self.begin_deletion(key, request, uid, TAKEN_BACK, entry()).await;
        let result = match begun {
            Ok(deletion) => {
                let secret = ObjectKey::new(&key.namespace, &request.secret_name);
                let result = self.secrets.take_back(&secret, written, deletion.attempt).await;
                self.end_deletion(key, request, &result, written.source, &entry).await;
                result.map_err(|error| error.to_string())
            }
            Err(problem) => Err(problem.message),
        };
        if let Err(error) = &result {
            tracing::error!(request = %key, error, "a Secret written under a withdrawn grant stays for now");
        }
        result.is_ok()
    }

    /// Deletes a request's Secret, if it is the operator's own, and records it. Says whether it is gone.
    pub(super) async fn delete_secret(
        &self,
        subject: &Subject<'_>,
        facts: Option<&Facts>,
        decision: &Decision,
    ) -> Result<bool, Problem> {
        let request = &subject.request;
        let failed = |error: &ApiError| {
            let secret = &request.secret_name;
            let why =
                format!("the request is denied, and Secret {secret} was not deleted: {error}");
            Problem::heals(Reason::WriteFailed, why)
        };
        let key = ObjectKey::new(&subject.key.namespace, &request.secret_name);
        let receipt = subject.receipt.as_ref();
        let own = self.secrets.own(&key, &request.name, &subject.signer, receipt).await;
        let Some(expected) = own.map_err(|error| failed(&error))? else { return Ok(false) };
        let entry = || Entry::decision(request, facts, decision).after(subject.started.elapsed());
        let begun =
            self.begin_deletion(subject.key, request, &expected.uid, DELETED, entry()).await?;
        let proof = (&*request.name, &subject.signer, receipt);
        let result = self.secrets.delete(&key, expected, proof, begun.attempt).await;
        let source = subject.status.as_ref().and_then(|s| s.sync.as_ref());
        let source = source.map_or(Source::Connect, |sync| sync.source);
        self.end_deletion(subject.key, request, &result, source, &entry).await;
        result.map_err(|error| failed(&error))
    }

    /// Records that a Secret is about to be deleted, and has status tell of it; or goes on with what was begun before.
    async fn begin_deletion(
        &self,
        key: &ObjectKey,
        request: &RequestFacts,
        uid: &str,
        change: &'static str,
        entry: Entry<'_>,
    ) -> Result<Deletion, Problem> {
        let before = self.with_memory(key, |m| m.deletion.clone());
        if let Some(before) = before.filter(|before| before.uid == uid) {
            return Ok(before);
        }
        let secret = line(&request.secret_name, Some(uid), change);
        let intent = self.audit.record(&entry.about(Kind::Intent, secret)).await;
        let intent =
            intent.map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))?;
        let note = self.note_deletion(key, request, uid, intent.as_deref()).await;
        let deletion =
            Deletion { uid: uid.to_owned(), change, intent, note, attempt: Attempt::First };
        self.with_memory(key, |m| m.deletion = Some(deletion.clone()));
        Ok(deletion)
    }

    /// Records what became of a deletion, as far as that is known.
    async fn end_deletion<'e>(
        &self,
        key: &ObjectKey,
        request: &'e RequestFacts,
        result: &Result<bool, ApiError>,
        source: Source,
        entry: &impl Fn() -> Entry<'e>,
    ) {
        let Some(deletion) = self.with_memory(key, |m| m.deletion.clone()) else { return };
        let why = match result {
            Ok(true) => {
                let intent = deletion.intent.as_deref();
                let change = Change { uid: &deletion.uid, change: deletion.change, source, intent };
                if self.audit_change(key, request, entry(), change).await.is_some() {
                    self.settle(key, deletion.note);
                }
                return;
            }
            Ok(false) => "it was gone, or not the operator's".to_owned(),
            Err(error) if error.is_certain() => error.to_string(),
            Err(_) => {
                let again = Deletion { attempt: Attempt::Again, ..deletion };
                self.with_memory(key, |m| m.deletion = Some(again));
                return;
            }
        };
        self.audit_undeleted(key, entry(), &request.secret_name, &deletion, why).await;
    }
    /// Records that nothing came of an intent to delete.
    async fn audit_undeleted(
        &self,
        key: &ObjectKey,
        entry: Entry<'_>,
        secret: &str,
        deletion: &Deletion,
        why: String,
    ) {
        let entry = entry
            .about(Kind::Failed, line(secret, Some(&deletion.uid), "none"))
            .closing(deletion.intent.as_deref())
            .failing(why);
        match self.audit.record(&entry).await {
            Ok(_) => self.settle(key, deletion.note.clone()),
            Err(error) => {
                tracing::error!(request = %key, %error, "the end of an intent was not recorded");
            }
        }
    }

    /// Notes in the status by which intent the Secret is about to be deleted. Nothing where there is no stream, or no
    /// request any more: the deletion goes on, for what was withdrawn is worse than a record that stays open.
    async fn note_deletion(
        &self,
        key: &ObjectKey,
        request: &RequestFacts,
        uid: &str,
        intent: Option<&str>,
    ) -> Option<String> {
        let signer = self.keys.signer(&key.namespace, &key.name);
        let sealed = signer.deletion(&key.namespace, &request.secret_name, uid, intent?);
        let note = format!("{uid}/{sealed}");
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
        self.with_memory(key, |m| {
            m.deletion = None;
            m.settled = note.or(m.settled.take());
        });
    }

    /// Closes the intent to delete that memory or the status names, if the Secret is gone: the operator ended before the
    /// end was recorded, or the API server's answer was lost. One whose Secret is there is gone on with, or
    /// [given up](Self::abandon_deletion).
    pub(super) async fn close_deletion(&self, subject: &Subject<'_>) -> Result<(), Problem> {
        let Some(deletion) = self.open_deletion(subject) else { return Ok(()) };
        let name = &subject.request.secret_name;
        // The watch may not know yet, and knows nothing of a Secret without its label.
        let there = self.io.secret_metadata(&ObjectKey::new(&subject.key.namespace, name)).await;
        let there = there.map_err(|error| {
            let why = format!("whether Secret {name} was deleted cannot be seen: {error}");
            Problem::heals(Reason::WriteFailed, why)
        })?;
        if there.is_some_and(|secret| secret.uid.as_ref() == Some(&deletion.uid)) {
            self.with_memory(subject.key, |m| m.deletion = Some(deletion));
            return Ok(());
        }
        let entry = Entry::told(&subject.request)
            .about(Kind::Write, line(name, Some(&deletion.uid), GONE))
            .closing(deletion.intent.as_deref());
        let recorded = self.audit.record(&entry).await;
        recorded.map_err(|error| Problem::heals(Reason::AuditFailed, error.to_string()))?;
        self.metrics.secret_changed(GONE);
        self.settle(subject.key, deletion.note);
        Ok(())
    }

    /// The deletion that was begun of the request's Secret. What somebody else wrote into the status is dropped.
    fn open_deletion(&self, subject: &Subject<'_>) -> Option<Deletion> {
        let known = self.with_memory(subject.key, |m| m.deletion.clone());
        known.or_else(|| {
            let note = subject.status.as_ref()?.deleting.as_deref()?;
            let is_settled = self.with_memory(subject.key, |m| m.settled.as_deref() == Some(note));
            let secret = &subject.request.secret_name;
            let read = || Deletion::read(&subject.signer, subject.key, secret, note);
            let read = if is_settled { None } else { read() };
            if read.is_none() {
                self.settle(subject.key, Some(note.to_owned()));
            }
            read
        })
    }

    /// Records that a Secret stays that was about to be deleted, since nothing speaks for that any more.
    pub(super) async fn abandon_deletion(&self, subject: &Subject<'_>) {
        let Some(deletion) = self.with_memory(subject.key, |m| m.deletion.clone()) else { return };
        let why = "the Secret stays: nothing speaks for its deletion any more".to_owned();
        let (entry, name) = (Entry::told(&subject.request), &subject.request.secret_name);
        self.audit_undeleted(subject.key, entry, name, &deletion, why).await;
    }
}

fn line<'a>(name: &'a str, uid: Option<&'a str>, change: &'static str) -> SecretLine<'a> {
    SecretLine { name, uid, change, source: None, token: None }
}
