//! The hosts of a client, and which of them may be asked now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::breaker::{Admission, Breaker, BreakerState, Pulse, Suspicion};
use super::error::{Class, Failure};
use super::observe::Observer;

/// A host as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Its origin.
    pub origin: Arc<str>,
    /// Whether it is asked.
    pub breaker: BreakerState,
    /// Until when it asked to be left alone, if it did.
    pub paused_until: Option<DateTime<Utc>>,
}

/// The hosts in their order. There is always one.
pub(super) struct Hosts {
    pub(super) first: Host,
    pub(super) others: Vec<Host>,
    /// The place of the one that the list of vaults came from last.
    told: AtomicUsize,
}

impl Hosts {
    pub(super) fn new(first: Host, others: Vec<Host>) -> Self {
        Self { first, others, told: AtomicUsize::new(0) }
    }

    /// A host gave the list of vaults.
    pub(super) fn answered(&self, host: &Host) {
        let place = self.iter().position(|known| known.origin == host.origin);
        self.told.store(place.unwrap_or_default(), Ordering::Relaxed);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The host that gave the list of vaults last, while nothing speaks against it; else the first that nothing
    /// speaks against, or the first of all where something does against each.
    pub(super) fn active(&self) -> &Host {
        let now = Instant::now();
        let told = self.iter().nth(self.told.load(Ordering::Relaxed));
        let mut candidates = told.into_iter().chain(self.iter());
        candidates.find(|host| host.is_well(now)).unwrap_or(&self.first)
    }
}

/// A host, its breaker and its pause.
pub(super) struct Host {
    pub(super) origin: Arc<str>,
    observer: Arc<dyn Observer>,
    traffic: Mutex<Traffic>,
}

struct Traffic {
    breaker: Breaker,
    pause: Option<Pause>,
    /// What the host asked not to be asked about, by subject. No more than were asked about within the
    /// longest pause.
    set_aside: HashMap<Arc<str>, Pause>,
}

/// What a pause that a host asks for is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of it.
    Host,
    /// What was asked for. One item must not take its host along.
    Subject,
}

#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    /// The same for people.
    until_wall: DateTime<Utc>,
}

/// What a host's state says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Go on.
    Open,
    /// Send a heartbeat, and go on if it is answered.
    Probe(Failure),
    /// Leave the host alone, for this reason.
    Closed(Failure),
}

impl Host {
    pub(super) fn new(origin: Arc<str>, breaker: Breaker, observer: Arc<dyn Observer>) -> Self {
        observer.breaker_moved(&origin, breaker.state());
        let traffic = Traffic { breaker, pause: None, set_aside: HashMap::new() };
        Self { origin, observer, traffic: Mutex::new(traffic) }
    }

    pub(super) fn state(&self) -> HostState {
        let (traffic, now) = (self.lock(), Instant::now());
        HostState {
            origin: Arc::clone(&self.origin),
            breaker: traffic.breaker.state(),
            paused_until: traffic.paused(now).map(|pause| pause.until_wall),
        }
    }

    /// Whether a call would be sent now, without a heartbeat before it.
    fn is_well(&self, now: Instant) -> bool {
        let traffic = self.lock();
        traffic.breaker.state() == BreakerState::Closed && traffic.paused(now).is_none()
    }

    /// Whether a call about a subject, or a heartbeat, would be sent now.
    pub(super) fn would_admit(&self, subject: &str, now: Instant) -> bool {
        let traffic = self.lock();
        traffic.breaker.would_admit(now) && traffic.paused_for(subject, now).is_none()
    }

    /// What a call about a subject that is about to be made shall do.
    pub(super) fn admit(&self, subject: &str, now: Instant) -> Entry {
        self.change(|traffic| {
            if let Some(pause) = traffic.paused_for(subject, now) {
                return Entry::Closed(Failure::Paused { until: pause.until_wall });
            }
            match traffic.breaker.admit(now) {
                Admission::Call => Entry::Open,
                Admission::Probe { since } => Entry::Probe(Failure::Open { since }),
                Admission::Skip { since } => Entry::Closed(Failure::Open { since }),
            }
        })
    }

    /// A request about a subject has ended, with a failure or without.
    pub(super) fn note(
        &self,
        subject: &Arc<str>,
        reach: Reach,
        failure: Option<Failure>,
        now: Instant,
    ) -> Suspicion {
        self.change(|traffic| {
            let failure = failure.filter(|failure| failure.class() == Class::Unavailable);
            let Some(failure) = failure else {
                traffic.breaker.succeeded();
                return Suspicion::None;
            };
            match failure {
                // Taken at its word: nothing has to be found out about it.
                Failure::Status { code, retry_after: Some(pause) }
                    if !pause.is_zero() && (code == 429 || code == 503 && reach == Reach::Host) =>
                {
                    traffic.pause = Some(Pause::of(pause, now));
                    Suspicion::None
                }
                Failure::Status { code: 503, retry_after: Some(pause) } if !pause.is_zero() => {
                    traffic.set_aside(subject, pause, now);
                    traffic.breaker.failed(subject, now)
                }
                _ => traffic.breaker.failed(subject, now),
            }
        })
    }

    /// A heartbeat has ended.
    pub(super) fn tested(&self, pulse: Pulse, now: Instant) {
        self.change(|traffic| traffic.breaker.tested(pulse, now, Utc::now(), rand::random()));
    }

    /// Changes the state, and tells of it before the next change can.
    fn change<T>(&self, change: impl FnOnce(&mut Traffic) -> T) -> T {
        let mut traffic = self.lock();
        let before = traffic.breaker.state();
        let result = change(&mut traffic);
        let after = traffic.breaker.state();
        if after != before {
            self.observer.breaker_moved(&self.origin, after);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    fn paused(&self, now: Instant) -> Option<Pause> {
        self.pause.filter(|pause| now < pause.until)
    }

    /// The pause of the host, or of what it is asked about.
    fn paused_for(&self, subject: &str, now: Instant) -> Option<Pause> {
        let aside = || self.set_aside.get(subject).copied().filter(|pause| now < pause.until);
        self.paused(now).or_else(aside)
    }

    fn set_aside(&mut self, subject: &Arc<str>, pause: Duration, now: Instant) {
        self.set_aside.retain(|_, pause| now < pause.until);
        self.set_aside.insert(Arc::clone(subject), Pause::of(pause, now));
    }
}

impl Pause {
    fn of(length: Duration, now: Instant) -> Self {
        Self { until: now + length, until_wall: Utc::now() + length }
    }
}
