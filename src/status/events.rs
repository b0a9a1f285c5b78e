use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType};
use tokio::sync::mpsc;

use crate::api::{CredentialRequest, Reason};
use crate::index::ObjectKey;
use crate::kube_io::KubeIo;
use crate::telemetry::Metrics;

/// An Event to be sent about a request. Events of equal reason and action within minutes are counted on
/// the first one, whose text stays: what differs belongs into reason and action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The request.
    pub key: ObjectKey,
    /// The request's UID.
    pub uid: String,
    /// The reason.
    pub reason: Reason,
    /// What was done, such as `SecretCreated` or `Denied`.
    pub action: &'static str,
    /// In words.
    pub message: String,
    /// Whether somebody should look.
    pub type_: EventType,
}

/// Takes Events off the path of the reconcile. A full queue drops and counts.
#[derive(Clone)]
pub struct EventSink {
    queue: mpsc::Sender<Note>,
    metrics: Arc<Metrics>,
}

impl EventSink {
    /// Hands over a note.
    pub fn send(&self, note: Note) {
        if self.queue.try_send(note).is_err() {
            self.metrics.event_dropped();
        }
    }
}

/// A sink, and the task that sends what it takes until the sink is dropped.
pub fn event_queue(
    io: KubeIo,
    capacity: usize,
    metrics: Arc<Metrics>,
) -> (EventSink, impl Future<Output = ()> + Send + 'static) {
    let (queue, mut notes) = mpsc::channel::<Note>(capacity);
    let sink = EventSink { queue, metrics: metrics.clone() };
    let task = async move {
        let recorder = io.recorder();
        while let Some(note) = notes.recv().await {
            if let Err(error) = io.publish(&recorder, &event(&note), &reference(&note)).await {
                metrics.event_dropped();
                tracing::debug!(request = %note.key, %error, "an Event was not sent");
            }
        }
    };
    (sink, task)
}

/// The API server takes 1,024 bytes of note.
const NOTE_LIMIT: usize = 1000;

fn event(note: &Note) -> Event {
    let mut text = note.message.clone();
    while text.len() > NOTE_LIMIT {
        text.pop();
    }
    Event {
        type_: note.type_,
        reason: note.reason.as_str().to_owned(),
        note: Some(text),
        action: note.action.to_owned(),
        secondary: None,
    }
}

fn reference(note: &Note) -> ObjectReference {
    ObjectReference {
        api_version: Some(CredentialRequest::api_version(&()).into_owned()),
        kind: Some(CredentialRequest::kind(&()).into_owned()),
        name: Some(note.key.name.to_string()),
        namespace: Some(note.key.namespace.to_string()),
        uid: Some(note.uid.clone()),
        ..ObjectReference::default()
    }
}
