//! How fast the runs of one key may follow each other.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket for each key. Only the buckets that are not full are kept.
pub(super) struct Pace<K> {
    /// The time in which one token comes back.
    interval: Duration,
    /// The time in which an empty bucket fills up.
    window: Duration,
    /// When each bucket is full again.
    full: HashMap<K, Instant>,
    /// For each run of the last window, when its bucket is full again unless others followed.
    looks: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash> Pace<K> {
    /// Runs at once out of a full bucket, at least 1, and the time in which each is made up for.
    pub(super) fn new(burst: u32, interval: Duration) -> Self {
        let interval = interval.min(super::FAR);
        let window = interval.saturating_mul(burst.max(1)).min(super::FAR);
        Self { interval, window, full: HashMap::new(), looks: VecDeque::new() }
    }

    /// How long until the bucket of a key holds a token.
    pub(super) fn delay(&self, key: &K, now: Instant) -> Duration {
        let missing =
            self.full.get(key).map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        missing.saturating_sub(self.window.saturating_sub(self.interval))
    }

    /// A run of the key starts: takes a token, if there is one.
    pub(super) fn start(&mut self, key: &K, now: Instant) {
        self.forget_full(now);
        if self.interval.is_zero() {
            return;
        }
        let full = self.full.get(key).map_or(now, |full| now.max(*full)) + self.interval;
        self.full.insert(key.clone(), full.min(now + self.window));
        self.looks.push_back((now + self.window, key.clone()));
    }

    fn forget_full(&mut self, now: Instant) {
        while self.looks.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.looks.pop_front()
        {
            if self.full.get(&key).is_some_and(|full| *full <= now) {
                self.full.remove(&key);
            }
        }
    }
}

#[cfg(test)]
impl<K> Pace<K> {
    /// How many keys are remembered.
    pub(super) fn len(&self) -> usize {
        self.full.len().max(self.looks.len())
    }
}
