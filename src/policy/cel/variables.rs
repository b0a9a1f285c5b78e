use std::collections::BTreeSet;

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
const ALL: [Variable; 8] = [Anomalies, History, Namespace, Now, Refs, Request, Requester, Service];

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
            Now => return None,
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

/// The variables that an expression reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::policy) struct Reads(BTreeSet<Variable>);

impl Reads {
    pub(super) fn add(&mut self, variable: Variable) {
        self.0.insert(variable);
    }

    /// Whether an answer may be otherwise in a while, whatever anybody does.
    pub(in crate::policy) fn is_transient(&self) -> bool {
        self.0.iter().any(|variable| variable.is_transient())
    }

    /// Whether it may be otherwise for no other reason than that time passes: what is unusual about a request is
    /// settled when it is decided on first.
    pub(in crate::policy) fn is_timed(&self) -> bool {
        self.0.iter().any(|variable| matches!(variable, History | Now | Service))
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
