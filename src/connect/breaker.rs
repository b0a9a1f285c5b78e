//! When a host is not worth asking: a pure state machine over the instants it is given.
//!
//! One item that answers 500 for ever says nothing about its host. Only failures about several subjects in
//! a row, with no answer in between, make a host suspect, and only a heartbeat that fails then opens its
//! breaker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// How many subjects must fail in a row until a host is suspect.
pub(super) const SUBJECTS: usize = 3;

/// How long a host is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDown {
    /// After its breaker opened; doubles with every heartbeat that fails.
    pub first: Duration,
    /// At most. Up to a fifth more or less comes on top, so that clients do not march in step.
    pub max: Duration,
}

/// Whether a host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not.
    Open,
    /// It is not, but for the heartbeat that is under way to see if it may be again.
    HalfOpen,
}

/// The breaker of one host.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    cool_down: CoolDown,
    /// How long a heartbeat may be under way. One that nobody told the end of counts as over by then.
    lease: Duration,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// `failed` never has more than [`SUBJECTS`]; `tested_until` while a heartbeat is under way.
    Closed {
        failed: BTreeSet<Arc<str>>,
        tested_until: Option<Instant>,
    },
    Open {
        since: DateTime<Utc>,
        until: Instant,
        failures: u32,
    },
    HalfOpen {
        since: DateTime<Utc>,
        tested_until: Instant,
        failures: u32,
    },
}

/// What a breaker says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Go on.
    Call,
    /// Send a heartbeat, tell of it, and go on if it is answered.
    Probe { since: DateTime<Utc> },
    /// Leave the host alone.
    Skip { since: DateTime<Utc> },
}

/// What a failure makes of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing that has to be looked into.
    None,
    /// Send a heartbeat and tell of it.
    Test,
}

/// What came of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Somebody answered.
    Felt,
    /// Nobody answered, or only to say that it cannot.
    Missed,
}

impl Breaker {
    pub(super) fn new(cool_down: CoolDown, lease: Duration) -> Self {
        Self { cool_down, lease, phase: Phase::closed() }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether [`admit`](Self::admit) would let a call or a heartbeat through.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { until, .. } => now >= until,
            Phase::HalfOpen { tested_until, .. } => now >= tested_until,
        }
    }

    /// What a call that is about to be made shall do.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        let (since, failures) = match self.phase {
            Phase::Closed { .. } => return Admission::Call,
            Phase::Open { since, failures, .. } | Phase::HalfOpen { since, failures, .. } => {
                (since, failures)
            }
        };
        if !self.would_admit(now) {
            return Admission::Skip { since };
        }
        self.phase = Phase::HalfOpen { since, tested_until: now + self.lease, failures };
        Admission::Probe { since }
    }

    /// The host has answered a call as Connect does, be it with a refusal.
    pub(super) fn succeeded(&mut self) {
        self.phase = Phase::closed();
    }

    /// A call about a subject has failed in a way that may be the host's fault.
    pub(super) fn failed(&mut self, subject: &Arc<str>, now: Instant) -> Suspicion {
        // What was on its way when the breaker opened says nothing new.
        let Phase::Closed { failed, tested_until } = &mut self.phase else {
            return Suspicion::None;
        };
        if failed.len() < SUBJECTS {
            failed.insert(Arc::clone(subject));
        }
        if failed.len() < SUBJECTS || tested_until.is_some_and(|until| now < until) {
            return Suspicion::None;
        }
        *tested_until = Some(now + self.lease);
        Suspicion::Test
    }

    /// A heartbeat has ended. `jitter` is from 0 to 1, and random.
    pub(super) fn tested(&mut self, pulse: Pulse, now: Instant, wall: DateTime<Utc>, jitter: f64) {
        let opening = match (pulse, &self.phase) {
            (Pulse::Felt, _) => {
                self.phase = Phase::closed();
                return;
            }
            (Pulse::Missed, Phase::Closed { failed, .. }) if failed.len() >= SUBJECTS => (wall, 0),
            (Pulse::Missed, Phase::HalfOpen { since, failures, .. }) => {
                (*since, failures.saturating_add(1))
            }
            // A call was answered meanwhile, or somebody else's heartbeat ended first.
            (Pulse::Missed, Phase::Closed { .. } | Phase::Open { .. }) => return,
        };
        let (since, failures) = opening;
        let until = now + self.cool_down.after(failures, jitter);
        self.phase = Phase::Open { since, until, failures };
    }
}

impl Phase {
    fn closed() -> Self {
        Self::Closed { failed: BTreeSet::new(), tested_until: None }
    }
}

impl CoolDown {
    fn after(self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.min(16));
        doubled.min(self.max).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests;
