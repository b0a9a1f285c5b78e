//! What a record tells, as the path of a request has it at hand. Never a value.

use std::time::Duration;

use chrono::SecondsFormat;
use serde::Serialize;

use super::grounds::Grounds;
use crate::api::PolicyMode;
use crate::policy::{Decision, Facts, RequestFacts};

/// What a record tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// What happened.
    pub kind: Kind,
    /// The request.
    pub request: RequestLine<'a>,
    /// Who changed the request's spec last, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester<'a>>,
    /// The decision; absent where a write is told of whose decision was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionLine<'a>>,
    /// What it was taken on; in the record of a decision alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grounds: Option<Grounds<'a>>,
    /// What was out of the ordinary.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly<'a>>,
    /// What the policies would have come to that are only tried out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<Trial<'a>>,
    /// The items it is about: ids, names and versions.
    pub items: Vec<ItemLine<'a>>,
    /// The Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretLine<'a>>,
    /// The id of the intent that this closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closes: Option<&'a str>,
    /// Why nothing was written after an intent, or is read and written for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The time since work on the request began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A decision.
    Decision,
    /// A Secret is about to be changed. A `write` or `failed` that closes it tells what became of it.
    Intent,
    /// A change of a Secret.
    Write,
    /// Nothing was changed after an intent.
    Failed,
    /// From here on a grant that stands is not refreshed, since rules of what passes say so.
    Held,
    /// Denials that were too many to be written one by one.
    Merged,
    /// Records that could not be written, where the operator was told to go on without.
    Lost,
}

impl Kind {
    /// The kind as it stands in records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Intent => "intent",
            Self::Write => "write",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Merged => "merged",
            Self::Lost => "lost",
        }
    }
}

/// Who asked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requester<'a> {
    /// The user.
    pub name: &'a str,
    /// Whether the API server vouches for it.
    pub verified: bool,
}

/// Something out of the ordinary.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Anomaly<'a> {
    /// What noticed it.
    pub detector: &'a str,
    /// In words.
    pub message: &'a str,
}

/// What a policy that is only tried out would have come to.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial<'a> {
    /// The policy.
    pub policy: &'a str,
    /// The outcome.
    pub outcome: &'static str,
    /// The score.
    pub risk_score: i32,
}

/// A request in a record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLine<'a> {
    pub(super) namespace: &'a str,
    name: &'a str,
    pub(super) uid: &'a str,
    generation: i64,
    server: &'a str,
    purpose: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_consumer: Option<&'a str>,
}

/// A decision in a record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionLine<'a> {
    outcome: &'static str,
    pub(super) reason: &'static str,
    risk_score: i32,
    digest: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_at: Option<String>,
    factors: Vec<FactorLine<'a>>,
}

#[derive(Debug, Serialize)]
struct FactorLine<'a> {
    policy: &'a str,
    rule: &'a str,
    score: i32,
    message: &'a str,
}

/// An item in a record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemLine<'a> {
    vault: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_name: Option<&'a str>,
    item: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    version: i64,
}

/// A Secret in a record.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretLine<'a> {
    /// The Secret's name.
    pub name: &'a str,
    /// The Secret's UID; an intent to create one has none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<&'a str>,
    /// What changed, or is about to.
    pub change: &'static str,
    /// Where the values came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// The id of the Connect token (`jti`) that the server is asked with, as the token says it itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
}

impl<'a> RequestLine<'a> {
    fn new(request: &'a RequestFacts) -> Self {
        Self {
            namespace: &request.namespace,
            name: &request.name,
            uid: &request.uid,
            generation: request.generation,
            server: &request.server,
            purpose: &request.purpose,
            claimed_environment: request.claimed_environment.as_deref(),
            claimed_consumer: request.claimed_consumer.as_deref(),
        }
    }
}

impl<'a> DecisionLine<'a> {
    fn new(decision: &'a Decision) -> Self {
        Self {
            outcome: decision.outcome.as_str(),
            reason: decision.reason.as_str(),
            risk_score: decision.risk_score,
            digest: &decision.digest,
            message: &decision.message,
            again_at: decision.again_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            factors: decision
                .factors
                .iter()
                .map(|f| FactorLine {
                    policy: &f.policy,
                    rule: &f.rule,
                    score: f.score,
                    message: &f.message,
                })
                .collect(),
        }
    }
}

impl<'a> Entry<'a> {
    fn new(kind: Kind, request: &'a RequestFacts) -> Self {
        Self {
            kind,
            request: RequestLine::new(request),
            requester: None,
            decision: None,
            grounds: None,
            anomalies: Vec::new(),
            trials: Vec::new(),
            items: Vec::new(),
            secret: None,
            closes: None,
            failure: None,
            duration_ms: None,
        }
    }

    /// A decision. Without facts no item is named: it may be one that the namespace must not know of.
    #[must_use]
    pub fn decision(
        request: &'a RequestFacts,
        facts: Option<&'a Facts>,
        decision: &'a Decision,
    ) -> Self {
        let anomalies = decision.anomalies().iter();
        let trials = decision.policies.iter().filter(|p| p.mode == PolicyMode::Audit);
        Self {
            requester: facts
                .and_then(|facts| facts.requester.as_ref())
                .map(|r| Requester { name: &r.name, verified: r.verified }),
            decision: Some(DecisionLine::new(decision)),
            grounds: facts.and_then(|facts| Grounds::of(facts, decision)),
            anomalies: anomalies
                .map(|a| Anomaly { detector: a.detector.as_str(), message: &a.message })
                .collect(),
            trials: trials
                .map(|p| Trial {
                    policy: &p.policy,
                    outcome: p.outcome.as_str(),
                    risk_score: p.score,
                })
                .collect(),
            items: facts.map(items).unwrap_or_default(),
            ..Self::new(Kind::Decision, request)
        }
    }

    /// The same as another kind, about a Secret.
    #[must_use]
    pub fn about(self, kind: Kind, secret: SecretLine<'a>) -> Self {
        Self { kind, secret: Some(secret), grounds: None, ..self }
    }

    /// Closes an intent.
    #[must_use]
    pub fn closing(self, intent: Option<&'a str>) -> Self {
        Self { closes: intent, ..self }
    }

    /// With why nothing was changed.
    #[must_use]
    pub fn failing(self, failure: String) -> Self {
        Self { failure: Some(failure), ..self }
    }

    /// The grant of a decision that stands, and is not refreshed for now.
    #[must_use]
    pub fn held(self, why: &str) -> Self {
        Self { kind: Kind::Held, grounds: None, failure: Some(why.to_owned()), ..self }
    }

    /// With the time since work on the request began.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { duration_ms: u64::try_from(time.as_millis()).ok(), ..self }
    }

    /// What is told of a request without a decision.
    #[must_use]
    pub fn told(request: &'a RequestFacts) -> Self {
        Self::new(Kind::Write, request)
    }

    /// A write that nobody recorded when it was made: what its Secret tells of it. `item_versions` is the
    /// annotation of the Secret that names them.
    #[must_use]
    pub fn found(
        request: &'a RequestFacts,
        uid: &'a str,
        item_versions: &'a str,
        intent: &'a str,
    ) -> Self {
        let items = item_versions.split(',').filter_map(|text| {
            let (ids, version) = text.split_once('@')?;
            let (vault, item) = ids.split_once('/')?;
            let version = version.parse().ok()?;
            Some(ItemLine {
                vault,
                vault_name: None,
                item,
                title: None,
                environment: None,
                version,
            })
        });
        let secret = SecretLine {
            name: &request.secret_name,
            uid: Some(uid),
            change: "found",
            source: None,
            token: None,
        };
        Self { items: items.collect(), ..Self::new(Kind::Write, request) }
            .about(Kind::Write, secret)
            .closing(Some(intent))
    }
}

fn items(facts: &Facts) -> Vec<ItemLine<'_>> {
    let mut lines: Vec<ItemLine<'_>> = facts
        .references
        .iter()
        .map(|r| ItemLine {
            vault: &r.item.vault_id,
            vault_name: Some(&r.item.vault_name),
            item: &r.item.item_id,
            title: Some(&r.item.title),
            environment: r.environment.as_deref(),
            version: r.version,
        })
        .collect();
    lines.sort_by_key(|line| (line.vault, line.item));
    lines.dedup_by_key(|line| (line.vault, line.item));
    lines
}
