use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use portcullis::behavior::{
    Attempt, AttemptedItem, Installation, NotedOutcome, Profile, Profiles, Seen,
};
use portcullis::settings::Settings;

/// A cluster as behaviour knows it, which decides as the policy `baseline` does.
#[derive(Clone, Debug)]
pub struct Site {
    profiles: Profiles,
    settings: Settings,
    created: BTreeMap<String, DateTime<Utc>>,
    made: usize,
    /// What was counted in the learning period.
    pub learning: Tally,
    /// What was counted after it.
    pub after: Tally,
}

/// What the attempts of a time came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All attempts.
    pub attempts: usize,
    /// Those with an anomaly.
    pub anomalous: usize,
    /// Those that were alerted.
    pub alerted: usize,
    /// Those that were denied.
    pub denied: usize,
    /// Those that were deferred.
    pub deferred: usize,
    /// Anomalies by detector.
    pub by_detector: BTreeMap<&'static str, usize>,
}

/// What `baseline` makes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Granted.
    Allowed,
    /// Granted, and somebody is told.
    Alerted,
    /// To be tried again later.
    Deferred,
    /// Refused.
    Denied,
}

/// Midnight before the Monday on which the site was installed.
pub(super) fn installed_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_022_400, 0).unwrap_or_default()
}

impl Site {
    pub(super) fn new() -> Self {
        Self {
            profiles: Profiles::default(),
            settings: Settings::default(),
            created: BTreeMap::new(),
            made: 0,
            learning: Tally::default(),
            after: Tally::default(),
        }
    }

    /// Decides on a new request, or a new spec of one, and takes it in. Says how many anomalies it had.
    pub(super) fn ask(
        &mut self,
        at: DateTime<Utc>,
        (namespace, request): (&str, &str),
        consumer: Option<&str>,
        items: Vec<AttemptedItem>,
    ) -> (usize, Verdict) {
        let attempt = self.attempt(at, (namespace, request), consumer, items);
        let seen = self.look(&attempt);
        let (risk, verdict) = baseline(&seen, &attempt);
        let outcome = match verdict {
            Verdict::Allowed | Verdict::Alerted => NotedOutcome::Granted { risk },
            Verdict::Deferred => NotedOutcome::Deferred,
            Verdict::Denied => NotedOutcome::Denied { risk },
        };
        self.profiles.note(&attempt, outcome, &seen, at);
        let tally = if seen.history.learning { &mut self.learning } else { &mut self.after };
        tally.count(&seen, verdict);
        (seen.anomalies.len(), verdict)
    }

    /// Takes in that another policy denied a request, whatever its past.
    pub(super) fn refuse(
        &mut self,
        at: DateTime<Utc>,
        of: (&str, &str),
        items: Vec<AttemptedItem>,
    ) {
        let attempt = self.attempt(at, of, None, items);
        let seen = self.look(&attempt);
        self.profiles.note(&attempt, NotedOutcome::Denied { risk: 100 }, &seen, at);
    }

    /// Says when a namespace was created; one that nobody speaks of is a month older than the site.
    pub(super) fn create_namespace(&mut self, namespace: &str, at: DateTime<Utc>) {
        self.created.insert(namespace.to_owned(), at);
    }

    /// The stored profile of a namespace is deleted, and the operator starts anew with what is stored.
    pub(super) fn lose_profile(&mut self, namespace: &str) {
        let mut restarted = Profiles::default();
        for (name, profile) in self.profiles.iter().filter(|(name, _)| *name != namespace) {
            let stored = profile.seal(name, |_| String::new());
            let read = Profile::open(name, &stored, |_, _| true);
            restarted.load(name, read.unwrap_or_else(|_| profile.clone()));
        }
        self.profiles = restarted;
    }

    fn look(&self, attempt: &Attempt) -> Seen {
        let installation =
            Installation { installed_at: installed_at(), learning: self.settings.learning };
        self.profiles.look(attempt, &installation, &self.settings.behavior)
    }

    fn attempt(
        &mut self,
        at: DateTime<Utc>,
        (namespace, request): (&str, &str),
        consumer: Option<&str>,
        items: Vec<AttemptedItem>,
    ) -> Attempt {
        self.made += 1;
        let old = installed_at() - TimeDelta::days(30);
        Attempt {
            namespace: namespace.to_owned(),
            namespace_created: Some(self.created.get(namespace).copied().unwrap_or(old)),
            request: request.to_owned(),
            uid: format!("uid-{}", self.made),
            spec: format!("spec-{}", self.made),
            consumer: consumer.map(str::to_owned),
            items,
            at,
        }
    }
}

impl Tally {
    fn count(&mut self, seen: &Seen, verdict: Verdict) {
        self.attempts += 1;
        self.anomalous += usize::from(!seen.anomalies.is_empty());
        self.alerted += usize::from(verdict == Verdict::Alerted);
        self.denied += usize::from(verdict == Verdict::Denied);
        self.deferred += usize::from(verdict == Verdict::Deferred);
        for anomaly in &seen.anomalies {
            *self.by_detector.entry(anomaly.detector.as_str()).or_default() += 1;
        }
    }
}

/// The scoring of `baseline`: 20 an anomaly, 30 for production; alert from 50, deny from 70; more than 100 new
/// items in an hour are deferred. While it learns, neither denies nor defers.
fn baseline(seen: &Seen, attempt: &Attempt) -> (i32, Verdict) {
    let is_live = attempt.items.iter().any(|i| i.environment.as_deref() == Some("production"));
    let anomalies = i32::try_from(seen.anomalies.len()).unwrap_or(i32::MAX);
    let risk = anomalies.saturating_mul(20).saturating_add(if is_live { 30 } else { 0 }).min(100);
    let history = seen.history;
    let is_over_rate =
        history.new_items > 0 && history.new_items_last_hour + history.new_items > 100;
    let verdict = match risk {
        70.. if !history.learning => Verdict::Denied,
        _ if is_over_rate && !history.learning => Verdict::Deferred,
        50.. => Verdict::Alerted,
        _ if is_over_rate => Verdict::Alerted,
        _ => Verdict::Allowed,
    };
    (risk, verdict)
}

/// An item of a vault, by its number.
pub(super) fn item(vault: &str, environment: Option<&str>, number: usize) -> AttemptedItem {
    AttemptedItem {
        vault_id: format!("vault-{vault}"),
        item_id: format!("{vault}-{number}"),
        vault_name: vault.to_owned(),
        environment: environment.map(str::to_owned),
    }
}

/// A time of a day after the installation.
pub(super) fn at(day: usize, hour: usize, minute: usize) -> DateTime<Utc> {
    let minutes = (day * 24 + hour) * 60 + minute;
    installed_at() + Duration::from_secs(minutes as u64 * 60)
}
