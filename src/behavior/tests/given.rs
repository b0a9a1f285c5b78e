//! A world with a history: one set of profiles, and a clock that is moved by hand.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::behavior::{
    Attempt, AttemptedItem, Detector, History, Installation, Limits, NotedOutcome, Profiles, Seen,
};

/// A vault, and where what is in it is used.
pub(super) type Vault = (&'static str, Option<&'static str>);

pub(super) const TOOLS: Vault = ("tools", None);
pub(super) const LIVE: Vault = ("live", Some("production"));

/// 10:00 on the day on which Portcullis was installed.
pub(super) fn installed_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_899_972_000, 0).unwrap()
}

pub(super) struct World {
    pub(super) profiles: Profiles,
    pub(super) limits: Limits,
    pub(super) now: DateTime<Utc>,
    made: usize,
}

impl World {
    /// One in which the learning period is just over.
    pub(super) fn new() -> Self {
        Self {
            profiles: Profiles::default(),
            limits: Limits::default(),
            now: installed_at() + TimeDelta::days(14),
            made: 0,
        }
    }

    /// One in which `shop` has had an item of each of two vaults, granted on forty days from 10:00 to 15:00.
    pub(super) fn with_habits() -> Self {
        let mut world = Self { now: installed_at(), ..Self::new() };
        for day in 0..40 {
            for vault in [TOOLS, LIVE] {
                let attempt = world.attempt("shop", "web", vault, 0..1);
                world.grant(&attempt);
            }
            world.pass(TimeDelta::hours(if day % 2 == 0 { 29 } else { 19 }));
        }
        world
    }

    /// Another world with the same past.
    pub(super) fn twin(&self) -> Self {
        Self { profiles: self.profiles.clone(), limits: self.limits.clone(), ..*self }
    }

    pub(super) fn pass(&mut self, time: TimeDelta) {
        self.now += time;
    }

    /// A request that was not there before, for items by their numbers.
    pub(super) fn attempt(
        &mut self,
        namespace: &str,
        request: &str,
        (vault, environment): Vault,
        items: std::ops::Range<usize>,
    ) -> Attempt {
        self.made += 1;
        let items = items.map(|number| AttemptedItem {
            vault_id: format!("vault-{vault}"),
            item_id: format!("item-{vault}-{number}"),
            vault_name: vault.to_owned(),
            environment: environment.map(str::to_owned),
        });
        Attempt {
            namespace: namespace.to_owned(),
            namespace_created: None,
            request: request.to_owned(),
            uid: format!("uid-{}", self.made),
            spec: format!("spec-{}", self.made),
            consumer: None,
            items: items.collect(),
            at: self.now,
        }
    }

    pub(super) fn look(&self, attempt: &Attempt) -> Seen {
        let learning = Duration::from_secs(14 * 24 * 3600);
        let installation = Installation { installed_at: installed_at(), learning };
        self.profiles.look(attempt, &installation, &self.limits)
    }

    pub(super) fn sees(&self, attempt: &Attempt) -> Vec<Detector> {
        self.look(attempt).anomalies.iter().map(|anomaly| anomaly.detector).collect()
    }

    pub(super) fn history(&self, attempt: &Attempt) -> History {
        self.look(attempt).history
    }

    pub(super) fn message(&self, attempt: &Attempt, detector: Detector) -> String {
        let seen = self.look(attempt).anomalies.into_iter();
        let mut found = seen.filter(|anomaly| anomaly.detector == detector);
        found.next().expect("the detector fires").message
    }

    pub(super) fn note(&mut self, attempt: &Attempt, outcome: NotedOutcome) {
        let seen = self.look(attempt);
        self.profiles.note(attempt, outcome, &seen, self.now);
    }

    pub(super) fn grant(&mut self, attempt: &Attempt) {
        self.note(attempt, NotedOutcome::Granted { risk: 10 });
    }

    pub(super) fn deny(&mut self, attempt: &Attempt) {
        self.note(attempt, NotedOutcome::Denied { risk: 80 });
    }

    /// Grants items one by one, and returns at which of them a detector first fired.
    pub(super) fn first_seen_at(
        &mut self,
        detector: Detector,
        attempts: impl IntoIterator<Item = Attempt>,
    ) -> Option<usize> {
        let mut first = None;
        for (number, mut attempt) in attempts.into_iter().enumerate() {
            attempt.at = self.now;
            if first.is_none() && self.sees(&attempt).contains(&detector) {
                first = Some(number + 1);
            }
            self.grant(&attempt);
        }
        first
    }

    /// One attempt for each of some items.
    pub(super) fn one_by_one(
        &mut self,
        namespace: &str,
        vault: Vault,
        items: std::ops::Range<usize>,
    ) -> Vec<Attempt> {
        items.map(|n| self.attempt(namespace, &format!("one-{n}"), vault, n..n + 1)).collect()
    }
}
