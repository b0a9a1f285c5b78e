use std::sync::Arc;

use super::cel::{CompileError, Expression, Functions, MAX_COST, Reads};
use super::{Facts, NamespaceFacts, ResolvedReference, glob_matches};
use crate::api::{
    CredentialPolicySpec, Effect, Occasion, OnDenied, PolicyMatch, PolicyMode, PolicyRule,
};

/// The policies of an operator, as far as they can be read.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Arc<PolicyState>>,
    functions: Functions,
}

/// A policy in the state in which it was found.
#[derive(Debug)]
pub enum PolicyState {
    /// It can be evaluated.
    Compiled(CompiledPolicy),
    /// It can be read and not evaluated: what it matches is not granted anew.
    Invalid {
        /// The policy's name.
        name: String,
        /// What it matches.
        scope: PolicyMatch,
        /// Whether it would decide.
        mode: PolicyMode,
        /// The rule that is at fault.
        rule: String,
        /// What is wrong with it.
        error: CompileError,
        /// Where in the rule, in characters from 1, where the error itself does not say so.
        column: Option<usize>,
    },
    /// It cannot be read, so that nobody knows what it matches: nothing is granted anew.
    Unreadable {
        /// The policy's name.
        name: String,
    },
}

/// A policy that can be evaluated.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// The policy's name.
    pub name: String,
    /// Whether it decides.
    pub mode: PolicyMode,
    pub(super) scope: PolicyMatch,
    pub(super) alert: i32,
    pub(super) deny: i32,
    pub(super) on_denied: OnDenied,
    pub(super) rules: Vec<CompiledRule>,
    /// What all of its rules read.
    pub(super) reads: Reads,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) name: String,
    pub(super) when: Expression,
    pub(super) on: On,
    pub(super) weight: Weight,
    pub(super) message: String,
    pub(super) recommendation: Option<String>,
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Both,
    Only(Occasion),
}

impl On {
    fn of(occasions: Option<&[Occasion]>) -> Self {
        match occasions {
            Some([occasion]) => Self::Only(*occasion),
            // The schema allows each of the two once.
            Some(_) | None => Self::Both,
        }
    }

    pub(super) fn includes(self, occasion: Occasion) -> bool {
        match self {
            Self::Both => true,
            Self::Only(only) => only == occasion,
        }
    }
}

/// What a rule does when it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Score(i32),
    Effect(Effect),
}

impl PolicyState {
    /// Compiles a policy. The first rule at fault decides the state.
    #[must_use]
    pub fn compile(name: &str, spec: &CredentialPolicySpec) -> Self {
        let scope = spec.match_.clone().unwrap_or_default();
        let mut rules = Vec::with_capacity(spec.rules.len());
        let mut cost = 0;
        let mut reads = Reads::default();
        for rule in &spec.rules {
            match compile(rule, &mut cost) {
                Ok(when) => {
                    reads.add_all(when.reads());
                    rules.push(CompiledRule {
                        name: rule.name.clone(),
                        when,
                        on: On::of(rule.occasions.as_deref()),
                        weight: rule
                            .effect
                            .map_or_else(|| Weight::Score(rule.score.unwrap_or(0)), Weight::Effect),
                        message: rule.message.clone(),
                        recommendation: rule.recommendation.clone(),
                    });
                }
                Err(error) => {
                    return Self::Invalid {
                        name: name.to_owned(),
                        scope,
                        mode: spec.mode.unwrap_or_default(),
                        rule: rule.name.clone(),
                        column: error.column(),
                        error,
                    };
                }
            }
        }
        Self::Compiled(CompiledPolicy {
            name: name.to_owned(),
            mode: spec.mode.unwrap_or_default(),
            scope,
            on_denied: spec.on_denied.unwrap_or_default(),
            alert: spec.alert_threshold(),
            deny: spec.deny_threshold(),
            rules,
            reads,
        })
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Compiled(policy) => &policy.name,
            Self::Invalid { name, .. } | Self::Unreadable { name } => name,
        }
    }
}

/// Compiles a rule. `cost` is that of the rules before it, and goes up.
fn compile(rule: &PolicyRule, cost: &mut u64) -> Result<Expression, CompileError> {
    let when = Expression::compile(&rule.when)?;
    if rule.effect == Some(Effect::Defer) && !when.reads().is_timed() {
        return Err(CompileError::DefersForEver);
    }
    *cost = cost.saturating_add(when.cost());
    if *cost > MAX_COST {
        return Err(CompileError::TooCostly(*cost));
    }
    Ok(when)
}

impl PolicySet {
    /// A set, ordered by name so that decisions do not depend on the order of arrival.
    #[must_use]
    pub fn new(mut policies: Vec<Arc<PolicyState>>) -> Self {
        policies.sort_by(|a, b| a.name().cmp(b.name()));
        Self { policies, functions: Functions::default() }
    }

    pub(super) fn functions(&self) -> &Functions {
        &self.functions
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PolicyState> {
        self.policies.iter().map(AsRef::as_ref)
    }
}

/// Whether the policy speaks of the reference.
pub(super) fn matches_reference(
    scope: &PolicyMatch,
    namespace: &NamespaceFacts,
    reference: &ResolvedReference,
) -> bool {
    let by_namespace = scope
        .namespace_selector
        .as_ref()
        .is_none_or(|selector| selector.matches(&namespace.labels));
    let by_vault = scope.vaults.as_ref().is_none_or(|patterns| {
        patterns.iter().any(|pattern| {
            **pattern == *reference.item.vault_id
                || glob_matches(pattern, &reference.item.vault_name)
        })
    });
    let by_environment = scope.environments.as_ref().is_none_or(|environments| {
        reference.environment.as_ref().is_some_and(|environment| environments.contains(environment))
    });
    let by_type = scope
        .types
        .as_ref()
        .is_none_or(|types| types.iter().any(|type_| **type_ == *reference.type_));
    by_namespace && by_vault && by_environment && by_type
}

/// Whether the policy speaks of any reference.
pub(super) fn applies(scope: &PolicyMatch, facts: &Facts) -> bool {
    facts.references.iter().any(|reference| matches_reference(scope, &facts.namespace, reference))
}
