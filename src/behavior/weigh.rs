//! Deciding on attempts by what is unusual about them, each once: one that is decided on again is the same attempt.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Anomaly, Attempt, Installation, Limits, NotedOutcome, Profiles, Seen};

/// The most attempts that are remembered. One that is forgotten counts as new when it comes again.
const MOST: usize = 16_384;
/// How long one is remembered after it was last decided on.
const LASTS: TimeDelta = TimeDelta::hours(24);

/// The attempts of late.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    /// By UID and spec of the request.
    known: HashMap<(Box<str>, Box<str>), Remembered>,
}

#[derive(Clone, Debug)]
struct Remembered {
    anomalies: Vec<Anomaly>,
    granted: bool,
    at: DateTime<Utc>,
}

/// An attempt as it is to be decided on.
#[derive(Clone, Debug)]
pub struct Look {
    /// What is unusual about it, and the past of its namespace.
    pub seen: Seen,
    /// What is unusual about it and was not told of it before.
    news: Vec<Anomaly>,
    was_granted: bool,
    is_new: bool,
    /// What was known of its namespace.
    revision: u64,
}

/// What came of an attempt.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// What is unusual about it and was not told of it before.
    pub news: Vec<Anomaly>,
    /// Whether the profile of its namespace is another one now.
    pub is_noted: bool,
    /// Whether its vaults gave out something new, so that the profile over all namespaces is another one, too.
    pub has_new_items: bool,
}

impl Profiles {
    /// Decides on an attempt by what is unusual about it, and takes in what it came to. `decide` says what that is to
    /// past behaviour: nothing where no rule was asked for a reason that is not the requester's.
    pub fn weigh<V>(
        &mut self,
        attempt: &Attempt,
        installation: &Installation,
        limits: &Limits,
        decide: impl FnOnce(Seen) -> (V, Option<NotedOutcome>),
    ) -> (V, Noted) {
        let look = self.begin(attempt, installation, limits);
        let (verdict, outcome) = decide(look.seen.clone());
        (verdict, self.finish(attempt, look, outcome))
    }

    /// The first half of [`Profiles::weigh`], for those who decide while others look.
    #[must_use]
    pub fn begin(&self, attempt: &Attempt, installation: &Installation, limits: &Limits) -> Look {
        let mut seen = self.look(attempt, installation, limits);
        let before = self.attempts.get(attempt);
        let was_granted = before.is_some_and(|before| before.granted);
        // What was denied before a restart is no other attempt after it.
        let is_new = before.is_none() && !self.was_denied(attempt);
        let mut news = Vec::new();
        match before.map(|before| before.anomalies.clone()) {
            // It is the same attempt: what was found unusual about it is not news the second time, nor usual.
            Some(found) if was_granted => seen.anomalies = found,
            // What waits meets all that was granted since, and keeps what was found by then.
            Some(found) => {
                let is_known = |a: &Anomaly| found.iter().any(|known| known.detector == a.detector);
                news.extend(seen.anomalies.iter().filter(|a| !is_known(a)).cloned());
                seen.anomalies = found;
                seen.anomalies.extend(news.iter().cloned());
            }
            None if is_new => news.clone_from(&seen.anomalies),
            None => {}
        }
        Look { seen, news, was_granted, is_new, revision: self.revision(&attempt.namespace) }
    }

    /// Whether what was looked at is still as it was.
    #[must_use]
    pub fn stands(&self, attempt: &Attempt, look: &Look) -> bool {
        self.revision(&attempt.namespace) == look.revision
    }

    /// The second half: takes in what an attempt came to.
    pub fn finish(
        &mut self,
        attempt: &Attempt,
        look: Look,
        outcome: Option<NotedOutcome>,
    ) -> Noted {
        let Look { seen, news, was_granted, is_new, revision: _ } = look;
        let Some(outcome) = outcome else { return Noted::default() };
        let is_granted = matches!(outcome, NotedOutcome::Granted { .. });
        let is_noted = is_new || (is_granted && !was_granted);
        if is_noted {
            self.note(attempt, outcome, &seen, attempt.at);
        }
        let has_new_items = is_noted && is_granted && seen.history.new_items > 0;
        self.attempts.put(attempt, seen.anomalies, is_granted || was_granted);
        Noted { news, is_noted, has_new_items }
    }

    /// Forgets attempts that were over a day ago.
    pub fn forget_attempts(&mut self, now: DateTime<Utc>) {
        self.attempts.known.retain(|_, remembered| now - remembered.at < LASTS);
    }
}

impl Attempts {
    fn get(&self, attempt: &Attempt) -> Option<&Remembered> {
        self.known.get(&(attempt.uid.as_str().into(), attempt.spec.as_str().into()))
    }

    fn put(&mut self, attempt: &Attempt, anomalies: Vec<Anomaly>, granted: bool) {
        let key = (attempt.uid.as_str().into(), attempt.spec.as_str().into());
        if self.known.len() >= MOST
            && !self.known.contains_key(&key)
            && let Some(oldest) =
                self.known.iter().min_by_key(|(_, r)| r.at).map(|(k, _)| k.clone())
        {
            self.known.remove(&oldest);
        }
        let remembered = Remembered { anomalies, granted, at: attempt.at };
        self.known.insert(key, remembered);
    }
}
