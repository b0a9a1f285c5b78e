//! Tests of what passes and what lasts: new grants, refreshes, holds, audit-only policies.

use proptest::prelude::*;

use super::tests::{circumstances, effective, everything, facts, policy, scored, set, transient};
use super::*;
use crate::api::{
    CredentialPolicySpec, Effect, Occasion, OnDenied, Outcome, PolicyMatch, PolicyMode, PolicyRule,
    Reason,
};
use crate::behavior::{Anomaly, Detector, History};

const NIGHT: &str = "now.getHours() < 6";

fn one(rules: Vec<PolicyRule>) -> CredentialPolicySpec {
    policy(PolicyMatch::default(), rules)
}

fn verdict(circumstances: &Circumstances, policies: &[(&str, CredentialPolicySpec)]) -> Verdict {
    let (facts, rows) = (facts(), everything());
    let access = Access::of(&rows, &facts.namespace);
    decide(facts, circumstances, &access, &set(policies))
}

fn grant(rules: Vec<PolicyRule>) -> Verdict {
    verdict(&circumstances(Occasion::Grant), &[("p", one(rules))])
}

fn refresh(rules: Vec<PolicyRule>) -> Verdict {
    verdict(&circumstances(Occasion::Refresh), &[("p", one(rules))])
}

fn durable(occasion: Occasion) -> Circumstances {
    Circumstances { occasion, transient: None }
}

fn anomaly() -> Anomaly {
    Anomaly { detector: Detector::NewVault, message: "vault services is new".to_owned() }
}

#[test]
fn what_passes_denies_a_new_grant_and_holds_a_refresh() {
    let rules = || vec![effective("night", NIGHT, Effect::Deny)];
    let Verdict::Refused(refusal) = grant(rules()) else { panic!("not refused") };
    assert_eq!(refusal.decision.outcome, Outcome::Denied);
    let Verdict::Held(hold) = refresh(rules()) else { panic!("not held") };
    assert_eq!((hold.decision.outcome, hold.decision.reason), (Outcome::Allowed, Reason::Allowed));
    assert!(hold.why.contains("night matched"), "{}", hold.why);
    assert!(hold.decision.factors.is_empty(), "what stands does not rest on what passes");
}

#[test]
fn what_lasts_ends_a_standing_grant() {
    let Verdict::Refused(refusal) = refresh(vec![effective("no", "refs.size() > 1", Effect::Deny)])
    else {
        panic!("not refused")
    };
    assert_eq!(refusal.decision.reason, Reason::Denied);
}

#[test]
fn scores_of_both_kinds_add_up_for_a_grant_and_hold_a_refresh() {
    let rules = || vec![scored("two", "refs.size() > 1", 40), scored("night", NIGHT, 40)];
    let decision = grant(rules()).decision().clone();
    assert_eq!((decision.outcome, decision.risk_score), (Outcome::Denied, 80));
    assert!(matches!(refresh(rules()), Verdict::Held(_)));
}

#[test]
fn a_rule_that_defers_lets_the_request_wait() {
    let rules = || vec![effective("rate", "history.newItemsLastHour > 100", Effect::Defer)];
    let mut busy = circumstances(Occasion::Grant);
    busy.transient = Some(Transient {
        history: History { new_items_last_hour: 101, ..History::default() },
        ..transient()
    });
    let deferred = verdict(&busy, &[("p", one(rules()))]);
    let decision = deferred.decision();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Deferred, Reason::Deferred));
    assert_eq!(decision.again_at, Some(transient().now + Transient::LASTS));
    assert!(matches!(grant(rules()), Verdict::Granted(_)));
    // A rule of durable facts, or of what is settled at the first decision, is asked no second time.
    for settled in ["refs.size() > 100", "anomalies.size() > 3"] {
        let granted = grant(vec![effective("rule", settled, Effect::Deny)]);
        assert_eq!(granted.decision().again_at, None, "{settled}");
    }
    let deny = vec![
        effective("rate", "history.newItemsLastHour > 100", Effect::Defer),
        effective("no", "true", Effect::Deny),
    ];
    assert_eq!(verdict(&busy, &[("p", one(deny))]).decision().outcome, Outcome::Denied);
}

#[test]
fn a_rule_that_would_defer_for_ever_does_not_compile() {
    let state = PolicyState::compile("p", &one(vec![effective("x", "true", Effect::Defer)]));
    assert!(matches!(state, PolicyState::Invalid { error: CompileError::DefersForEver, .. }));
}

#[test]
fn rules_are_for_the_occasions_that_they_name() {
    let only = |on: Occasion| {
        vec![PolicyRule { occasions: Some(vec![on]), ..effective("only", "true", Effect::Deny) }]
    };
    assert!(matches!(grant(only(Occasion::Grant)), Verdict::Refused(_)));
    assert!(matches!(refresh(only(Occasion::Grant)), Verdict::Granted(_)));
    assert!(matches!(grant(only(Occasion::Refresh)), Verdict::Granted(_)));
    assert!(matches!(refresh(only(Occasion::Refresh)), Verdict::Refused(_)));
    let both = vec![PolicyRule {
        occasions: Some(vec![Occasion::Refresh, Occasion::Grant]),
        ..effective("both", "true", Effect::Deny)
    }];
    assert!(matches!(grant(both.clone()), Verdict::Refused(_)));
    assert!(matches!(refresh(both), Verdict::Refused(_)));
}

#[test]
fn a_policy_that_only_audits_is_told_of_and_neither_decides_nor_covers() {
    let strict = CredentialPolicySpec {
        mode: Some(PolicyMode::Audit),
        ..one(vec![effective("no", "true", Effect::Deny)])
    };
    let alone = verdict(&circumstances(Occasion::Grant), &[("strict", strict.clone())]);
    assert_eq!(alone.decision().reason, Reason::NoPolicyMatches);
    let both =
        verdict(&circumstances(Occasion::Grant), &[("all", one(vec![])), ("strict", strict)]);
    assert!(matches!(&both, Verdict::Granted(_)));
    let results = &both.decision().policies;
    let told: Vec<_> = results.iter().map(|r| (r.policy.as_str(), r.mode, r.outcome)).collect();
    assert_eq!(
        told,
        [
            ("all", PolicyMode::Enforce, Outcome::Allowed),
            ("strict", PolicyMode::Audit, Outcome::Denied)
        ]
    );
    assert!(both.decision().factors.is_empty());
}

#[test]
fn a_broken_policy_that_only_audits_stops_nothing() {
    let broken = CredentialPolicySpec {
        mode: Some(PolicyMode::Audit),
        ..one(vec![effective("x", "nonsense", Effect::Deny)])
    };
    let verdict =
        verdict(&circumstances(Occasion::Grant), &[("all", one(vec![])), ("broken", broken)]);
    assert!(matches!(verdict, Verdict::Granted(_)));
}

#[test]
fn only_a_denial_that_lasts_and_has_an_answer_deletes() {
    let deleting = |rules| CredentialPolicySpec { on_denied: Some(OnDenied::Delete), ..one(rules) };
    let on_denied = |occasion, rules| match verdict(
        &circumstances(occasion),
        &[("all", one(vec![])), ("p", deleting(rules))],
    ) {
        Verdict::Refused(refusal) => Some(refusal.on_denied),
        Verdict::Granted(_) | Verdict::Held(_) => None,
    };
    for occasion in [Occasion::Grant, Occasion::Refresh] {
        let lasting = vec![effective("no", "refs.size() > 1", Effect::Deny)];
        assert_eq!(on_denied(occasion, lasting), Some(OnDenied::Delete));
        let failing = vec![effective("x", "namespace.labels['none'] == ''", Effect::Alert)];
        assert_eq!(on_denied(occasion, failing), Some(OnDenied::Retain));
    }
    let passing = || vec![effective("night", NIGHT, Effect::Deny)];
    assert_eq!(on_denied(Occasion::Grant, passing()), Some(OnDenied::Retain));
    assert_eq!(on_denied(Occasion::Refresh, passing()), None);
    let outage = || vec![effective("away", "service.reachable", Effect::Deny)];
    assert_eq!(on_denied(Occasion::Grant, outage()), Some(OnDenied::Retain));
}

#[test]
fn the_digest_is_that_of_what_lasts() {
    let rules = || vec![scored("two", "refs.size() > 1", 10), scored("night", NIGHT, 30)];
    let policies = [("p", one(rules()))];
    let first = verdict(&circumstances(Occasion::Grant), &policies);
    let mut later = circumstances(Occasion::Refresh);
    later.transient = Some(Transient {
        now: "2026-11-25T12:00:00Z".parse().unwrap(),
        anomalies: vec![anomaly()],
        ..transient()
    });
    let second = verdict(&later, &policies);
    let third = verdict(&durable(Occasion::Refresh), &policies);
    assert_ne!(first.decision().risk_score, second.decision().risk_score);
    let digests = [&first, &second, &third].map(|v| v.decision().digest.clone());
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
    let Verdict::Granted(grant) = first else { panic!("not granted") };
    assert!(grant.confirm(&third).is_ok());
}

#[test]
fn where_what_passes_is_not_known_rules_that_read_it_are_not_asked() {
    let rules = vec![effective("night", NIGHT, Effect::Deny)];
    let verdict = verdict(&durable(Occasion::Grant), &[("p", one(rules))]);
    assert!(matches!(verdict, Verdict::Granted(_)));
}

#[test]
fn rules_read_anomalies_and_the_decision_names_them() {
    let mut unusual = circumstances(Occasion::Grant);
    unusual.transient = Some(Transient { anomalies: vec![anomaly()], ..transient() });
    let rules = vec![scored("anomaly", "anomalies.exists(a, a.detector == 'NewVault')", 20)];
    let verdict = verdict(&unusual, &[("p", one(rules))]);
    assert_eq!(verdict.decision().risk_score, 20);
    assert_eq!(verdict.decision().anomalies(), [anomaly()]);
}

#[test]
fn a_policy_whose_rules_take_too_many_steps_does_not_compile() {
    let costly = "refs.all(a, refs.all(b, a.item != b.item || a.vault != b.vault))";
    let rules = (0..8).map(|n| effective(&format!("r{n}"), costly, Effect::Alert)).collect();
    let PolicyState::Invalid { error: CompileError::TooCostly(_), rule, .. } =
        PolicyState::compile("p", &one(rules))
    else {
        panic!("it compiled")
    };
    assert_ne!(rule, "r0", "a rule alone may go through lists in lists");
}

/// Rules of both kinds that match or not, with scores and effects.
fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let when = prop_oneof![
        Just("true"),
        Just("false"),
        Just("refs.size() > 1"),
        Just(NIGHT),
        Just("now.getHours() > 6"),
        Just("anomalies.size() > 0"),
        Just("history.newItems >= 0"),
        Just("namespace.labels['none'] == ''"),
    ];
    let weight = prop_oneof![
        (1..=100).prop_map(|score| (Some(score), None)),
        Just((None, Some(Effect::Alert))),
        Just((None, Some(Effect::Deny))),
        Just((None, Some(Effect::Defer))),
    ];
    // One that defers reads what time changes, or it does not compile.
    let passes = |when: &str| ["now", "history"].iter().any(|v| when.contains(v));
    let on = prop_oneof![
        Just(None),
        Just(Some(vec![Occasion::Grant])),
        Just(Some(vec![Occasion::Refresh])),
    ];
    (when, weight, on).prop_map(move |(when, (score, effect), on)| {
        let when = if effect == Some(Effect::Defer) && !passes(when) { NIGHT } else { when };
        PolicyRule { score, effect, occasions: on, ..effective("any", when, Effect::Alert) }
    })
}

fn named(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let numbered = rules.into_iter().enumerate();
    numbered.map(|(n, rule)| PolicyRule { name: format!("r{n}"), ..rule }).collect()
}

fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Granted(grant) if grant.decision().outcome == Outcome::Allowed => 0,
        Verdict::Granted(_) => 1,
        Verdict::Held(_) => 2,
        Verdict::Refused(refusal) if refusal.decision.outcome == Outcome::Deferred => 3,
        Verdict::Refused(_) => 4,
    }
}

fn any_occasion() -> impl Strategy<Value = Occasion> {
    prop_oneof![Just(Occasion::Grant), Just(Occasion::Refresh)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_rule_never_makes_an_outcome_better(
        rules in prop::collection::vec(any_rule(), 0..6), more in any_rule(), on in any_occasion()
    ) {
        let all: Vec<PolicyRule> = rules.iter().cloned().chain([more]).collect();
        let before = verdict(&circumstances(on), &[("p", one(named(rules)))]);
        let after = verdict(&circumstances(on), &[("p", one(named(all)))]);
        prop_assert!(rank(&after) >= rank(&before));
        prop_assert!(after.decision().risk_score >= before.decision().risk_score || rank(&after) > rank(&before));
    }

    #[test]
    fn another_anomaly_never_makes_an_outcome_better(
        score in 1..=100, known in 0_usize..4, on in any_occasion()
    ) {
        let rules = (1..5).map(|n| scored(&format!("r{n}"), &format!("anomalies.size() >= {n}"), score)).collect();
        let policies = [("p", one(rules))];
        let with = |count: usize| {
            let anomalies = vec![anomaly(); count];
            let transient = Some(Transient { anomalies, ..transient() });
            verdict(&Circumstances { occasion: on, transient }, &policies)
        };
        prop_assert!(rank(&with(known + 1)) >= rank(&with(known)));
    }

    #[test]
    fn equal_facts_give_equal_decisions(
        rules in prop::collection::vec(any_rule(), 0..6), on in any_occasion()
    ) {
        let policies = [("p", one(named(rules)))];
        let first = verdict(&circumstances(on), &policies);
        let second = verdict(&circumstances(on), &policies);
        prop_assert_eq!(first.decision(), second.decision());
    }
}
