//! What a Lease says, and what is written to it. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use tokio::time::Instant;

/// What a candidate remembers of the Lease.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// The Lease as it was seen last, and since when it has been so.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What a candidate makes of the Lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be taken. The last term was `term`.
    Free {
        /// The last term; 0 when there was none.
        term: u32,
    },
    /// Another one holds it.
    Held {
        /// Who.
        by: String,
    },
}

impl Sight {
    /// Looks at the Lease as it was read before `now`. A Lease with the candidate's own name is free: whoever held it under
    /// that name has ended. One that was deleted counts as it was, so that its holder can make it anew.
    pub(super) fn look(
        &mut self,
        lease: Option<&LeaseSpec>,
        me: &str,
        duration: Duration,
        now: Instant,
    ) -> Standing {
        let (lease, since) = match (lease, self.seen.take()) {
            (None, None) => return Standing::Free { term: 0 },
            (None, Some(seen)) => seen,
            (Some(lease), Some((seen, since))) if *lease == seen => (seen, since),
            (Some(lease), _) => (lease.clone(), now),
        };
        let holder = lease.holder_identity.clone().unwrap_or_default();
        let free = Standing::Free { term: term(&lease) };
        if holder.is_empty() || holder == me {
            return free;
        }
        // What the holder says of itself counts where it is longer: it may be of another version.
        let declared = lease.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
        let left_alone = duration.max(Duration::from_secs(declared.unwrap_or(0)));
        self.seen = Some((lease, since));
        if now.duration_since(since) >= left_alone { free } else { Standing::Held { by: holder } }
    }
}

/// The term that a Lease tells of.
pub(super) fn term(lease: &LeaseSpec) -> u32 {
    lease.lease_transitions.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// A Lease that `me` takes for a term.
pub(super) fn taken(me: &str, term: u32, duration: Duration) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        acquire_time: Some(now()),
        renew_time: Some(now()),
        lease_transitions: i32::try_from(term).ok(),
        ..LeaseSpec::default()
    }
}

/// The same Lease, renewed.
pub(super) fn renewed(lease: &LeaseSpec) -> LeaseSpec {
    LeaseSpec { renew_time: Some(now()), ..lease.clone() }
}

/// The same Lease, given up: the next one need not wait.
pub(super) fn given_up(lease: &LeaseSpec) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        ..renewed(lease)
    }
}

/// For people: no clock is held against another one's.
fn now() -> MicroTime {
    MicroTime(jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held(by: &str) -> LeaseSpec {
        taken(by, 4, DURATION)
    }

    fn is_held(by: &str) -> Standing {
        Standing::Held { by: by.to_owned() }
    }

    #[test]
    fn what_nobody_holds_is_free() {
        let (mut sight, now) = (Sight::default(), Instant::now());
        assert_eq!(sight.look(None, "me", DURATION, now), Standing::Free { term: 0 });
        let lease = given_up(&held("other"));
        assert_eq!(sight.look(Some(&lease), "me", DURATION, now), Standing::Free { term: 4 });
    }

    #[test]
    fn one_who_comes_back_under_the_holders_name_need_not_wait() {
        let (mut sight, now) = (Sight::default(), Instant::now());
        let standing = sight.look(Some(&held("me")), "me", DURATION, now);
        assert_eq!(standing, Standing::Free { term: 4 });
    }

    #[test]
    fn a_holder_is_left_alone_until_it_was_seen_unchanged_for_the_whole_time() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        // Its own times are long past: another one's clock says nothing.
        let long_ago = Some(MicroTime(jiff::Timestamp::UNIX_EPOCH));
        let lease = LeaseSpec { renew_time: long_ago, ..held("other") };
        assert_eq!(sight.look(Some(&lease), "me", DURATION, start), is_held("other"));
        let before = start + DURATION - Duration::from_millis(1);
        assert_eq!(sight.look(Some(&lease), "me", DURATION, before), is_held("other"));
        let after = start + DURATION;
        assert_eq!(sight.look(Some(&lease), "me", DURATION, after), Standing::Free { term: 4 });
    }

    #[test]
    fn each_renewal_begins_the_time_anew() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        let first = held("other");
        sight.look(Some(&first), "me", DURATION, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let second = renewed(&first);
        assert_eq!(sight.look(Some(&second), "me", DURATION, at(14)), is_held("other"));
        assert_eq!(sight.look(Some(&second), "me", DURATION, at(28)), is_held("other"));
        assert_eq!(sight.look(Some(&second), "me", DURATION, at(29)), Standing::Free { term: 4 });
    }

    #[test]
    fn a_deleted_lease_is_left_to_its_holder_for_as_long_as_it_holds() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        sight.look(Some(&held("other")), "me", DURATION, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(sight.look(None, "me", DURATION, at(14)), is_held("other"));
        assert_eq!(sight.look(None, "me", DURATION, at(15)), Standing::Free { term: 4 });
    }

    #[test]
    fn a_holder_that_declares_a_longer_time_gets_it_and_no_shorter_one_counts() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        for (declared, lasts) in [(60, 60), (1, 15), (-5, 15)] {
            let lease = LeaseSpec { lease_duration_seconds: Some(declared), ..held("other") };
            sight.look(Some(&lease), "me", DURATION, start);
            let at = |seconds| start + Duration::from_secs(seconds);
            let before = sight.look(Some(&lease), "me", DURATION, at(lasts - 1));
            assert_eq!(before, is_held("other"), "{declared}");
            let after = sight.look(Some(&lease), "me", DURATION, at(lasts));
            assert_eq!(after, Standing::Free { term: 4 }, "{declared}");
        }
    }

    #[test]
    fn a_term_that_is_none_counts_as_the_first() {
        for transitions in [None, Some(-1)] {
            assert_eq!(term(&LeaseSpec { lease_transitions: transitions, ..held("x") }), 0);
        }
    }
}
