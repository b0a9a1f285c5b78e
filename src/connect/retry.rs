//! How often, and when, a call that came to nothing at every host is made again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// How a client repeats what came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How many times the hosts are gone through again, at most.
    pub rounds: usize,
    /// The longest pause before the first of these rounds; it doubles with each.
    pub first: Duration,
    /// The longest pause of all.
    pub max: Duration,
}

impl Retries {
    /// The pauses before the rounds: any length up to what the round allows ("full jitter").
    pub(super) fn pauses(self) -> impl Iterator<Item = Duration> + Send {
        let longest = ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.first)
            .with_max_delay(self.max)
            .with_max_times(self.rounds)
            .build();
        longest.map(|pause: Duration| pause.mul_f64(rand::random::<f64>()))
    }
}

/// What a client may spend on repeating: a token bucket that calls fill, so that a server in trouble gets
/// a tenth more calls at most, and not several times as many.
#[derive(Debug)]
pub(super) struct Budget {
    /// In tenths of a round.
    tenths: AtomicU32,
}

const CAPACITY: u32 = 100;
const ROUND: u32 = 10;

impl Budget {
    /// A full budget, which is ten rounds.
    pub(super) fn full() -> Self {
        Self { tenths: AtomicU32::new(CAPACITY) }
    }

    /// A call is made.
    pub(super) fn deposit(&self) {
        let filled = |tenths: u32| Some(tenths.saturating_add(1).min(CAPACITY));
        // Always some.
        let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, filled);
    }

    /// Pays for a round, if there is enough.
    pub(super) fn spend(&self) -> Spending {
        let rest = |tenths: u32| tenths.checked_sub(ROUND);
        match self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest) {
            Ok(_) => Spending::Paid,
            Err(_) => Spending::Exhausted,
        }
    }
}

/// Whether a round is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spending {
    Paid,
    Exhausted,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn repeating_never_costs_more_than_a_tenth_of_the_calls_and_ten_rounds(
            steps in prop::collection::vec(any::<bool>(), 0..2000),
        ) {
            let (budget, mut calls, mut rounds) = (Budget::full(), 0_u32, 0_u32);
            for is_call in steps {
                if is_call {
                    budget.deposit();
                    calls += 1;
                } else if budget.spend() == Spending::Paid {
                    rounds += 1;
                }
                prop_assert!(rounds * 10 <= calls + 100);
            }
        }

        #[test]
        fn pauses_double_up_to_the_longest_and_are_as_many_as_allowed(
            rounds in 0_usize..8, first in 1_u64..1000, max in 1_u64..1000,
        ) {
            let (first, max) = (Duration::from_millis(first.min(max)), Duration::from_millis(max));
            let pauses: Vec<_> = Retries { rounds, first, max }.pauses().collect();
            prop_assert_eq!(pauses.len(), rounds);
            for (round, pause) in pauses.into_iter().enumerate() {
                prop_assert!(pause <= max && pause <= first * (1 << round) + Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_budget_that_is_spent_comes_back_with_calls() {
        let budget = Budget::full();
        assert!((0..10).all(|_| budget.spend() == Spending::Paid));
        assert_eq!(budget.spend(), Spending::Exhausted);
        (0..9).for_each(|_| budget.deposit());
        assert_eq!(budget.spend(), Spending::Exhausted);
        budget.deposit();
        assert_eq!(budget.spend(), Spending::Paid);
    }
}
