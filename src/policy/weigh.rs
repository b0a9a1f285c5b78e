//! What the rules of a policy come to.

use super::cel::FactsContext;
use super::set::{CompiledPolicy, CompiledRule, On, Weight};
use crate::api::{Effect, Occasion, OnDenied, Outcome, PolicyMode};

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
    /// Whether the rule has no answer, and denies for that.
    pub failed: bool,
}

/// What one policy comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyResult {
    /// The policy.
    pub policy: String,
    /// Whether it decides.
    pub mode: PolicyMode,
    /// What it comes to.
    pub outcome: Outcome,
    /// Its score, 0 to 100.
    pub score: i32,
}

/// Which of the rules that matched count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// All.
    Whole,
    /// Those that read durable facts alone.
    Durable,
    /// Those of them that have an answer: one that fails is no reason to delete anything.
    Answered,
}

/// The rules of a policy that matched.
pub(super) struct Weighed<'p> {
    policy: &'p CompiledPolicy,
    matched: Vec<Matched>,
}

struct Matched {
    factor: Factor,
    on: On,
    is_transient: bool,
    recommendation: Option<String>,
}

impl<'p> Weighed<'p> {
    /// Asks the rules of a policy. Those that read what passes are asked only where the context has it.
    pub(super) fn new(
        policy: &'p CompiledPolicy,
        context: &FactsContext<'_>,
        asks: Counting,
    ) -> Self {
        let rules = policy.rules.iter();
        let rules =
            rules.filter(|rule| asks == Counting::Whole || !rule.when.reads().is_transient());
        Self { policy, matched: rules.filter_map(|rule| ask(policy, rule, context)).collect() }
    }

    pub(super) fn name(&self) -> &'p str {
        &self.policy.name
    }

    pub(super) fn mode(&self) -> PolicyMode {
        self.policy.mode
    }

    /// Whether a later answer may be another one for no other reason than that time passes.
    pub(super) fn is_timed(&self) -> bool {
        self.policy.reads.is_timed()
    }

    /// The rules that matched and count.
    pub(super) fn factors(
        &self,
        on: Occasion,
        counting: Counting,
    ) -> impl Iterator<Item = &Factor> {
        self.counted(on, counting).map(|matched| &matched.factor)
    }

    /// What they recommend.
    pub(super) fn recommendations(
        &self,
        on: Occasion,
        counting: Counting,
    ) -> impl Iterator<Item = &String> {
        self.counted(on, counting).filter_map(|matched| matched.recommendation.as_ref())
    }

    /// What they come to.
    pub(super) fn result(&self, on: Occasion, counting: Counting) -> PolicyResult {
        let (mut outcome, mut score) = (Outcome::Allowed, 0);
        for factor in self.factors(on, counting) {
            score = (score + factor.score).min(100);
            outcome = match factor.effect {
                Some(Effect::Deny) => worse(outcome, Outcome::Denied),
                Some(Effect::Defer) => worse(outcome, Outcome::Deferred),
                Some(Effect::Alert) => worse(outcome, Outcome::Alerted),
                None => outcome,
            };
        }
        let by_score = if score >= self.policy.deny {
            Outcome::Denied
        } else if score >= self.policy.alert {
            Outcome::Alerted
        } else {
            Outcome::Allowed
        };
        PolicyResult {
            policy: self.policy.name.clone(),
            mode: self.policy.mode,
            outcome: worse(outcome, by_score),
            score,
        }
    }

    /// What the policy wants done to a Secret that was written before.
    pub(super) fn on_denied(&self, on: Occasion) -> OnDenied {
        match self.result(on, Counting::Answered).outcome {
            Outcome::Denied => self.policy.on_denied,
            Outcome::Allowed | Outcome::Alerted | Outcome::Deferred => OnDenied::Retain,
        }
    }

    fn counted(&self, on: Occasion, counting: Counting) -> impl Iterator<Item = &Matched> {
        self.matched.iter().filter(move |matched| {
            let counts = match counting {
                Counting::Whole => true,
                Counting::Durable => !matched.is_transient,
                Counting::Answered => !matched.is_transient && !matched.factor.failed,
            };
            counts && matched.on.includes(on)
        })
    }
}

fn ask(
    policy: &CompiledPolicy,
    rule: &CompiledRule,
    context: &FactsContext<'_>,
) -> Option<Matched> {
    let answer = rule.when.evaluate(context);
    let (weight, message) = match &answer {
        Ok(false) => return None,
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
    let (policy, rule_name) = (policy.name.clone(), rule.name.clone());
    Some(Matched {
        factor: Factor { policy, rule: rule_name, score, effect, message, failed: answer.is_err() },
        on: rule.on,
        is_transient: rule.when.reads().is_transient(),
        recommendation: rule.recommendation.clone(),
    })
}

/// The worse of two outcomes.
pub(super) fn worse(a: Outcome, b: Outcome) -> Outcome {
    if rank(a) >= rank(b) { a } else { b }
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Allowed => 0,
        Outcome::Alerted => 1,
        Outcome::Deferred => 2,
        Outcome::Denied => 3,
    }
}
