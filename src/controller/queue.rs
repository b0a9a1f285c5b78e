//! Which request is reconciled next.
//!
//! A key is known to the queue once: it is queued in one of three lanes, runs, waits for a timer or is
//! parked on a resource. What happens to a key while it runs marks it dirty, and it is queued again as
//! soon as that run ends. The rules are in `state`; here are the words and the asynchronous edge.

mod state;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use state::State;

/// What a queue can order.
pub trait Key: Clone + Eq + Hash + Send + 'static {}

impl<T: Clone + Eq + Hash + Send + 'static> Key for T {}

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
    /// The object is gone, and so is all memory of it.
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
    /// Runs under way.
    pub running: usize,
    /// Keys that wait for a resource.
    pub parked: usize,
    /// Keys that wait for a timer.
    pub waiting: usize,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Wakes all that wait in `next`: each of them must know the earliest timer, since any of them may
    /// be dropped.
    changed: Notify,
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State<K>, Instant)) {
        change(&mut self.lock(), Instant::now());
        self.changed.notify_waiters();
    }
}

/// A work queue. Clones are the same queue.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Key> Queue<K> {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(config)),
                changed: Notify::new(),
            }),
        }
    }

    /// Queues a key, whether it is new, waits for a timer (which is dropped) or is parked. A queued key
    /// moves to the end of a more urgent lane and never to a less urgent one. A running key is queued
    /// when its run ends.
    pub fn add(&self, key: K, lane: Lane) {
        self.shared.change(|state, now| state.add(key, lane, now));
    }

    /// Says that one more run can have the resource: the first key parked on it, the interactive ones
    /// before the others, is queued in its lane. If that key's run ends in anything but parking on the
    /// same resource, the next one is moved, lest a key that no longer wants the resource swallow the
    /// word. So a key may be moved in vain; parked again, it has its old place.
    pub fn unpark_one(&self, resource: &ParkKey) {
        self.shared.change(|state, now| state.unpark_one(resource, now));
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
                if let Some((key, lane, failures)) = state.take(Instant::now()) {
                    return Some(Running {
                        shared: Arc::clone(&self.shared),
                        key,
                        lane,
                        failures,
                        ended: false,
                    });
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

/// A run under way: it holds a worker, and its key does not run elsewhere. End it with
/// [`finish`](Self::finish); dropped without, as in a panic, it counts as [`Next::Retry`].
#[must_use = "a run that is dropped counts as failed"]
pub struct Running<K: Key> {
    shared: Arc<Shared<K>>,
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

    /// Ends the run and frees its worker.
    pub fn finish(mut self, next: Next) {
        self.end(next);
    }

    fn end(&mut self, next: Next) {
        if !std::mem::replace(&mut self.ended, true) {
            let (key, chance) = (self.key.clone(), rand::random());
            self.shared.change(|state, now| state.finish(key, next, chance, now));
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
