use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder};
use tokio::sync::mpsc;

use crate::api::{AccessProfile, CredentialRequest, Reason};
use crate::index::ObjectKey;
use crate::kube_io::KubeIo;
use crate::telemetry::Metrics;

/// An Event to be sent about an object. Events that are equal, text and all, are counted on the first one for
/// some minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What the object is.
    pub about: About,
    /// The object.
    pub key: ObjectKey,
    /// Its UID.
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

/// What an Event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A CredentialRequest.
    Request,
    /// An AccessProfile.
    Profile,
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
        let mut recorders = Recorders { io: io.clone(), known: HashMap::new() };
        while let Some(note) = notes.recv().await {
            let recorder = recorders.of(&note);
            if let Err(error) = io.publish(&recorder, &event(&note), &reference(&note)).await {
                metrics.event_dropped();
                tracing::debug!(about = ?note.about, object = %note.key, %error, "an Event was not sent");
            }
        }
    };
    (sink, task)
}

/// A recorder counts Events on the first one whatever their text, so that a new one would stand under an old text
/// (`get_event_key` of kube's `Recorder`). Each text has a recorder of its own for as long as one counts.
struct Recorders {
    io: KubeIo,
    known: HashMap<(String, Reason, &'static str, String), (Recorder, Instant)>,
}

/// How long a recorder counts.
const COUNTS: Duration = Duration::from_secs(6 * 60);
/// The most texts that are known. Beyond that, what is sent again is an Event of its own.
const KNOWN: usize = 1024;

impl Recorders {
    fn of(&mut self, note: &Note) -> Recorder {
        let key = (note.uid.clone(), note.reason, note.action, note.message.clone());
        if !self.known.contains_key(&key) && self.known.len() >= KNOWN {
            self.known.retain(|_, (_, used)| used.elapsed() < COUNTS);
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
        }
        let (recorder, used) =
            self.known.entry(key).or_insert_with(|| (self.io.recorder(), Instant::now()));
        *used = Instant::now();
        recorder.clone()
    }
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
    let (api_version, kind) = match note.about {
        About::Request => (CredentialRequest::api_version(&()), CredentialRequest::kind(&())),
        About::Profile => (AccessProfile::api_version(&()), AccessProfile::kind(&())),
    };
    ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        name: Some(note.key.name.to_string()),
        namespace: Some(note.key.namespace.to_string()),
        uid: Some(note.uid.clone()),
        ..ObjectReference::default()
    }
}
