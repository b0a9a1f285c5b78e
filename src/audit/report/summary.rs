//! What a report says, collected one record at a time. What grows with the number of requests alone has a limit.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::OUTCOMES;
use super::time::{Column, Timeline};
use crate::audit::read::{Decision, Item, Record, Request, Secret};

/// The most entries of each list; how many more there are is said.
const LIMIT: usize = 100_000;

/// Figures by outcome, in the order of [`OUTCOMES`].
pub type Outcomes = [u64; OUTCOMES.len()];

/// A request that was denied.
#[derive(Clone, Debug)]
pub struct Denied {
    /// How often.
    pub times: u64,
    /// When last.
    pub last: DateTime<Utc>,
    /// Why, the last time.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// What the request said that it is for.
    pub purpose: String,
}

/// A Secret that was made of something else than what Connect confirms.
#[derive(Clone, Debug)]
pub struct Served {
    /// How often.
    pub times: u64,
    /// When last.
    pub last: DateTime<Utc>,
}

/// Who holds what.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The items.
    pub items: Vec<String>,
    /// The last change.
    pub change: String,
    /// Where the values came from last, where that was recorded.
    pub source: String,
    /// When it changed last.
    pub last: DateTime<Utc>,
    /// The intent of that change.
    closes: Option<String>,
}

/// A namespace and a request in it.
pub type Name = (String, String);

/// The figures of a report.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Records of the time.
    pub records: u64,
    /// The times of the first and the last of them.
    pub times: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Decisions by outcome.
    pub outcomes: Outcomes,
    /// Denials that have no record of their own.
    pub merged: u64,
    /// Records that were given up, of which nothing here knows.
    pub lost: u64,
    /// Decisions over time.
    pub timeline: Timeline,
    /// Rules that matched, by policy and name.
    pub factors: BTreeMap<Name, u64>,
    /// Denied requests.
    pub denied: BTreeMap<Name, Denied>,
    /// What was delivered of something else than Connect's values, by request and source.
    pub served: BTreeMap<(String, String, String), Served>,
    /// Changes of Secrets, by what changed.
    pub changes: BTreeMap<String, u64>,
    /// Who holds what at the end of the time, by namespace, request and Secret.
    pub holders: BTreeMap<(String, String, String), Holder>,
    /// Intents whose end is not recorded, with their requests.
    pub open: BTreeMap<String, Name>,
    /// Whether a list is at its limit.
    pub cut: bool,
}

impl Summary {
    /// Takes a record in. One from before the time tells only of what is held.
    pub(super) fn take(&mut self, record: &Record, within: bool) {
        if within {
            self.records += 1;
            let (first, last) = self.times.unwrap_or((record.time, record.time));
            self.times = Some((first.min(record.time), last.max(record.time)));
        }
        if within && let Some(merged) = &record.merged {
            self.merged += merged.count;
            self.count(record.time, 4, merged.count, None);
        }
        if within && let Some(lost) = &record.lost {
            self.lost += lost.count;
        }
        let Record { request: Some(request), .. } = record else { return };
        let name = (request.namespace.clone(), request.name.clone());
        match (record.kind.as_str(), &record.decision, &record.secret) {
            ("decision", Some(decision), _) if within => self.decided(record, request, decision),
            ("intent", ..) if self.has_room(self.open.len()) => {
                self.open.insert(format!("{}-{}", record.stream, record.sequence), name);
            }
            ("failed", ..) => {
                self.close(record.closes.as_deref());
            }
            ("write", _, Some(secret)) => self.wrote(record, name, secret, within),
            _ => {}
        }
    }

    fn has_room(&mut self, length: usize) -> bool {
        self.cut |= length >= LIMIT;
        length < LIMIT
    }

    /// Closes an intent. Says whether it was open.
    fn close(&mut self, intent: Option<&str>) -> bool {
        intent.is_some_and(|intent| self.open.remove(intent).is_some())
    }

    fn count(&mut self, time: DateTime<Utc>, outcome: usize, times: u64, risk: Option<u64>) {
        let mut column = Column::default();
        if let (Some(all), Some(now)) =
            (self.outcomes.get_mut(outcome), column.outcomes.get_mut(outcome))
        {
            *all += times;
            *now = times;
        }
        if let Some(risk) = risk {
            (column.risk_sum, column.scored, column.risk_max) = (risk * times, times, risk);
        }
        self.timeline.add(time, &column);
    }

    fn decided(&mut self, record: &Record, request: &Request, decision: &Decision) {
        let times = record.repeated.unwrap_or(1).clamp(1, 1 << 32);
        let other = OUTCOMES.len() - 1;
        let outcome = OUTCOMES.iter().position(|o| *o == decision.outcome).unwrap_or(other);
        let risk = u64::try_from(decision.risk_score).unwrap_or(0).min(100);
        self.count(record.time, outcome, times, Some(risk));
        let factors: BTreeSet<Name> =
            decision.factors.iter().map(|f| (f.policy.clone(), f.rule.clone())).collect();
        for factor in factors {
            if self.factors.contains_key(&factor) || self.has_room(self.factors.len()) {
                *self.factors.entry(factor).or_default() += times;
            }
        }
        let name = (request.namespace.clone(), request.name.clone());
        if decision.outcome == "Denied"
            && (self.denied.contains_key(&name) || self.has_room(self.denied.len()))
        {
            let before = self.denied.get(&name).map_or(0, |denied| denied.times);
            let denied = Denied {
                times: before + times,
                last: record.time,
                reason: decision.reason.clone(),
                message: decision.message.clone(),
                purpose: request.purpose.clone(),
            };
            self.denied.insert(name, denied);
        }
    }

    fn wrote(&mut self, record: &Record, name: Name, secret: &Secret, within: bool) {
        let was_open = self.close(record.closes.as_deref());
        let (namespace, request) = name;
        let key = (namespace, request, secret.name.clone());
        let before = self.holders.get(&key).map(|b| (b.source.clone(), b.closes.clone()));
        // Told of already: what was found is what was recorded.
        let is_known = |(_, closes): &(String, Option<String>)| *closes == record.closes;
        if record.closes.is_some() && before.as_ref().is_some_and(is_known) {
            return;
        }
        // Its deletion was recorded just before a kill, and once more after it.
        if secret.change == "gone" && !was_open && before.is_none() {
            return;
        }
        if within {
            *self.changes.entry(secret.change.clone()).or_default() += 1;
        }
        let source = secret.source.clone();
        if let Some(source) = source.as_ref().filter(|s| within && *s != "Connect") {
            let key = (key.0.clone(), key.1.clone(), source.clone());
            if self.served.contains_key(&key) || self.has_room(self.served.len()) {
                let served =
                    self.served.entry(key).or_insert(Served { times: 0, last: record.time });
                served.times += 1;
                served.last = record.time;
            }
        }
        if matches!(&*secret.change, "taken back" | "deleted" | "gone") {
            self.holders.remove(&key);
            return;
        }
        let holder = Holder {
            items: record.items.iter().map(Item::label).collect(),
            change: secret.change.clone(),
            source: source
                .or_else(|| before.as_ref().map(|(source, _)| source.clone()))
                .unwrap_or_else(|| "not recorded".to_owned()),
            last: record.time,
            closes: record.closes.clone(),
        };
        if before.is_some() || self.has_room(self.holders.len()) {
            self.holders.insert(key, holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a request `orders`, with more fields.
    fn record(kind: &str, more: &str) -> Record {
        let line = format!(
            r#"{{"stream":"s","sequence":1,"time":"2026-03-02T09:14:06Z","kind":"{kind}",{more}}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    fn write(change: &str) -> Record {
        let request = r#""request":{"namespace":"shop","name":"orders","uid":"u"}"#;
        let secret = format!(r#""secret":{{"name":"orders","change":"{change}"}}"#);
        record("write", &format!("{request},{secret},\"items\":[]"))
    }

    #[test]
    fn whoever_has_lost_a_secret_holds_nothing_any_more() {
        for gone in ["taken back", "deleted", "gone"] {
            let mut summary = Summary::default();
            summary.take(&write("created"), true);
            assert_eq!(summary.holders.len(), 1);
            summary.take(&write(gone), true);
            assert!(summary.holders.is_empty(), "{gone}");
        }
    }

    #[test]
    fn records_that_were_given_up_are_counted() {
        let mut summary = Summary::default();
        let lost = record("lost", r#""lost":{"count":7,"since":"2026-03-02T09:14:00Z"}"#);
        summary.take(&lost, false);
        assert_eq!(summary.lost, 0);
        summary.take(&lost, true);
        assert_eq!(summary.lost, 7);
    }
}
