//! One of several replicas works, the one that holds a Lease; the others stand by. A term is one holder's time with it.
//!
//! A rival takes the Lease when it saw it unchanged for as long as its holder may go without renewing it, by the rival's
//! own monotonic clock; no two clocks are compared. The holder counts from before it sent its last renewal, so that its
//! time is over first. Every write of the operator passes the [`Fence`], which lets through only what ends within that
//! time, so that a holder that was frozen writes nothing when it wakes: it finds its time over and ends. The clock does
//! not run while the machine itself is suspended; what a holder that slept through that sends is refused by the UIDs and
//! versions that each write names.

mod campaign;
mod lease;
mod renew;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use campaign::{Candidate, CandidateConfig};
pub use renew::Leader;

/// How long the Lease is held, and how often it is renewed.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTiming {
    /// For how long a holder that renews nothing is left alone.
    pub duration: Duration,
    /// For how long a holder that cannot renew goes on; less than `duration`.
    pub renew_deadline: Duration,
    /// The time between two renewals, or two looks of one who stands by.
    pub retry: Duration,
    /// The longest that one call may take.
    pub call: Duration,
}

/// What an operator holds that may work.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// What its writes pass.
    pub fence: Fence,
    /// The number of its term; none where nobody else is meant to run and nothing is elected.
    pub term: Option<u32>,
}

impl Leadership {
    /// That of an operator that runs alone.
    #[must_use]
    pub fn alone() -> Self {
        Self { fence: Fence(None), term: None }
    }
}

/// Lets writes through as long as no other replica can have taken over before they end.
#[derive(Clone, Debug)]
pub struct Fence(Option<watch::Receiver<Instant>>);

impl Fence {
    /// Whether what begins now and takes at most `time` ends within the holder's time.
    #[must_use]
    pub fn lets_through(&self, time: Duration) -> bool {
        self.0.as_ref().is_none_or(|until| Instant::now() + time <= *until.borrow())
    }
}
