//! Records on their way to the writer: a bounded number, with room that only grants can use. Denials that are too
//! many are counted together; nothing else is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::entry::Kind;

/// The most records of one flush.
const BATCH: usize = 64;

/// A record that waits to be written.
pub(super) struct Job {
    pub(super) kind: Kind,
    /// Its fields, as JSON without the braces.
    pub(super) fields: String,
    /// Whom to tell its id; whoever wanted to know may have gone.
    pub(super) told: Option<oneshot::Sender<String>>,
    /// The request's UID, what makes two alike and the reason of a denial, and how often it was met.
    denial: Option<(Box<[String; 3]>, u64)>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Job {
    pub(super) fn new(kind: Kind, fields: String) -> Self {
        Self { kind, fields, told: None, denial: None, _place: None }
    }

    /// All fields.
    pub(super) fn into_fields(self) -> (Kind, String, Option<oneshot::Sender<String>>) {
        let fields = match self.denial {
            Some((_, times @ 2..)) => format!("{},\"repeated\":{times}", self.fields),
            Some(_) | None => self.fields,
        };
        (self.kind, fields, self.told)
    }

    fn is_abandoned(&self) -> bool {
        self.denial.is_none() && self.told.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

/// Denials of a namespace that were counted together.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Merged {
    namespace: String,
    count: u64,
    first: String,
    last: String,
    reasons: BTreeMap<&'static str, u64>,
}

/// Records that were given up.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost {
    count: u64,
    since: String,
}

/// What became of a denial.
pub(super) enum Denied {
    /// It waits, and its id is told.
    Waits(oneshot::Receiver<String>),
    /// It was counted with others.
    Merged,
}

/// A denial on its way.
pub(super) struct Denial<'a> {
    pub(super) namespace: &'a str,
    pub(super) uid: &'a str,
    pub(super) alike: &'a str,
    pub(super) reason: &'static str,
    pub(super) fields: String,
}

pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    room: Arc<Semaphore>,
    denial_room: usize,
    /// Whether a record that nobody waits for any more was let through unrecorded.
    counts_lost: bool,
}

#[derive(Default)]
struct State {
    grants: VecDeque<Job>,
    denials: VecDeque<Job>,
    merged: BTreeMap<String, Merged>,
    lost: Option<Lost>,
    closed: bool,
}

impl State {
    /// Records are given up.
    fn lose(&mut self, count: u64) {
        self.lost.get_or_insert_with(|| Lost { count: 0, since: now() }).count += count;
    }
}

impl Queue {
    pub(super) fn new(room: usize, denial_room: usize, counts_lost: bool) -> Self {
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(room)),
            denial_room,
            counts_lost,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a record that must be written, as soon as there is room.
    pub(super) async fn push(
        &self,
        kind: Kind,
        fields: String,
    ) -> Option<oneshot::Receiver<String>> {
        let place = self.room.clone().acquire_owned().await.ok()?;
        let (told, id) = oneshot::channel();
        let job = Job { told: Some(told), _place: Some(place), ..Job::new(kind, fields) };
        let mut state = self.state();
        if state.closed {
            return None;
        }
        state.grants.push_back(job);
        self.ready.notify_one();
        Some(id)
    }

    /// Hands over a record that follows from another one, without waiting for room: one for each that was written.
    pub(super) fn push_now(&self, job: Job) {
        self.state().grants.push_back(job);
        self.ready.notify_one();
    }

    /// An intent was written after nobody waited for it any more. Nothing came of it, and it is closed; where the
    /// operator goes on without records something may have come of it, and what that was is lost.
    pub(super) fn unused(&self, intent: &str) {
        if self.counts_lost {
            self.state().lose(1);
            self.ready.notify_one();
            return;
        }
        let fields = format!(
            "\"kind\":\"failed\",\"items\":[],\"closes\":\"{intent}\",\"failure\":\"nobody waited for the intent any more\""
        );
        self.push_now(Job::new(Kind::Failed, fields));
    }

    /// Hands over a denial. One that waits already, or one too many, is counted.
    pub(super) fn deny(&self, denial: Denial<'_>) -> Denied {
        let mut state = self.state();
        // What passes is in no digest: what waited a moment ago may be denied now.
        let key = [denial.uid, denial.alike, denial.reason];
        let same = state.denials.iter_mut().find_map(|job| {
            job.denial.as_mut().filter(|(known, _)| **known == key).map(|(_, times)| times)
        });
        if let Some(times) = same {
            *times += 1;
            return Denied::Merged;
        }
        if state.denials.len() >= self.denial_room || state.closed {
            let known = state.merged.contains_key(denial.namespace);
            let crowded = !known && state.merged.len() >= self.denial_room;
            // Namespaces beyond the limit are counted as one.
            let namespace = if crowded { "" } else { denial.namespace };
            let now = now();
            let merged = state.merged.entry(namespace.to_owned()).or_insert_with(|| Merged {
                namespace: namespace.to_owned(),
                count: 0,
                first: now.clone(),
                last: String::new(),
                reasons: BTreeMap::new(),
            });
            merged.count += 1;
            merged.last = now;
            *merged.reasons.entry(denial.reason).or_default() += 1;
            self.ready.notify_one();
            return Denied::Merged;
        }
        let (told, id) = oneshot::channel();
        state.denials.push_back(Job {
            told: Some(told),
            denial: Some((Box::new(key.map(str::to_owned)), 1)),
            ..Job::new(Kind::Decision, denial.fields)
        });
        self.ready.notify_one();
        Denied::Waits(id)
    }

    /// What is to be written next, grants first; blocks until there is something. `None` at the end.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            let batch = self.batch(&mut state);
            if !batch.is_empty() {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn batch(&self, state: &mut State) -> Vec<Job> {
        let before = state.grants.len();
        state.grants.retain(|job| !job.is_abandoned());
        let gone = (before - state.grants.len()) as u64;
        if gone > 0 && self.counts_lost {
            state.lose(gone);
        }
        let mut batch = Vec::new();
        if let Some(lost) = state.lost.take() {
            batch.extend(summary(Kind::Lost, &lost));
        }
        for queue in [&mut state.grants, &mut state.denials] {
            let count = queue.len().min(BATCH.saturating_sub(batch.len()));
            batch.extend(queue.drain(..count));
        }
        while batch.len() < BATCH
            && let Some((_, merged)) = state.merged.pop_first()
        {
            batch.extend(summary(Kind::Merged, &merged));
        }
        batch
    }

    /// Waits a moment, or until the end; says whether it is the end.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let state = self.state();
        let ended = self.ready.wait_timeout_while(state, pause, |state| !state.closed);
        ended.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// How many grants and denials wait.
    pub(super) fn lengths(&self) -> (usize, usize) {
        let state = self.state();
        (state.grants.len(), state.denials.len())
    }

    /// Takes nothing more. What waits is still written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_all();
    }
}

fn summary<T: Serialize>(kind: Kind, what: &T) -> Option<Job> {
    let name = kind.as_str();
    let what = serde_json::to_string(what).ok()?;
    Some(Job::new(kind, format!("\"kind\":\"{name}\",\"{name}\":{what}")))
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial<'a>(namespace: &'a str, uid: &'a str, alike: &'a str) -> Denial<'a> {
        let fields = "\"kind\":\"decision\"".to_owned();
        Denial { namespace, uid, alike, reason: "Denied", fields }
    }

    #[tokio::test]
    async fn equal_denials_that_wait_become_one_record_that_counts_them() {
        let queue = Queue::new(4, 4, false);
        for _ in 0..3 {
            queue.deny(denial("shop", "u1", "d1"));
        }
        queue.deny(denial("shop", "u1", "d2"));
        queue.deny(Denial { reason: "Deferred", ..denial("shop", "u1", "d1") });
        let fields: Vec<String> =
            queue.take().unwrap().into_iter().map(|job| job.into_fields().1).collect();
        let (once, thrice) = ("\"kind\":\"decision\"", "\"kind\":\"decision\",\"repeated\":3");
        assert_eq!(fields, [thrice, once, once]);
    }

    #[tokio::test]
    async fn denials_beyond_the_room_are_counted_by_namespace_and_none_is_forgotten() {
        let queue = Queue::new(4, 2, false);
        for n in 0..10 {
            queue.deny(denial(["a", "b", "c", "d"][n % 4], &format!("u{n}"), "d"));
        }
        let jobs: Vec<_> = queue.take().unwrap().into_iter().map(Job::into_fields).collect();
        let count = |fields: &str| -> u64 {
            let value: serde_json::Value = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
            value["merged"]["count"].as_u64().unwrap_or(1)
        };
        assert_eq!(jobs.iter().map(|(_, fields, _)| count(fields)).sum::<u64>(), 10);
        assert!(jobs.len() <= 2 + 3, "{} records", jobs.len());
    }

    #[tokio::test]
    async fn a_grant_waits_for_room_and_goes_before_denials() {
        let queue = Arc::new(Queue::new(1, 4, false));
        queue.deny(denial("shop", "u", "d"));
        let _first = queue.push(Kind::Intent, "\"kind\":\"intent\"".to_owned()).await.unwrap();
        let waiting = queue.clone();
        let second = tokio::spawn(async move {
            waiting.push(Kind::Write, "\"kind\":\"write\"".to_owned()).await.is_some()
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        let kinds: Vec<Kind> = queue.take().unwrap().iter().map(|job| job.kind).collect();
        assert_eq!(kinds, [Kind::Intent, Kind::Decision]);
        assert!(second.await.unwrap(), "there is room again");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_left_out_and_counted_where_it_was_let_through() {
        for (counts, expected) in [(false, vec![]), (true, vec![Kind::Lost])] {
            let queue = Queue::new(4, 4, counts);
            drop(queue.push(Kind::Intent, "\"kind\":\"intent\"".to_owned()).await);
            queue.close();
            let kinds: Vec<Kind> =
                queue.take().unwrap_or_default().iter().map(|job| job.kind).collect();
            assert_eq!(kinds, expected);
        }
    }
}
