//! How many requests a server gets in a second.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::Failure;

/// Lets requests through at a rate, or as they come.
pub(super) struct Rate(Option<Limiter>);

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock>;

impl Rate {
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self(
            per_second.map(|rate| {
                RateLimiter::direct_with_clock(Quota::per_second(rate), MonotonicClock)
            }),
        )
    }

    /// Waits for a turn, until the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<(), Failure> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        timeout_at(deadline, wait(limiter)).await.map_err(|_| Failure::Throttled)
    }
}

async fn wait(limiter: &Limiter) {
    while let Err(early) = limiter.check() {
        let pause = early.wait_time_from(MonotonicClock.now());
        // Up to a tenth more, so that those who wait do not all come at once.
        sleep(pause.mul_f64(1.0 + 0.1 * rand::random::<f64>())).await;
    }
}
