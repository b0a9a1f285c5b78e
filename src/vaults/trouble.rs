use std::time::{Duration, SystemTime};

use crate::connect::{Class, ConnectError};

/// A failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The last failure.
    pub error: ConnectError,
    /// When it was last well, or first asked; of a refusal, when it was said first.
    pub since: SystemTime,
    /// When a refusal was said last; nothing where an outage came before it was believed.
    pub(super) said: Option<SystemTime>,
}

impl Trouble {
    /// What a failure makes of what there was before, where everything was well last at a time. A refusal counts
    /// by its reason, and stands until there is another answer: an outage neither takes it back nor, before it is
    /// believed, makes it older.
    #[must_use]
    pub fn following(
        before: Option<&Self>,
        error: ConnectError,
        well: SystemTime,
        now: SystemTime,
        confirm: Duration,
    ) -> Self {
        let refused = before.filter(|b| b.is_refusal());
        if !is_refusal(&error) {
            let since = before.map_or(well, |b| b.since);
            let unavailable = Self { error, since, said: None };
            return refused.map_or(unavailable, |b| b.interrupted(confirm));
        }
        let same = refused.filter(|b| b.said.is_some() && b.error.reason() == error.reason());
        Self { error, since: same.map_or(now, |b| b.since), said: Some(now) }
    }

    /// Whether 1Password said no, as against nothing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        is_refusal(&self.error)
    }

    /// How long it has lasted: a refusal from the first to the last time that it was said, so that time in which
    /// nobody asked makes it no truer.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        let until = if self.is_refusal() { self.said } else { Some(SystemTime::now()) };
        until.and_then(|until| until.duration_since(self.since).ok()).unwrap_or_default()
    }

    /// After an outage: a refusal that was not believed before it has to last anew.
    #[must_use]
    pub fn interrupted(&self, confirm: Duration) -> Self {
        let said = self.said.filter(|_| self.lasted() >= confirm);
        Self { said, ..self.clone() }
    }
}

fn is_refusal(error: &ConnectError) -> bool {
    matches!(error.class(), Class::Refused | Class::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{Cause, Failure, Subject};

    const CONFIRM: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What a row of failures comes to, each with when it came.
    fn after(failures: &[(Failure, u64)]) -> Trouble {
        let follow = |before: Option<Trouble>, (failure, seconds): &(Failure, u64)| {
            let error = ConnectError::new(&"https://a".into(), Subject::Vaults, *failure);
            Some(Trouble::following(before.as_ref(), error, at(0), at(*seconds), CONFIRM))
        };
        failures.iter().fold(None, follow).unwrap()
    }

    fn lasted(failures: &[(Failure, u64)]) -> (Failure, u64) {
        let trouble = after(failures);
        (trouble.error.failure(), trouble.lasted().as_secs())
    }

    use Failure::{BadRequest, Forbidden, NotFound, Unauthorized};
    const AWAY: Failure = Failure::NoAnswer(Cause::Refused);

    #[test]
    fn a_refusal_lasts_from_the_first_time_that_it_is_said_to_the_last() {
        assert_eq!(lasted(&[(Forbidden, 10)]), (Forbidden, 0));
        assert_eq!(lasted(&[(Forbidden, 10), (Forbidden, 50), (Forbidden, 71)]), (Forbidden, 61));
    }

    #[test]
    fn a_refusal_for_another_reason_is_another_one() {
        for other in [Unauthorized, NotFound] {
            assert_eq!(lasted(&[(Forbidden, 10), (other, 70)]), (other, 0));
            assert_eq!(lasted(&[(Forbidden, 10), (other, 70), (Forbidden, 80)]), (Forbidden, 0));
        }
    }

    #[test]
    fn no_outage_takes_a_refusal_back() {
        for other in [AWAY, BadRequest] {
            assert_eq!(lasted(&[(Forbidden, 10), (other, 20)]), (Forbidden, 0));
            let believed = [(Forbidden, 10), (Forbidden, 70), (other, 80), (other, 500)];
            assert_eq!(lasted(&believed), (Forbidden, 60));
        }
    }

    #[test]
    fn a_refusal_that_was_not_believed_before_an_outage_has_to_last_anew() {
        let interrupted = [(Forbidden, 10), (Forbidden, 60), (AWAY, 61), (Forbidden, 200)];
        assert_eq!(lasted(&interrupted), (Forbidden, 0));
        let again = [&interrupted[..], &[(Forbidden, 240)]].concat();
        assert_eq!(lasted(&again), (Forbidden, 40));
        assert_eq!(after(&again).since, at(200));
    }

    #[test]
    fn a_refusal_that_was_believed_before_an_outage_is_so_after_it() {
        let believed = [(Forbidden, 10), (Forbidden, 70), (AWAY, 80), (Forbidden, 200)];
        assert_eq!(lasted(&believed), (Forbidden, 190));
    }

    #[test]
    fn an_outage_lasts_since_everything_was_well_whatever_it_looks_like() {
        let trouble = after(&[(AWAY, 10), (Failure::NotJson, 20)]);
        assert_eq!((trouble.error.failure(), trouble.since), (Failure::NotJson, at(0)));
        assert!(!trouble.is_refusal() && trouble.lasted() > CONFIRM);
    }
}
