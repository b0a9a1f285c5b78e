use std::collections::BTreeSet;

use super::cel::FactsContext;
use super::digest::Digest;
use super::set::{CompiledPolicy, Weight, applies, matches_reference};
use super::{Access, Facts, Grant, PolicySet, PolicyState, RequestFacts};
use crate::api::{Effect, Outcome, Reason};

/// What was decided and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it came to.
    pub outcome: Outcome,
    /// The reason of the `Authorized` condition.
    pub reason: Reason,
    /// The highest score that a policy gave, 0 to 100.
    pub risk_score: i32,
    /// The rules that matched, the heaviest first.
    pub factors: Vec<Factor>,
    /// What the matching rules recommend, each once.
    pub recommendations: Vec<String>,
    /// In words.
    pub message: String,
    /// Equal for equal decisions on equal inputs: the spec, the resolved items, their environments, the
    /// access rows and policies that matched, and what came of it.
    pub digest: String,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// The policy.
    pub policy: String,
    /// The rule in it.
    pub rule: String,
    /// What it adds to the score; 0 when it has an effect instead.
    pub score: i32,
    /// Its effect.
    pub effect: Option<Effect>,
    /// Its message.
    pub message: String,
}

/// The request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why; its outcome is `Denied`.
    pub decision: Decision,
    /// What it was decided on; nothing when a reference is outside access.
    pub facts: Option<Box<Facts>>,
}

/// What [`decide`] returns.
#[derive(Debug)]
pub enum Verdict {
    /// The items may be read and the Secret may be written.
    Granted(Box<Grant>),
    /// Nothing may be read.
    Refused(Refusal),
}

impl Verdict {
    /// The decision, whatever it came to.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Granted(grant) => grant.decision(),
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
        Self { decision: refused(Reason::VaultNotAllowed, message, digest), facts: None }
    }
}

/// Decides on a request. Pure: equal arguments, equal verdict.
///
/// Access rows come first, then claims against facts, then the policies: each reference must be covered
/// by one, the score is the sum over a policy's matching rules, and the worst outcome counts.
#[must_use]
pub fn decide(facts: Facts, access: &Access<'_>, policies: &PolicySet) -> Verdict {
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
        return refusal(decision, facts);
    }
    match applying(&facts, policies, &digest) {
        Ok(policies) => score(facts, &policies, digest),
        Err(decision) => refusal(decision, facts),
    }
}

fn refusal(decision: Decision, facts: Facts) -> Verdict {
    Verdict::Refused(Refusal { decision, facts: Some(Box::new(facts)) })
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
) -> Result<Vec<&'p CompiledPolicy>, Decision> {
    let mut compiled = Vec::new();
    for state in policies.iter() {
        match state {
            PolicyState::Unreadable { name } => {
                return Err(refused(
                    Reason::PolicyUnreadable,
                    format!(
                        "CredentialPolicy {name} cannot be read by this version of Portcullis, and \
                         nothing is granted without knowing what it says; upgrade Portcullis or mend the policy"
                    ),
                    digest.clone(),
                ));
            }
            PolicyState::Invalid { name, scope, rule, .. } if applies(scope, facts) => {
                return Err(refused(
                    Reason::PolicyInvalid,
                    format!(
                        "rule {rule} of CredentialPolicy {name}, which matches this request, does not compile; \
                         kubectl describe credentialpolicy {name} says where"
                    ),
                    digest.clone(),
                ));
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
            !compiled
                .iter()
                .any(|policy| matches_reference(&policy.scope, &facts.namespace, reference))
        })
        .map(|r| r.key.as_str())
        .collect();
    if uncovered.is_empty() {
        Ok(compiled)
    } else {
        Err(refused(
            Reason::NoPolicyMatches,
            format!(
                "no CredentialPolicy covers {}; an administrator must add one that matches",
                listed(&uncovered)
            ),
            digest.clone(),
        ))
    }
}

fn score(facts: Facts, policies: &[&CompiledPolicy], mut digest: Digest) -> Verdict {
    let context = FactsContext::new(&facts);
    let mut factors = Vec::new();
    let mut recommendations = Vec::new();
    let (mut worst, mut risk_score) = (Outcome::Allowed, 0);
    for policy in policies {
        let result = evaluate(policy, &context);
        risk_score = risk_score.max(result.score);
        worst = worse(worst, result.outcome);
        factors.extend(result.factors);
        for recommendation in result.recommendations {
            if !recommendations.contains(&recommendation) {
                recommendations.push(recommendation);
            }
        }
    }
    factors.sort_by_key(|f| (f.effect != Some(Effect::Deny), f.effect.is_none(), -f.score));
    digest.part("policies", policies.iter().map(|p| p.name.as_str()));
    for factor in &factors {
        digest.part(
            "factor",
            [factor.policy.as_str(), &factor.rule, &factor.score.to_string(), &factor.message],
        );
    }
    digest.part("outcome", [worst.as_str(), &risk_score.to_string()]);
    let (reason, message) = match worst {
        Outcome::Allowed => (Reason::Allowed, format!("allowed with risk {risk_score} of 100")),
        Outcome::Alerted => (
            Reason::Alerted,
            format!("allowed with risk {risk_score} of 100, and alerted{}", words(&factors)),
        ),
        Outcome::Denied => {
            (Reason::Denied, format!("denied with risk {risk_score} of 100{}", words(&factors)))
        }
    };
    let decision = Decision {
        outcome: worst,
        reason,
        risk_score,
        factors,
        recommendations,
        message,
        digest: digest.finish(),
    };
    match worst {
        Outcome::Allowed | Outcome::Alerted => {
            Verdict::Granted(Box::new(Grant::issue(facts, decision)))
        }
        Outcome::Denied => refusal(decision, facts),
    }
}

struct PolicyResult {
    outcome: Outcome,
    score: i32,
    factors: Vec<Factor>,
    recommendations: Vec<String>,
}

fn evaluate(policy: &CompiledPolicy, context: &FactsContext) -> PolicyResult {
    let mut result = PolicyResult {
        outcome: Outcome::Allowed,
        score: 0,
        factors: Vec::new(),
        recommendations: Vec::new(),
    };
    for rule in &policy.rules {
        let (weight, message) = match rule.when.evaluate(context) {
            Ok(false) => continue,
            Ok(true) => (rule.weight, rule.message.clone()),
            Err(error) => {
                let message = format!("rule {} of policy {}: {error}", rule.name, policy.name);
                (Weight::Effect(Effect::Deny), message)
            }
        };
        let (score, effect) = match weight {
            Weight::Score(score) => (score, None),
            Weight::Effect(effect) => (0, Some(effect)),
        };
        result.score = (result.score + score).min(100);
        result.outcome = match effect {
            Some(Effect::Deny) => Outcome::Denied,
            Some(Effect::Alert) => worse(result.outcome, Outcome::Alerted),
            None => result.outcome,
        };
        result.recommendations.extend(rule.recommendation.clone());
        result.factors.push(Factor {
            policy: policy.name.clone(),
            rule: rule.name.clone(),
            score,
            effect,
            message,
        });
    }
    let by_score = if result.score >= policy.deny {
        Outcome::Denied
    } else if result.score >= policy.alert {
        Outcome::Alerted
    } else {
        Outcome::Allowed
    };
    result.outcome = worse(result.outcome, by_score);
    result
}

fn worse(a: Outcome, b: Outcome) -> Outcome {
    match (a, b) {
        (Outcome::Denied, _) | (_, Outcome::Denied) => Outcome::Denied,
        (Outcome::Alerted, _) | (_, Outcome::Alerted) => Outcome::Alerted,
        (Outcome::Allowed, Outcome::Allowed) => Outcome::Allowed,
    }
}

fn words(factors: &[Factor]) -> String {
    let messages: Vec<&str> = factors.iter().take(4).map(|f| f.message.as_str()).collect();
    if messages.is_empty() { String::new() } else { format!(": {}", messages.join("; ")) }
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
        outcome: Outcome::Denied,
        reason,
        risk_score: 0,
        factors: Vec::new(),
        recommendations: Vec::new(),
        message,
        digest: digest.finish(),
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
}
