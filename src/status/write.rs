use serde_json::{Value, json};

use super::{Report, compose};
use crate::api::{CredentialRequestStatus, HISTORY_LIMIT, HistoryRecord};
use crate::index::{Index, ObjectKey, RequestEntry};
use crate::kube_io::{ApiError, Expected, KubeIo};

/// Writes the status of requests, once a reconcile and only when it says something new.
#[derive(Clone)]
pub struct StatusWriter {
    io: KubeIo,
    index: Index,
}

impl StatusWriter {
    /// A writer that takes what it wrote into the index.
    #[must_use]
    pub fn new(io: KubeIo, index: Index) -> Self {
        Self { io, index }
    }

    /// Notes in the status that the Secret is about to be deleted, and by which audit record.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the request is not the one that the entry tells of any more.
    pub async fn note_deletion(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        note: &str,
    ) -> Result<(), ApiError> {
        let operation = if entry.status().is_some() {
            add("/status/deleting", &json!(note))
        } else {
            add("/status", &json!({"deleting": note}))
        };
        self.patch(key, entry, vec![operation]).await
    }

    /// Brings the status to what the report says, if it does not say so already.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the request is not the one that was reconciled any more; the caller
    /// looks at it anew.
    pub async fn write(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        report: &Report,
    ) -> Result<(), ApiError> {
        let previous = entry.status();
        let (status, record) = compose(previous.as_ref(), report);
        if record.is_none() && previous.as_ref() == Some(&status) {
            return Ok(());
        }
        let operations = operations(previous.as_ref(), entry.history_len, &status, record.as_ref());
        self.patch(key, entry, operations).await
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        entry: &RequestEntry,
        operations: Vec<Value>,
    ) -> Result<(), ApiError> {
        let expected = Expected {
            uid: entry.uid.to_string(),
            resource_version: entry.resource_version.to_string(),
        };
        let view = self.io.patch_request_status(key, &expected, operations).await?;
        self.index.observe_request(key, &view);
        Ok(())
    }
}

/// A patch that replaces all but the history, which it appends to without having read it.
fn operations(
    previous: Option<&CredentialRequestStatus>,
    history_len: usize,
    status: &CredentialRequestStatus,
    record: Option<&HistoryRecord>,
) -> Vec<Value> {
    let Some(previous) = previous else {
        let mut first = status.clone();
        first.history = record.cloned().into_iter().collect();
        return vec![add("/status", &json!(first))];
    };
    let mut operations = vec![
        add("/status/observedGeneration", &json!(status.observed_generation)),
        add("/status/conditions", &json!(status.conditions)),
    ];
    if let Some(refreshed) = &status.last_handled_refresh_request {
        operations.push(add("/status/lastHandledRefreshRequest", &json!(refreshed)));
    }
    if let Some(decision) = &status.decision {
        operations.push(add("/status/decision", &json!(decision)));
    }
    if let Some(sync) = &status.sync {
        operations.push(add("/status/sync", &json!(sync)));
    } else if previous.sync.is_some() {
        operations.push(json!({"op": "remove", "path": "/status/sync"}));
    }
    if status.deleting.is_none() && previous.deleting.is_some() {
        operations.push(json!({"op": "remove", "path": "/status/deleting"}));
    }
    if let Some(record) = record {
        if history_len == 0 {
            operations.push(add("/status/history", &json!([record])));
        } else {
            operations.push(add("/status/history/-", &json!(record)));
            for _ in HISTORY_LIMIT..=history_len {
                operations.push(json!({"op": "remove", "path": "/status/history/0"}));
            }
        }
    }
    operations
}

fn add(path: &str, value: &Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}
