//! What the policies come to together, in numbers and in words.

use super::digest::Digest;
use super::weigh::{Counting, Factor, Weighed, worse};
use crate::api::{Effect, Occasion, Outcome, PolicyMode, Reason};

/// What all policies that decide come to together.
pub(super) struct Sum {
    pub(super) outcome: Outcome,
    pub(super) score: i32,
    pub(super) factors: Vec<Factor>,
    pub(super) recommendations: Vec<String>,
}

impl Sum {
    pub(super) fn of(weighed: &[Weighed<'_>], on: Occasion, counting: Counting) -> Self {
        let mut sum = Self {
            outcome: Outcome::Allowed,
            score: 0,
            factors: Vec::new(),
            recommendations: Vec::new(),
        };
        for weighed in enforced(weighed) {
            let result = weighed.result(on, counting);
            sum.outcome = worse(sum.outcome, result.outcome);
            sum.score = sum.score.max(result.score);
            sum.factors.extend(weighed.factors(on, counting).cloned());
            for recommendation in weighed.recommendations(on, counting) {
                if !sum.recommendations.contains(recommendation) {
                    sum.recommendations.push(recommendation.clone());
                }
            }
        }
        let weight = |f: &Factor| (f.effect != Some(Effect::Deny), f.effect.is_none(), -f.score);
        sum.factors.sort_by_key(weight);
        sum
    }

    pub(super) fn grants(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed | Outcome::Alerted)
    }

    pub(super) fn words(&self) -> (Reason, String) {
        let (risk, why) = (self.score, words(&self.factors));
        match self.outcome {
            Outcome::Allowed => (Reason::Allowed, format!("allowed with risk {risk} of 100")),
            Outcome::Alerted => {
                (Reason::Alerted, format!("allowed with risk {risk} of 100, and alerted{why}"))
            }
            Outcome::Deferred => (
                Reason::Deferred,
                format!("not yet, with risk {risk} of 100; it is decided on again in a while{why}"),
            ),
            Outcome::Denied => (Reason::Denied, format!("denied with risk {risk} of 100{why}")),
        }
    }
}

/// The policies that decide.
pub(super) fn enforced<'w, 'p>(
    weighed: &'w [Weighed<'p>],
) -> impl Iterator<Item = &'w Weighed<'p>> {
    weighed.iter().filter(|w| w.mode() == PolicyMode::Enforce)
}

/// What came of the rules that read durable facts alone, whatever the occasion: a refresh has the digest of the grant
/// that it goes on from.
pub(super) fn digest_durable(digest: &mut Digest, weighed: &[Weighed<'_>]) {
    digest.part("policies", weighed.iter().map(Weighed::name));
    for (weighed, on) in
        weighed.iter().flat_map(|w| [Occasion::Grant, Occasion::Refresh].map(|on| (w, on)))
    {
        for factor in weighed.factors(on, Counting::Durable) {
            let score = factor.score.to_string();
            digest.part("factor", [factor.policy.as_str(), &factor.rule, &score, &factor.message]);
        }
        let result = weighed.result(on, Counting::Durable);
        digest.part("outcome", [result.outcome.as_str(), &result.score.to_string()]);
    }
}

/// Why, by the first few of the rules.
pub(super) fn words(factors: &[Factor]) -> String {
    let messages: Vec<&str> = factors.iter().take(4).map(|f| f.message.as_str()).collect();
    if messages.is_empty() { String::new() } else { format!(": {}", messages.join("; ")) }
}
