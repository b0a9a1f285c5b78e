//! The status as a function of the one before and of what a reconcile found. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{
    AnomalyStatus, ConditionType, Conditions, CredentialRequestStatus, DecisionStatus,
    FactorStatus, HistoryRecord, Occasion, Outcome, Reason, SyncStatus,
};
use crate::policy::Decision;

const MAX_FACTORS: usize = 32;
const MAX_ANOMALIES: usize = 16;
const MAX_RECOMMENDATIONS: usize = 8;

/// What a reconcile found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The generation that was reconciled.
    pub generation: i64,
    /// When.
    pub now: Time,
    /// The decision, if one was taken.
    pub decision: Option<Decision>,
    /// Whether the request has a Secret to go on with; only asked of a problem that tolerates it.
    pub has_secret: bool,
    /// How it ended.
    pub next: Next,
    /// The id of the audit record, if something was recorded: it goes into the history.
    pub record: Option<String>,
    /// The request for a refresh that was acted on.
    pub refreshed: Option<String>,
    /// What the status before notes of a deletion whose end is recorded by now.
    pub settled: Option<String>,
}

/// How a reconcile ended.
#[derive(Clone, Debug)]
pub enum Next {
    /// The Secret holds what 1Password holds.
    Synced(SyncStatus),
    /// The Secret was made of what may stand in while 1Password cannot be asked.
    Served(SyncStatus, Problem),
    /// It does not, or nobody knows.
    Failed(Problem),
    /// It does not, and the Secret that was written a moment ago was deleted again.
    TakenBack(Problem),
    /// Work on the request is stopped.
    Suspended,
}

/// Why a Secret is not up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
    /// What it does to readiness.
    pub severity: Severity,
}

/// What a problem does to readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A good Secret stays ready; since when 1Password could not be asked.
    Tolerable {
        /// Since when.
        since: Time,
    },
    /// A good Secret stays ready: nobody looks whether 1Password holds something else by now.
    Held,
    /// Not ready; heals when something is mended, without a change of the request.
    Heals,
    /// Not ready; somebody has to change something.
    Stalled,
}

impl Problem {
    /// A problem that heals when something is mended elsewhere.
    #[must_use]
    pub fn heals(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), severity: Severity::Heals }
    }

    /// A problem that stays until somebody changes something.
    #[must_use]
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), severity: Severity::Stalled }
    }

    /// A problem that does not make a good Secret bad.
    #[must_use]
    pub fn tolerable(reason: Reason, message: impl Into<String>, since: Time) -> Self {
        Self { reason, message: message.into(), severity: Severity::Tolerable { since } }
    }

    /// A grant that stands and is not refreshed for now.
    #[must_use]
    pub fn held(message: impl Into<String>) -> Self {
        let (reason, severity) = (Reason::HeldByPolicy, Severity::Held);
        Self { reason, message: message.into(), severity }
    }

    /// The problem of a refused request. What an administrator mends heals; a denial stays until the
    /// request or the policy changes.
    #[must_use]
    pub fn refused(decision: &Decision) -> Self {
        match decision.reason {
            Reason::NoPolicyMatches
            | Reason::PolicyInvalid
            | Reason::PolicyUnreadable
            | Reason::Deferred => Self::heals(decision.reason, decision.message.clone()),
            _ => Self::stalled(decision.reason, decision.message.clone()),
        }
    }
}

/// Whether a decision says of equal inputs what the one in the status says. What passes weighs on a grant when it is
/// made: the decision of that time stands as long as refreshes go on under it. What is not granted is denied or deferred
/// by other rules than before, or it is said again.
#[must_use]
pub fn restates(known: &DecisionStatus, decision: &Decision) -> bool {
    let grants = |outcome| matches!(outcome, Outcome::Allowed | Outcome::Alerted);
    known.digest == decision.digest
        && if grants(decision.outcome) {
            let goes_on = decision.occasion == Occasion::Refresh && grants(known.outcome);
            known.outcome == decision.outcome || goes_on
        } else {
            known.outcome == decision.outcome && are_alike(&known.factors, decision)
        }
}

/// Whether these are the rules that matched, as far as a status names them.
fn are_alike(known: &[FactorStatus], decision: &Decision) -> bool {
    let known = known.iter().map(|f| (&*f.policy, &*f.rule));
    let now = decision.factors.iter().take(MAX_FACTORS).map(|f| (&*f.policy, &*f.rule));
    known.collect::<BTreeSet<_>>() == now.collect()
}

/// The new status without its history, and the history record to append if something worth one happened:
/// what was recorded in the audit, and another reason of `Ready`.
#[must_use]
pub fn compose(
    previous: Option<&CredentialRequestStatus>,
    report: &Report,
) -> (CredentialRequestStatus, Option<HistoryRecord>) {
    let empty = CredentialRequestStatus::default();
    let previous = previous.unwrap_or(&empty);
    let decision = match &report.decision {
        Some(decision) => Some(decision_status(previous.decision.as_ref(), decision, &report.now)),
        None => previous.decision.clone(),
    };
    let sync = sync_status(previous.sync.as_ref(), report);
    let status = CredentialRequestStatus {
        observed_generation: Some(report.generation),
        last_handled_refresh_request: report
            .refreshed
            .clone()
            .or_else(|| previous.last_handled_refresh_request.clone()),
        conditions: conditions(previous, report),
        decision,
        sync,
        deleting: previous.deleting.clone().filter(|note| report.settled.as_ref() != Some(note)),
        history: Vec::new(),
    };
    let record = history_record(previous, &status, report);
    (status, record)
}

fn decision_status(
    previous: Option<&DecisionStatus>,
    decision: &Decision,
    now: &Time,
) -> DecisionStatus {
    if let Some(previous) = previous.filter(|p| restates(p, decision)) {
        return previous.clone();
    }
    DecisionStatus {
        outcome: decision.outcome,
        risk_score: decision.risk_score,
        factors: decision
            .factors
            .iter()
            .take(MAX_FACTORS)
            .map(|f| FactorStatus {
                policy: f.policy.clone(),
                rule: f.rule.clone(),
                score: f.score,
                effect: f.effect,
                message: f.message.clone(),
            })
            .collect(),
        anomalies: decision
            .anomalies()
            .iter()
            .take(MAX_ANOMALIES)
            .map(|a| AnomalyStatus {
                detector: a.detector.as_str().to_owned(),
                message: a.message.chars().take(512).collect(),
            })
            .collect(),
        factor_count: i32::try_from(decision.factors.len()).unwrap_or(i32::MAX),
        recommendations: decision
            .recommendations
            .iter()
            .take(MAX_RECOMMENDATIONS)
            .cloned()
            .collect(),
        digest: decision.digest.clone(),
        decided_at: now.clone(),
    }
}

fn sync_status(previous: Option<&SyncStatus>, report: &Report) -> Option<SyncStatus> {
    match &report.next {
        Next::Synced(sync) | Next::Served(sync, _) => Some(sync.clone()),
        Next::Suspended => previous.cloned(),
        Next::Failed(problem) => previous.cloned().map(|mut sync| {
            match &problem.severity {
                Severity::Tolerable { since } => {
                    sync.stale_since.get_or_insert_with(|| since.clone());
                }
                // Nothing is known anew of what the Secret holds.
                Severity::Heals | Severity::Held => {}
                // 1Password could be asked, or did not have to be.
                Severity::Stalled => sync.stale_since = None,
            }
            sync
        }),
        Next::TakenBack(_) => None,
    }
}

fn conditions(previous: &CredentialRequestStatus, report: &Report) -> Vec<Condition> {
    let set =
        Conditions::replacing(&previous.conditions, Some(report.generation), report.now.clone());
    if let Next::Suspended = report.next {
        return suspended(previous, report, set);
    }
    let set = match (&report.decision, &report.next) {
        (Some(decision), _)
            if authorized(previous).is_some()
                && previous.decision.as_ref().is_some_and(|known| restates(known, decision)) =>
        {
            set.renew(ConditionType::Authorized)
        }
        (Some(decision), _) => {
            let allowed = matches!(decision.outcome, Outcome::Allowed | Outcome::Alerted);
            set.set(ConditionType::Authorized, Some(allowed), decision.reason, &decision.message)
        }
        // An outage takes no decision back.
        (None, Next::Failed(Problem { severity: Severity::Tolerable { .. }, .. }))
            if authorized(previous).is_some() =>
        {
            set.keep(ConditionType::Authorized)
        }
        (None, Next::Failed(problem) | Next::TakenBack(problem)) => {
            set.set(ConditionType::Authorized, None, problem.reason, &problem.message)
        }
        (None, Next::Synced(_) | Next::Served(..) | Next::Suspended) => set,
    };
    match &report.next {
        Next::Synced(sync) => {
            let message = format!("Secret {} holds what 1Password holds", sync.secret_name);
            set.set(ConditionType::Ready, Some(true), Reason::Synced, &message).set(
                ConditionType::Synced,
                Some(true),
                Reason::Synced,
                &message,
            )
        }
        Next::Served(_, problem) => failed(set, problem, true),
        Next::Failed(problem) => failed(set, problem, report.has_secret),
        Next::TakenBack(problem) => failed(set, problem, false),
        Next::Suspended => set,
    }
    .finish()
}

fn failed(set: Conditions, problem: &Problem, has_secret: bool) -> Conditions {
    let (reason, message) = (problem.reason, problem.message.as_str());
    let not_ready = |set: Conditions| set.set(ConditionType::Ready, Some(false), reason, message);
    let set = match problem.severity {
        Severity::Tolerable { .. } | Severity::Held if has_secret => set.set(
            ConditionType::Ready,
            Some(true),
            reason,
            &format!("the Secret stays as it is: {message}"),
        ),
        Severity::Tolerable { .. } | Severity::Held | Severity::Heals => {
            not_ready(set).set(ConditionType::Reconciling, Some(true), reason, message)
        }
        Severity::Stalled => {
            not_ready(set).set(ConditionType::Stalled, Some(true), reason, message)
        }
    };
    set.set(ConditionType::Synced, Some(false), reason, message)
}

/// Everything as it was, with the generation moved on, and the word that nobody looks.
fn suspended(
    previous: &CredentialRequestStatus,
    report: &Report,
    set: Conditions,
) -> Vec<Condition> {
    if previous.conditions.iter().all(|c| c.type_ != ConditionType::Ready.as_str()) {
        let message = "spec.suspend is true: nothing is done until it is false";
        return set.set(ConditionType::Ready, Some(false), Reason::Suspended, message).finish();
    }
    let mut kept = previous.conditions.clone();
    for condition in &mut kept {
        condition.observed_generation = Some(report.generation);
        let is_ready = condition.type_ == ConditionType::Ready.as_str();
        if is_ready && condition.reason != Reason::Suspended.as_str() {
            condition.message = format!(
                "spec.suspend is true: nothing is looked at until it is false; before that {}: {}",
                condition.reason, condition.message
            );
            condition.reason = Reason::Suspended.as_str().to_owned();
        }
    }
    kept
}

fn authorized(status: &CredentialRequestStatus) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == ConditionType::Authorized.as_str())
}

fn ready_reason(status: &CredentialRequestStatus) -> Option<&str> {
    let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
    ready.map(|c| c.reason.as_str())
}

fn history_record(
    previous: &CredentialRequestStatus,
    status: &CredentialRequestStatus,
    report: &Report,
) -> Option<HistoryRecord> {
    let decision = status.decision.as_ref()?;
    if report.record.is_none() && ready_reason(previous) == ready_reason(status) {
        return None;
    }
    Some(HistoryRecord {
        time: report.now.clone(),
        outcome: decision.outcome,
        risk_score: decision.risk_score,
        reason: ready_reason(status).unwrap_or_default().to_owned(),
        source: match &report.next {
            Next::Synced(sync) | Next::Served(sync, _) => Some(sync.source),
            Next::Failed(_) | Next::TakenBack(_) | Next::Suspended => None,
        },
        record: report.record.clone(),
    })
}
