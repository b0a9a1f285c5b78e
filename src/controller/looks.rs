use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// How often a namespace may have lists of names read again for what was not in them. Who is over the budget
/// waits for the next poll, as it would if nobody looked.
pub(super) struct Looks {
    limiter: Option<Limiter>,
}

type Limiter = RateLimiter<Arc<str>, HashMapStateStore<Arc<str>>, MonotonicClock>;

impl Looks {
    /// So many looks at once, and one more after each interval; without an interval as many as anybody wants.
    pub(super) fn new(burst: NonZeroU32, interval: Duration) -> Self {
        let quota = Quota::with_period(interval).map(|quota| quota.allow_burst(burst));
        let limiter = quota
            .map(|quota| RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock));
        Self { limiter }
    }

    /// Takes a look out of a namespace's budget, if there is one left.
    pub(super) fn take(&self, namespace: &Arc<str>) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| limiter.check_key(namespace).is_ok())
    }

    /// Forgets namespaces whose budget is whole.
    pub(super) fn prune(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const BURST: NonZeroU32 = NonZeroU32::new(3).unwrap();

    #[test]
    fn a_namespace_that_looks_much_takes_nothing_from_another() {
        let looks = Looks::new(BURST, HOUR);
        let (noisy, quiet): (Arc<str>, Arc<str>) = ("noisy".into(), "quiet".into());
        let granted = (0..1000).filter(|_| looks.take(&noisy)).count();
        assert_eq!(granted, 3);
        assert!(looks.take(&quiet));
        looks.prune();
        assert!(!looks.take(&noisy), "what is spent is not forgotten");
    }

    #[test]
    fn without_an_interval_there_is_no_budget() {
        let looks = Looks::new(BURST, Duration::ZERO);
        assert!((0..1000).all(|_| looks.take(&"any".into())));
    }
}
