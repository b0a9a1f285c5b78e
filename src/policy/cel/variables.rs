use std::collections::{BTreeMap, BTreeSet};

/// What rules may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy) enum Variable {
    Anomalies,
    History,
    Namespace,
    Now,
    Refs,
    Request,
    Requester,
    Service,
}

use Variable::{Anomalies, History, Namespace, Now, Refs, Request, Requester, Service};

/// All of them.
pub(super) const ALL: [Variable; 8] =
    [Anomalies, History, Namespace, Now, Refs, Request, Requester, Service];

impl Variable {
    pub(super) fn of(name: &str) -> Option<Self> {
        ALL.into_iter().find(|variable| variable.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Anomalies => "anomalies",
            History => "history",
            Namespace => "namespace",
            Now => "now",
            Refs => "refs",
            Request => "request",
            Requester => "requester",
            Service => "service",
        }
    }

    /// Whether it will be otherwise in a while, whatever anybody does.
    fn is_transient(self) -> bool {
        matches!(self, Anomalies | History | Now | Service)
    }

    /// Its members, where they are fixed. Those of a list are its elements'.
    pub(super) fn members(self) -> Option<&'static [&'static str]> {
        Some(match self {
            Anomalies => &["detector", "message"],
            History => HISTORY,
            Namespace => &["labels", "name"],
            // A time.
            Now => &[],
            Refs => &[
                "class",
                "environment",
                "field",
                "item",
                "itemId",
                "key",
                "section",
                "type",
                "vault",
                "vaultId",
            ],
            Request => &["claims", "fallbackSecret", "name", "namespace", "secretName"],
            Requester => &["name", "verified"],
            Service => &["reachable", "secondsSinceAnswer"],
        })
    }

    /// What an element of it is called, where it is a list.
    pub(super) fn element(self) -> Option<&'static str> {
        match self {
            Refs => Some("a reference"),
            Anomalies => Some("an anomaly"),
            History | Namespace | Now | Request | Requester | Service => None,
        }
    }
}

/// The members of `history`, which are the fields of [`crate::behavior::History`].
const HISTORY: &[&str] = &[
    "anomalies",
    "averageRisk",
    "denialsLastDay",
    "firstSeenSeconds",
    "grants",
    "items",
    "learning",
    "maxRisk",
    "newItems",
    "newItemsLastHour",
    "secondsSinceLastGrant",
    "vaultItemsLastDay",
    "vaults",
];

/// The members of `request.claims`.
pub(super) const CLAIMS: &[&str] = &["consumer", "environment", "purpose"];

/// The variables that expressions read, and which members of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::policy) struct Reads(BTreeMap<Variable, Members>);

/// What is read of a variable, or of the elements of one that is a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Members {
    /// These alone.
    Only(BTreeSet<&'static str>),
    /// Whatever there is: the whole of it is copied, compared or looked into in a way that nobody follows here.
    All,
}

impl Members {
    pub(super) fn include(&self, member: &str) -> bool {
        match self {
            Self::Only(members) => members.contains(member),
            Self::All => true,
        }
    }

    fn add(&mut self, others: &Self) {
        match (&mut *self, others) {
            (Self::Only(members), Self::Only(others)) => members.extend(others),
            _ => *self = Self::All,
        }
    }
}

impl Reads {
    /// It is there or not, or has so many elements.
    pub(super) fn add(&mut self, variable: Variable) {
        self.add_members(variable, &Members::Only(BTreeSet::new()));
    }

    pub(super) fn add_member(&mut self, variable: Variable, member: &str) {
        let known = variable.members().unwrap_or_default().iter().find(|known| **known == member);
        let members = known.map_or(Members::All, |known| Members::Only([*known].into()));
        self.add_members(variable, &members);
    }

    pub(super) fn add_whole(&mut self, variable: Variable) {
        self.add_members(variable, &Members::All);
    }

    /// What the other reads as well.
    pub(in crate::policy) fn add_all(&mut self, other: &Self) {
        for (variable, members) in &other.0 {
            self.add_members(*variable, members);
        }
    }

    fn add_members(&mut self, variable: Variable, members: &Members) {
        match self.0.get_mut(&variable) {
            Some(known) => known.add(members),
            None => {
                self.0.insert(variable, members.clone());
            }
        }
    }

    /// What is read of a variable; nothing of one that is not.
    pub(super) fn of(&self, variable: Variable) -> Option<&Members> {
        self.0.get(&variable)
    }

    /// Whether an answer may be otherwise in a while, whatever anybody does.
    pub(in crate::policy) fn is_transient(&self) -> bool {
        self.0.keys().any(|variable| variable.is_transient())
    }

    /// Whether it may be otherwise for no other reason than that time passes: what is unusual about a request is
    /// settled when it is decided on first.
    pub(in crate::policy) fn is_timed(&self) -> bool {
        self.0.keys().any(|variable| matches!(variable, History | Now | Service))
    }
}

/// The names of all variables, for a message.
pub(super) fn names() -> String {
    let names: Vec<&str> = ALL.iter().map(|variable| variable.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_all_of_history() {
        let history = serde_json::to_value(crate::behavior::History::default()).unwrap();
        let fields: Vec<&str> = history.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, HISTORY);
    }
}
