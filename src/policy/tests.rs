use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::api::{
    AccessRow, CredentialPolicySpec, Effect, Namespaces, Occasion, OnRequestDeletion, Outcome,
    PolicyMatch, PolicyRule, Reason, SecretType, VaultSelector,
};
use crate::behavior::History;
use crate::reference::Wanted;

/// A request of namespace `shop` for two fields of two items of vault `services`, which is production.
pub(super) fn facts() -> Facts {
    Facts {
        request: RequestFacts {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            uid: "uid-1".to_owned(),
            generation: 1,
            server: "default".to_owned(),
            secret_name: "orders".to_owned(),
            secret_type: SecretType::Opaque,
            on_request_deletion: OnRequestDeletion::Delete,
            purpose: "orders".to_owned(),
            claimed_environment: None,
            claimed_consumer: None,
            fallback_secret: None,
            spec_digest: [7; 32],
        },
        namespace: NamespaceFacts {
            name: "shop".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        },
        references: vec![
            reference("DATABASE_URL", "orders-db", "url"),
            reference("KEY", "orders-api", "password"),
        ],
        requester: None,
    }
}

/// A Wednesday, seven minutes past two in the morning, UTC.
pub(super) fn transient() -> Transient {
    Transient {
        now: "2026-11-25T02:07:00Z".parse().unwrap(),
        anomalies: Vec::new(),
        history: History::default(),
        service: ServiceFacts { reachable: true, seconds_since_answer: 3 },
        lasts: Transient::LASTS,
    }
}

pub(super) fn circumstances(occasion: Occasion) -> Circumstances {
    Circumstances { occasion, transient: Some(transient()) }
}

fn reference(key: &str, title: &str, field: &str) -> ResolvedReference {
    ResolvedReference {
        key: key.to_owned(),
        item: ItemIdentity {
            vault_id: "v".repeat(26).into(),
            item_id: format!("{title:x<26}").into(),
            vault_name: "services".into(),
            title: title.into(),
        },
        version: 1,
        environment: Some("production".to_owned()),
        class: "services".to_owned(),
        type_: "LOGIN".into(),
        section: None,
        field: field.to_owned(),
        wanted: Wanted::Value,
    }
}

pub(super) fn everything() -> Vec<AccessRow> {
    vec![AccessRow {
        name: "all".to_owned(),
        namespaces: Namespaces { all: Some(true), ..Namespaces::default() },
        vaults: vec![VaultSelector { name: Some("*".to_owned()), id: None }],
        items: None,
    }]
}

pub(super) fn scored(name: &str, when: &str, score: i32) -> PolicyRule {
    PolicyRule {
        name: name.to_owned(),
        when: when.to_owned(),
        score: Some(score),
        effect: None,
        occasions: None,
        message: format!("{name} matched"),
        recommendation: None,
    }
}

pub(super) fn effective(name: &str, when: &str, effect: Effect) -> PolicyRule {
    PolicyRule { score: None, effect: Some(effect), ..scored(name, when, 0) }
}

pub(super) fn policy(match_: PolicyMatch, rules: Vec<PolicyRule>) -> CredentialPolicySpec {
    CredentialPolicySpec {
        controller_class: None,
        match_: Some(match_),
        mode: None,
        thresholds: None,
        on_denied: None,
        rules,
    }
}

pub(super) fn set(policies: &[(&str, CredentialPolicySpec)]) -> PolicySet {
    PolicySet::new(
        policies.iter().map(|(name, spec)| Arc::new(PolicyState::compile(name, spec))).collect(),
    )
}

fn decided(facts: Facts, policies: &PolicySet) -> Decision {
    let rows = everything();
    let access = Access::of(&rows, &facts.namespace);
    decide(facts, &circumstances(Occasion::Grant), &access, policies).decision().clone()
}

fn rules(rules: Vec<PolicyRule>) -> Decision {
    decided(facts(), &set(&[("p", policy(PolicyMatch::default(), rules))]))
}

#[test]
fn a_policy_without_rules_allows_what_it_matches() {
    let decision = rules(vec![]);
    assert_eq!((decision.outcome, decision.risk_score), (Outcome::Allowed, 0));
}

#[test]
fn without_a_policy_nothing_is_granted() {
    assert_eq!(decided(facts(), &set(&[])).reason, Reason::NoPolicyMatches);
}

#[test]
fn every_reference_needs_a_policy_that_matches_it() {
    let mut facts = facts();
    facts.references[1].item.vault_name = "infra".into();
    let services = PolicyMatch { vaults: Some(vec!["serv*".to_owned()]), ..PolicyMatch::default() };
    let decision = decided(facts.clone(), &set(&[("services", policy(services.clone(), vec![]))]));
    assert_eq!(decision.reason, Reason::NoPolicyMatches);
    assert!(decision.message.contains("spec.data[KEY]"), "{}", decision.message);

    let infra = PolicyMatch { vaults: Some(vec!["infra".to_owned()]), ..PolicyMatch::default() };
    let both = set(&[("services", policy(services, vec![])), ("infra", policy(infra, vec![]))]);
    assert_eq!(decided(facts, &both).outcome, Outcome::Allowed);
}

#[test]
fn scores_add_up_within_a_policy_and_the_thresholds_are_inclusive() {
    for (scores, outcome, total) in [
        (vec![49], Outcome::Allowed, 49),
        (vec![30, 20], Outcome::Alerted, 50),
        (vec![40, 30], Outcome::Denied, 70),
        (vec![90, 90], Outcome::Denied, 100),
    ] {
        let list = scores.iter().enumerate().map(|(i, s)| scored(&format!("r{i}"), "true", *s));
        let decision = rules(list.collect());
        assert_eq!((decision.outcome, decision.risk_score), (outcome, total));
        assert_eq!(decision.factors.len(), scores.len());
    }
}

#[test]
fn scores_do_not_add_up_across_policies_and_the_worst_outcome_counts() {
    let two = set(&[
        ("a", policy(PolicyMatch::default(), vec![scored("r", "true", 40)])),
        ("b", policy(PolicyMatch::default(), vec![scored("r", "true", 55)])),
    ]);
    let decision = decided(facts(), &two);
    assert_eq!((decision.outcome, decision.risk_score), (Outcome::Alerted, 55));
}

#[test]
fn an_effect_counts_whatever_the_score() {
    assert_eq!(rules(vec![effective("d", "true", Effect::Deny)]).outcome, Outcome::Denied);
    assert_eq!(rules(vec![effective("a", "true", Effect::Alert)]).outcome, Outcome::Alerted);
    assert_eq!(rules(vec![effective("a", "false", Effect::Deny)]).outcome, Outcome::Allowed);
}

#[test]
fn a_rule_that_fails_denies_and_says_so() {
    let decision = rules(vec![scored("r", "namespace.labels['none'] == 'x'", 1)]);
    assert_eq!(decision.outcome, Outcome::Denied);
    assert!(
        decision.factors[0].message.contains("rule r of policy p: the rule failed"),
        "{decision:?}"
    );
}

#[test]
fn a_policy_that_does_not_compile_stops_what_it_matches_and_nothing_else() {
    let broken = |vault: &str| {
        let scope = PolicyMatch { vaults: Some(vec![vault.to_owned()]), ..PolicyMatch::default() };
        policy(scope, vec![scored("r", "nonsense(", 1)])
    };
    let allowing = || ("all", policy(PolicyMatch::default(), vec![]));
    assert_eq!(
        decided(facts(), &set(&[allowing(), ("broken", broken("services"))])).reason,
        Reason::PolicyInvalid
    );
    assert_eq!(
        decided(facts(), &set(&[allowing(), ("broken", broken("other"))])).outcome,
        Outcome::Allowed
    );
}

#[test]
fn a_policy_that_cannot_be_read_stops_everything() {
    let policies = PolicySet::new(vec![
        Arc::new(PolicyState::compile("all", &policy(PolicyMatch::default(), vec![]))),
        Arc::new(PolicyState::Unreadable { name: "newer".to_owned() }),
    ]);
    assert_eq!(decided(facts(), &policies).reason, Reason::PolicyUnreadable);
}

#[test]
fn a_claim_that_contradicts_a_fact_is_denied_and_one_beside_none_is_not() {
    let all = set(&[("all", policy(PolicyMatch::default(), vec![]))]);
    let mut claiming = facts();
    claiming.request.claimed_environment = Some("staging".to_owned());
    assert_eq!(decided(claiming.clone(), &all).reason, Reason::EnvironmentMismatch);
    for reference in &mut claiming.references {
        reference.environment = None;
    }
    assert_eq!(decided(claiming, &all).outcome, Outcome::Allowed);
}

#[test]
fn an_item_of_unknown_environment_is_in_none() {
    let production =
        PolicyMatch { environments: Some(vec!["production".to_owned()]), ..PolicyMatch::default() };
    let only = set(&[("production", policy(production, vec![]))]);
    let mut unknown = facts();
    assert_eq!(decided(unknown.clone(), &only).outcome, Outcome::Allowed);
    unknown.references[0].environment = None;
    assert_eq!(decided(unknown, &only).reason, Reason::NoPolicyMatches);
}

#[test]
fn outside_access_the_answer_does_not_depend_on_what_exists() {
    let all = set(&[("all", policy(PolicyMatch::default(), vec![]))]);
    let access = Access::of(&[], &facts().namespace);
    let existing =
        decide(facts(), &circumstances(Occasion::Grant), &access, &all).decision().clone();
    let nonexistent = Refusal::outside_access(&facts().request, &["DATABASE_URL", "KEY"]).decision;
    assert_eq!(existing, nonexistent);
    assert_eq!(existing.reason, Reason::VaultNotAllowed);
}

#[test]
fn the_digest_moves_with_every_input_and_only_then() {
    let base = rules(vec![]).digest;
    assert_eq!(base, rules(vec![]).digest);
    let all = set(&[("p", policy(PolicyMatch::default(), vec![]))]);
    let changes: [fn(&mut Facts); 5] = [
        |f| f.request.spec_digest = [8; 32],
        |f| f.request.uid = "uid-2".to_owned(),
        |f| f.references[0].item.item_id = "z".repeat(26).into(),
        |f| f.references[0].environment = None,
        |f| drop(f.references.pop()),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = facts();
        change(&mut changed);
        assert_ne!(decided(changed, &all).digest, base, "change {number}");
    }
    let mut other_version = facts();
    other_version.references[0].version = 2;
    assert_eq!(decided(other_version, &all).digest, base);
    assert_ne!(rules(vec![scored("r", "true", 1)]).digest, base);
}

#[test]
fn a_grant_stands_until_deciding_again_gives_something_else() {
    let rows = everything();
    let all = set(&[("p", policy(PolicyMatch::default(), vec![]))]);
    let verdict = |facts: Facts, policies: &PolicySet| {
        let access = Access::of(&rows, &facts.namespace);
        decide(facts, &circumstances(Occasion::Grant), &access, policies)
    };
    let Verdict::Granted(grant) = verdict(facts(), &all) else { panic!("not granted") };
    assert!(grant.confirm(&verdict(facts(), &all)).is_ok());

    let mut edited = facts();
    edited.request.generation = 2;
    assert_eq!(grant.confirm(&verdict(edited, &all)).err(), Some(Unconfirmed::Withdrawn));
    assert_eq!(grant.confirm(&verdict(facts(), &set(&[]))).err(), Some(Unconfirmed::Withdrawn));
}
