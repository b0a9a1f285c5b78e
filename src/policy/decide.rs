use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::cel::{FactsContext, Functions, Reads};
use super::digest::Digest;
use super::set::{CompiledPolicy, applies, matches_reference};
use super::sum::{Sum, digest_durable, enforced, words};
use super::weigh::{Counting, Factor, PolicyResult, Weighed};
use super::{Access, Circumstances, Facts, Grant, PolicySet, PolicyState, RequestFacts, Transient};
use crate::api::{Occasion, OnDenied, Outcome, PolicyMode, Reason};
use crate::behavior::Anomaly;

/// What was decided and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it was taken for the first time.
    pub occasion: Occasion,
    /// What it came to.
    pub outcome: Outcome,
    /// The reason of the `Authorized` condition.
    pub reason: Reason,
    /// The highest score that a policy gave, 0 to 100.
    pub risk_score: i32,
    /// The rules that matched, the heaviest first.
    pub factors: Vec<Factor>,
    /// What of what passes it was weighed by; nothing where that was not known or not asked.
    pub transient: Option<Box<Transient>>,
    /// What each policy that applies came to, those that do not decide among them.
    pub policies: Vec<PolicyResult>,
    /// What the matching rules recommend, each once.
    pub recommendations: Vec<String>,
    /// In words.
    pub message: String,
    /// Equal for equal inputs: the spec, the resolved items, their environments, who asked, the access rows and
    /// policies that matched, and what came of the rules that read nothing else. What passes is not in it.
    pub digest: String,
    /// When it is to be taken again, though nothing else changes: rules read what is otherwise in a while. Nothing
    /// where they do not, or were not asked.
    pub again_at: Option<DateTime<Utc>>,
}

/// The request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why; its outcome is `Denied`.
    pub decision: Decision,
    /// What it was decided on; nothing when a reference is outside access.
    pub facts: Option<Box<Facts>>,
    /// What is to be done to a Secret that was written before.
    pub on_denied: OnDenied,
    /// Whether it is for what lasts: what passes says nothing of what was granted before.
    pub lasts: bool,
}

/// A grant stands, and nothing is to be done under it for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The decision that stands, by what does not pass.
    pub decision: Decision,
    /// What it was decided on.
    pub facts: Box<Facts>,
    /// What holds it, in words.
    pub why: String,
}

/// What [`decide`] returns.
#[derive(Debug)]
pub enum Verdict {
    /// The items may be read and the Secret may be written.
    Granted(Box<Grant>),
    /// What was granted stays, and nothing is read or written for now.
    Held(Hold),
    /// Nothing may be read.
    Refused(Refusal),
}

impl Decision {
    /// What was unusual about the request.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        self.transient.as_ref().map(|transient| transient.anomalies.as_slice()).unwrap_or_default()
    }
}

impl Verdict {
    /// The decision, whatever it came to.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Granted(grant) => grant.decision(),
            Self::Held(hold) => &hold.decision,
            Self::Refused(refusal) => &refusal.decision,
        }
    }
}

impl Refusal {
    /// The refusal of references that no access row allows. It says the same whether what they name
    /// exists or not, and rests on nothing that was resolved.
    #[must_use]
    pub fn outside_access(request: &RequestFacts, keys: &[&str]) -> Self {
        let message = format!(
            "no access row of ConnectServer {} allows namespace {} to read what {} refers to; \
             ask its administrator for a row",
            request.server,
            request.namespace,
            listed(keys),
        );
        let mut digest = Digest::new(request);
        digest.part("outside", keys.iter().copied());
        Self {
            decision: refused(Reason::VaultNotAllowed, message, digest),
            facts: None,
            on_denied: OnDenied::Retain,
            lasts: true,
        }
    }
}

/// Decides on a request. Pure: equal arguments, equal verdict.
///
/// Access rows come first, then claims against facts, then the policies: each reference must be covered
/// by one, the score is the sum over a policy's matching rules, and the worst outcome counts. What passes decides on
/// new grants alone; it may hold a refresh, and ends no grant.
#[must_use]
pub fn decide(
    facts: Facts,
    circumstances: &Circumstances,
    access: &Access<'_>,
    policies: &PolicySet,
) -> Verdict {
    let outside: Vec<&str> = facts
        .references
        .iter()
        .filter(|r| access.rows_allowing(&r.item).next().is_none())
        .map(|r| r.key.as_str())
        .collect();
    if !outside.is_empty() {
        return Verdict::Refused(Refusal::outside_access(&facts.request, &outside));
    }
    let mut digest = Digest::new(&facts.request);
    digest_facts(&mut digest, &facts, access);

    if let Some(decision) = refuse_mismatch(&facts, &digest) {
        return refusal(decision, facts, circumstances);
    }
    match applying(&facts, policies, &digest) {
        Ok(applying) => score(facts, circumstances, &applying, policies.functions(), digest),
        Err(decision) => refusal(*decision, facts, circumstances),
    }
}

/// A refusal for which no rule was asked.
fn refusal(decision: Decision, facts: Facts, circumstances: &Circumstances) -> Verdict {
    let Circumstances { occasion, transient } = circumstances.clone();
    Verdict::Refused(Refusal {
        decision: Decision { occasion, transient: transient.map(Box::new), ..decision },
        facts: Some(Box::new(facts)),
        on_denied: OnDenied::Retain,
        lasts: true,
    })
}

fn refuse_mismatch(facts: &Facts, digest: &Digest) -> Option<Decision> {
    let claimed = facts.request.claimed_environment.as_ref()?;
    let other = facts
        .references
        .iter()
        .find(|r| r.environment.as_ref().is_some_and(|known| known != claimed))?;
    let known = other.environment.as_deref().unwrap_or_default();
    Some(refused(
        Reason::EnvironmentMismatch,
        format!(
            "spec.environment says {claimed}, but item {} of vault {} is in {known}; \
             set spec.environment to {known} or leave it out",
            other.item.title, other.item.vault_name
        ),
        digest.clone(),
    ))
}

/// The policies that apply, or why the request cannot be granted by any.
fn applying<'p>(
    facts: &Facts,
    policies: &'p PolicySet,
    digest: &Digest,
) -> Result<Vec<&'p CompiledPolicy>, Box<Decision>> {
    let mut compiled = Vec::new();
    for state in policies.iter() {
        match state {
            PolicyState::Unreadable { name } => {
                return Err(Box::new(refused(
                    Reason::PolicyUnreadable,
                    format!(
                        "CredentialPolicy {name} cannot be read by this version of Portcullis, and \
                         nothing is granted without knowing what it says; upgrade Portcullis or mend the policy"
                    ),
                    digest.clone(),
                )));
            }
            PolicyState::Invalid { name, scope, rule, mode: PolicyMode::Enforce, .. }
                if applies(scope, facts) =>
            {
                return Err(Box::new(refused(
                    Reason::PolicyInvalid,
                    format!(
                        "rule {rule} of CredentialPolicy {name}, which matches this request, does not compile; \
                         kubectl describe credentialpolicy {name} says where"
                    ),
                    digest.clone(),
                )));
            }
            PolicyState::Invalid { .. } => {}
            PolicyState::Compiled(policy) if applies(&policy.scope, facts) => compiled.push(policy),
            PolicyState::Compiled(_) => {}
        }
    }
    let uncovered: Vec<&str> = facts
        .references
        .iter()
        .filter(|reference| {
            !compiled.iter().any(|policy| {
                policy.mode == PolicyMode::Enforce
                    && matches_reference(&policy.scope, &facts.namespace, reference)
            })
        })
        .map(|r| r.key.as_str())
        .collect();
    if uncovered.is_empty() {
        Ok(compiled)
    } else {
        Err(Box::new(refused(
            Reason::NoPolicyMatches,
            format!(
                "no CredentialPolicy covers {}; an administrator must add one that matches",
                listed(&uncovered)
            ),
            digest.clone(),
        )))
    }
}

/// Asks the rules, and makes a verdict of what they come to.
fn score(
    facts: Facts,
    circumstances: &Circumstances,
    policies: &[&CompiledPolicy],
    functions: &Functions,
    mut digest: Digest,
) -> Verdict {
    let Circumstances { occasion, transient } = circumstances;
    let on = *occasion;
    let asks = if transient.is_some() { Counting::Whole } else { Counting::Durable };
    let mut reads = Reads::default();
    policies.iter().for_each(|policy| reads.add_all(&policy.reads));
    let context = FactsContext::new(functions, &facts, transient.as_ref(), &reads);
    let weighed: Vec<Weighed<'_>> =
        policies.iter().map(|policy| Weighed::new(policy, &context, asks)).collect();
    digest_durable(&mut digest, &weighed);

    let decision = |sum: Sum| {
        let (reason, message) = sum.words();
        Decision {
            occasion: on,
            outcome: sum.outcome,
            reason,
            risk_score: sum.score,
            factors: sum.factors,
            transient: transient.clone().map(Box::new),
            policies: weighed.iter().map(|w| w.result(on, Counting::Whole)).collect(),
            recommendations: sum.recommendations,
            message,
            digest: digest.clone().finish(),
            again_at: transient
                .as_ref()
                .filter(|_| weighed.iter().any(Weighed::is_timed))
                .and_then(|transient| transient.now.checked_add_signed(transient.lasts)),
        }
    };
    let whole = Sum::of(&weighed, on, Counting::Whole);
    let durable = Sum::of(&weighed, on, Counting::Durable);
    if whole.grants() {
        let decision = decision(whole);
        return Verdict::Granted(Box::new(Grant::issue(facts, decision)));
    }
    if on == Occasion::Refresh && durable.grants() {
        let why = format!(
            "the grant stands, and is not refreshed for now, with risk {} of 100{}",
            whole.score,
            words(&whole.factors)
        );
        let decision = decision(durable);
        return Verdict::Held(Hold { decision, facts: Box::new(facts), why });
    }
    Verdict::Refused(Refusal {
        decision: decision(whole),
        facts: Some(Box::new(facts)),
        on_denied: enforced(&weighed)
            .map(|w| w.on_denied(on))
            .find(|wanted| *wanted == OnDenied::Delete)
            .unwrap_or_default(),
        lasts: !durable.grants(),
    })
}

/// Names keys for a message, the first few of them.
fn listed(keys: &[&str]) -> String {
    let shown: Vec<&str> = keys.iter().take(5).copied().collect();
    let more = keys.len().saturating_sub(shown.len());
    let suffix = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("spec.data[{}]{suffix}", shown.join(", "))
}

fn refused(reason: Reason, message: String, mut digest: Digest) -> Decision {
    digest.part("refused", [reason.as_str()]);
    Decision {
        occasion: Occasion::Grant,
        outcome: Outcome::Denied,
        reason,
        risk_score: 0,
        factors: Vec::new(),
        transient: None,
        policies: Vec::new(),
        recommendations: Vec::new(),
        message,
        digest: digest.finish(),
        again_at: None,
    }
}

fn digest_facts(digest: &mut Digest, facts: &Facts, access: &Access<'_>) {
    let mut rows = BTreeSet::new();
    for reference in &facts.references {
        digest.part(
            "reference",
            [
                &*reference.key,
                &reference.item.vault_id,
                &reference.item.item_id,
                reference.environment.as_deref().unwrap_or_default(),
            ],
        );
        rows.extend(access.rows_allowing(&reference.item));
    }
    digest.part("rows", rows);
    let requester = facts.requester.as_ref();
    digest.part(
        "requester",
        requester
            .map(|r| [r.name.as_str(), if r.verified { "verified" } else { "" }])
            .into_iter()
            .flatten(),
    );
}
