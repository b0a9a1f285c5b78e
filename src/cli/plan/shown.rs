//! A plan as it is printed.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::audit::text::terminal;
use crate::cli::print::came_to;
use crate::plan::{Fetch, Plan};
use crate::policy::Verdict;

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    request: String,
    pub(super) outcome: &'static str,
    reason: &'static str,
    risk_score: i32,
    message: String,
    /// When it would be taken again, since rules read what is otherwise in a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    again_at: Option<DateTime<Utc>>,
    factors: Vec<ShownFactor>,
    recommendations: Vec<String>,
    policies: Vec<ShownPolicy>,
    anomalies: Vec<ShownAnomaly>,
    fetches: Vec<Fetch>,
    secret: String,
    /// What was not weighed, or not exactly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Serialize)]
struct ShownAnomaly {
    detector: &'static str,
    message: String,
}

#[derive(Serialize)]
struct ShownFactor {
    policy: String,
    rule: String,
    score: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<crate::api::Effect>,
    message: String,
}

#[derive(Serialize)]
struct ShownPolicy {
    policy: String,
    mode: crate::api::PolicyMode,
    outcome: &'static str,
    score: i32,
}

impl Shown {
    pub(super) fn new(request: String, planned: &Plan, notes: Vec<String>) -> Self {
        let decision = planned.decision();
        let message = match &planned.verdict {
            Verdict::Held(hold) => &hold.why,
            Verdict::Granted(_) | Verdict::Refused(_) => &decision.message,
        };
        let is_granted = matches!(planned.verdict, Verdict::Granted(_));
        Self {
            request,
            outcome: came_to(&planned.verdict),
            reason: decision.reason.as_str(),
            risk_score: decision.risk_score,
            message: message.clone(),
            again_at: decision.again_at,
            factors: decision
                .factors
                .iter()
                .map(|f| ShownFactor {
                    policy: f.policy.clone(),
                    rule: f.rule.clone(),
                    score: f.score,
                    effect: f.effect,
                    message: f.message.clone(),
                })
                .collect(),
            recommendations: decision.recommendations.clone(),
            policies: decision
                .policies
                .iter()
                .map(|p| ShownPolicy {
                    policy: p.policy.clone(),
                    mode: p.mode,
                    outcome: p.outcome.as_str(),
                    score: p.score,
                })
                .collect(),
            anomalies: decision
                .anomalies()
                .iter()
                .map(|a| ShownAnomaly { detector: a.detector.as_str(), message: a.message.clone() })
                .collect(),
            notes,
            fetches: if is_granted { planned.fetches.clone() } else { Vec::new() },
            secret: planned.secret.clone(),
        }
    }
}

pub(super) fn text(shown: &Shown) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{}: {} ({})",
        terminal(&shown.request),
        shown.outcome,
        terminal(&shown.message)
    );
    for factor in &shown.factors {
        let weight = match factor.effect {
            Some(effect) => format!("{effect:?}"),
            None => format!("+{}", factor.score),
        };
        let (policy, rule) = (terminal(&factor.policy), terminal(&factor.rule));
        let _ = writeln!(text, "  {weight:>6}  {policy}/{rule}: {}", terminal(&factor.message));
    }
    for policy in &shown.policies {
        let on_trial = match policy.mode {
            crate::api::PolicyMode::Enforce => "",
            crate::api::PolicyMode::Audit => ", on trial",
        };
        let name = terminal(&policy.policy);
        let _ =
            writeln!(text, "  policy {name}: {} with {}{on_trial}", policy.outcome, policy.score);
    }
    for anomaly in &shown.anomalies {
        let _ = writeln!(text, "  unusual: {} ({})", terminal(&anomaly.message), anomaly.detector);
    }
    for recommendation in &shown.recommendations {
        let _ = writeln!(text, "  recommended: {}", terminal(recommendation));
    }
    if let Some(at) = shown.again_at {
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let _ = writeln!(text, "  good until {at}: a rule reads what is otherwise in a while");
    }
    if !shown.fetches.is_empty() {
        let _ = writeln!(text, "  Secret {} would hold:", terminal(&shown.secret));
        for fetch in &shown.fetches {
            let (vault, item, field) =
                (terminal(&fetch.vault), terminal(&fetch.item), terminal(&fetch.field));
            let _ = writeln!(
                text,
                "    {} from field {field} of item {item} of vault {vault}",
                terminal(&fetch.key)
            );
        }
    }
    for note in &shown.notes {
        let _ = writeln!(text, "  note: {}", terminal(note));
    }
    text
}
