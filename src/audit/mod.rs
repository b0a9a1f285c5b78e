//! A JSON line for every decision that differs from the one before, for every intent to write a Secret
//! before it is written, and for every change of one. Never a value.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::policy::{Decision, Facts, RequestFacts};
use crate::telemetry::Metrics;

/// Where audit lines go. Cheap to clone; lines of one sink are numbered without a gap.
#[derive(Clone)]
pub struct AuditSink {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
}

struct State {
    out: Box<dyn Write + Send>,
    stream: String,
    sequence: u64,
}

/// A line that could not be written. What was not granted before is not granted without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit stream cannot be written, and nothing is granted that is not recorded; mend the stream"
)]
pub struct AuditError;

/// One line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    /// The stream: one a process.
    stream: &'a str,
    /// Counts the lines of the stream from 1.
    sequence: u64,
    /// RFC 3339.
    time: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

/// What a line tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// `decision`, `intent` or `write`.
    pub kind: Kind,
    /// The request.
    pub request: RequestLine<'a>,
    /// The decision.
    pub decision: DecisionLine<'a>,
    /// The items it is about: ids, names and versions.
    pub items: Vec<ItemLine<'a>>,
    /// What happened to the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretLine<'a>>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A decision.
    Decision,
    /// A Secret is about to be written. What became of it is told by a `write`; without one nobody knows.
    Intent,
    /// A change of a Secret.
    Write,
}

/// A request in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLine<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    generation: i64,
    server: &'a str,
    purpose: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_consumer: Option<&'a str>,
}

/// A decision in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionLine<'a> {
    outcome: &'static str,
    reason: &'static str,
    risk_score: i32,
    digest: &'a str,
    message: &'a str,
    factors: Vec<FactorLine<'a>>,
}

#[derive(Debug, Serialize)]
struct FactorLine<'a> {
    policy: &'a str,
    rule: &'a str,
    score: i32,
    message: &'a str,
}

/// An item in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemLine<'a> {
    vault: &'a str,
    vault_name: &'a str,
    item: &'a str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    version: i64,
}

/// A Secret in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretLine<'a> {
    /// The Secret's name.
    pub name: &'a str,
    /// The Secret's UID.
    pub uid: &'a str,
    /// What changed.
    pub change: &'static str,
    /// Where the values came from.
    pub source: &'static str,
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
    /// A decision. Without facts no item is named: it may be one that the namespace must not know of.
    #[must_use]
    pub fn decision(
        request: &'a RequestFacts,
        facts: Option<&'a Facts>,
        decision: &'a Decision,
    ) -> Self {
        Self {
            kind: Kind::Decision,
            request: RequestLine::new(request),
            decision: DecisionLine::new(decision),
            items: facts.map(items).unwrap_or_default(),
            secret: None,
        }
    }

    /// The intent to write a Secret.
    #[must_use]
    pub fn intent(facts: &'a Facts, decision: &'a Decision) -> Self {
        Self { kind: Kind::Intent, ..Self::decision(&facts.request, Some(facts), decision) }
    }

    /// A change of a Secret.
    #[must_use]
    pub fn write(
        request: &'a RequestFacts,
        facts: Option<&'a Facts>,
        decision: &'a Decision,
        secret: SecretLine<'a>,
    ) -> Self {
        Self { kind: Kind::Write, secret: Some(secret), ..Self::decision(request, facts, decision) }
    }
}

fn items(facts: &Facts) -> Vec<ItemLine<'_>> {
    let mut lines: Vec<ItemLine<'_>> = facts
        .references
        .iter()
        .map(|r| ItemLine {
            vault: &r.item.vault_id,
            vault_name: &r.item.vault_name,
            item: &r.item.item_id,
            title: &r.item.title,
            environment: r.environment.as_deref(),
            version: r.version,
        })
        .collect();
    lines.sort_by_key(|line| (line.vault, line.item));
    lines.dedup_by_key(|line| (line.vault, line.item));
    lines
}

impl AuditSink {
    /// A sink that writes lines to `out`, as one stream of a name that no other process uses.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> Self {
        let stream = format!("{:016x}", rand::random::<u64>());
        Self { state: Arc::new(Mutex::new(State { out, stream, sequence: 0 })), metrics }
    }

    /// Writes a line and returns its id.
    ///
    /// # Errors
    /// When the stream cannot be written. The number of the line is used again.
    pub fn record(&self, entry: &Entry<'_>) -> Result<String, AuditError> {
        // Whoever reads the stream may be slow: that must not hold up what else the runtime does.
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.append(entry)),
            Ok(_) | Err(_) => self.append(entry),
        }
    }

    fn append(&self, entry: &Entry<'_>) -> Result<String, AuditError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = state.sequence + 1;
        let line = Line {
            stream: &state.stream,
            sequence,
            time: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            entry,
        };
        let mut text = serde_json::to_vec(&line).map_err(|_| AuditError)?;
        text.push(b'\n');
        state.out.write_all(&text).and_then(|()| state.out.flush()).map_err(|_| AuditError)?;
        state.sequence = sequence;
        self.metrics.audited();
        Ok(format!("{}-{sequence}", state.stream))
    }
}
