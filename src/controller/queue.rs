//! Which request is reconciled next.
//!
//! A key is known to the queue once: it is queued in one of three lanes, runs, waits for a timer or is
//! parked on a resource. What happens to a key while it runs marks it dirty, and it is queued again as
//! soon as that run ends. The lanes are shared fairly by the flows of the keys, such as namespaces. The rules
//! are in `state`; here are the words and the asynchronous edge.

mod state;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use state::{Start, State, Tick};

/// What a queue can order.
pub trait Key: Clone + Eq + Hash + Send + 'static {
    /// Those who share the queue fairly, however many keys each of them has.
    type Flow: Clone + Eq + Hash + Send + 'static;

    /// Whose key it is. Always the same for a key.
    fn flow(&self) -> Self::Flow;
}

/// How urgent a run is. The order is that of dispatch: `Interactive` is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Someone waits: a new generation, a deletion, drift, an annotation.
    Interactive,
    /// What the request depends on has changed: a vault, a policy.
    Changed,
    /// Nothing is known to have changed: a restart, a re-check.
    Sweep,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Changed, Self::Sweep];

    /// The name that metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Changed => "changed",
            Self::Sweep => "sweep",
        }
    }
}

/// A resource that runs wait for, such as a server's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParkKey(Arc<str>);

impl ParkKey {
    /// Names a resource.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ParkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much runs at once, and how failures are spaced.
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Runs at the same time; at least 1.
    pub workers: usize,
    /// How many of the workers only take the interactive lane. At least one worker takes every lane,
    /// whatever is set here.
    pub interactive_workers: usize,
    /// How many workers the runs of one flow may hold when another of its runs starts, whatever the lane;
    /// at least 1.
    pub flow_workers: usize,
    /// How many runs of one key may follow each other without a pause; at least 1.
    pub object_burst: u32,
    /// The time after which a key that has used up its burst may run once more. What is added in between
    /// becomes one run, however urgent it is. No pause at all when zero.
    pub object_interval: Duration,
    /// The longest delay after the first failure. It doubles with each consecutive one; the delay taken
    /// is anywhere between half of it and the whole.
    pub retry_first: Duration,
    /// The bound of that doubling.
    pub retry_max: Duration,
}

/// What becomes of a key when its run ends. A key that was added during the run is queued at once,
/// whichever of these it is: there is something new to see. A failure counts all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do. The failures are forgotten.
    Done,
    /// Look again after this time, at most a year, in the sweep lane. The failures are forgotten.
    At(Duration),
    /// It failed: again after a delay. The first few times in the lane that it ran in; after that in the
    /// sweep lane, so that what stays broken does not hold up what is new.
    Retry,
    /// It needs a resource that is taken. No timer: only [`Queue::unpark_one`], [`Queue::unpark_all`] or
    /// an addition moves it. If the resource was unparked during the run, and not for another key alone,
    /// this one is queued at once, for it may have looked before.
    Park(ParkKey),
    /// The object is gone, and so is all memory of it but how fast it has run: who deletes and creates it
    /// in turn runs no faster than who edits it.
    Forget,
}

/// How many keys are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// Queued in the interactive lane.
    pub interactive: usize,
    /// Queued in the changed lane.
    pub changed: usize,
    /// Queued in the sweep lane.
    pub sweep: usize,
    /// Runs under way that hold a worker.
    pub running: usize,
    /// Runs under way that have lent their worker.
    pub lent: usize,
    /// Keys that wait for a resource.
    pub parked: usize,
    /// Keys that wait for a timer.
    pub waiting: usize,
    /// Flows that have a key queued, in whichever lane.
    pub flows: usize,
}

struct Shared<K: Key> {
    state: Mutex<State<K>>,
    /// Wakes all that wait in `next`: each of them must know the earliest timer, since any of them may
    /// be dropped.
    changed: Notify,
}

impl<K: Key> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State<K>, Instant) -> T) -> T {
        let told = change(&mut self.lock(), Instant::now());
        self.changed.notify_waiters();
        told
    }
}

/// A work queue. Clones are the same queue.
pub struct Queue<K: Key> {
    shared: Arc<Shared<K>>,
}

impl<K: Key> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Key> Queue<K> {
    /// An empty queue.
    #[must_use]
    pub fn new(config: &QueueConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(config)),
                changed: Notify::new(),
            }),
        }
    }

    /// Queues a key, whether it is new, waits for a timer (which is dropped) or is parked. A queued key
    /// moves to the end of a more urgent lane and never to a less urgent one. A running key is queued
    /// when its run ends. A key that has run too often of late is queued a little later.
    pub fn add(&self, key: K, lane: Lane) {
        self.shared.change(|state, now| state.add(key, lane, now));
    }

    /// Says that one more run can have the resource: of the keys parked on it the one that is next, by lane
    /// and flow as in dispatch, is queued, whatever its pace. It goes before the keys that have no such word,
    /// which keep one dispatch of four. If its run ends in anything but parking on the same resource, the
    /// next one is moved, lest a key that no longer wants the resource swallow the word. So a key may be
    /// moved in vain; parked again, it has its old place in its flow. Says whether there was a key to be queued.
    pub fn unpark_one(&self, resource: &ParkKey) -> bool {
        self.shared.change(|state, now| state.unpark_one(resource, now))
    }

    /// Queues all keys that are parked on a resource, each in its lane.
    pub fn unpark_all(&self, resource: &ParkKey) {
        self.shared.change(|state, now| state.unpark_all(resource, now));
    }

    /// Waits until a key may run and a worker is free. `None` once the queue is closed. Dropping the
    /// future loses nothing.
    pub async fn next(&self) -> Option<Running<K>> {
        loop {
            let changed = self.shared.changed.notified();
            let timer = {
                let mut state = self.shared.lock();
                if state.is_closed() {
                    return None;
                }
                if let Some(Start { key, lane, failures, started }) = state.take(Instant::now()) {
                    let worker = Worker { shared: Arc::clone(&self.shared), started };
                    return Some(Running { worker, key, lane, failures, ended: false });
                }
                state.first_timer()
            };
            match timer {
                Some(at) => drop(timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }

    /// Ends dispatch for good. Runs that are under way go on.
    pub fn close(&self) {
        self.shared.change(|state, _| state.close());
    }

    /// How many keys are where. A key whose time has come counts as waiting until someone calls
    /// [`next`](Self::next).
    #[must_use]
    pub fn depths(&self) -> Depths {
        self.shared.lock().depths()
    }

    /// How long the key that has been queued longest has waited for its run, in whichever lane. Looks at
    /// every key.
    #[must_use]
    pub fn oldest_wait(&self) -> Option<Duration> {
        self.shared.lock().oldest_wait(Instant::now())
    }
}

/// The worker of a run, to be handed into it. Clones are the same worker. Once the run has ended nothing
/// comes of it.
pub struct Worker<K: Key> {
    shared: Arc<Shared<K>>,
    started: Tick,
}

impl<K: Key> Clone for Worker<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), started: self.started }
    }
}

impl<K: Key> Worker<K> {
    /// Lets another run have the worker while this one waits for something slow. A run that has lent its
    /// worker counts neither as one of the workers nor against its flow, so that a flow that
    /// waits for one server holds up neither others nor its own runs for another. It must hold something whose
    /// number is bounded, such as a place at its server: nothing here bounds how many runs do this.
    ///
    /// When the loan is dropped the run goes on at once, if need be as one more than there are workers;
    /// then no other starts until enough have ended.
    pub fn lend(&self) -> Lent<K> {
        self.shared.change(|state, _| state.lend(self.started));
        Lent { worker: self.clone() }
    }

    /// Says what the run costs in all, in place of the 1 that it costs without a word, and of what was said
    /// before. Between 1 and 64, whatever is said. The flow pays when the run ends, in turns of its lane.
    pub fn charge(&self, cost: u32) {
        self.shared.lock().charge(self.started, cost);
    }
}

/// A worker that is lent, until this is dropped or the run ends.
#[must_use = "the loan ends when this is dropped"]
pub struct Lent<K: Key> {
    worker: Worker<K>,
}

impl<K: Key> Drop for Lent<K> {
    fn drop(&mut self) {
        // Frees nothing, so nobody is woken.
        self.worker.shared.lock().take_back(self.worker.started);
    }
}

/// A run under way: it holds a worker unless that is lent, and its key does not run elsewhere. End it with
/// [`finish`](Self::finish); dropped without, as in a panic, it counts as [`Next::Retry`].
#[must_use = "a run that is dropped counts as failed"]
pub struct Running<K: Key> {
    worker: Worker<K>,
    key: K,
    lane: Lane,
    failures: u32,
    ended: bool,
}

impl<K: Key> Running<K> {
    /// What runs.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The lane that the key was taken from.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// How many runs of the key have failed one after the other before this one.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The worker that it holds, by which it is charged too.
    pub fn worker(&self) -> &Worker<K> {
        &self.worker
    }

    /// Ends the run and frees its worker.
    pub fn finish(mut self, next: Next) {
        self.end(next);
    }

    fn end(&mut self, next: Next) {
        if !std::mem::replace(&mut self.ended, true) {
            let (key, chance) = (self.key.clone(), rand::random());
            self.worker.shared.change(|state, now| state.finish(key, next, chance, now));
        }
    }
}

impl<K: Key> Drop for Running<K> {
    fn drop(&mut self) {
        self.end(Next::Retry);
    }
}

#[cfg(test)]
mod tests;
