//! What holds whatever is attempted.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::given::{TOOLS, World, installed_at};
use crate::api::AccessProfileSpec;
use crate::behavior::decay::{self, ONE};
use crate::behavior::{Attempt, AttemptedItem, Detector, NotedOutcome, Seen};

fn item() -> impl Strategy<Value = AttemptedItem> {
    (0..5_u8, 0..60_u8, 0..3_u8).prop_map(|(vault, item, environment)| AttemptedItem {
        vault_id: format!("vault-{vault}"),
        item_id: format!("item-{item}"),
        vault_name: format!("name-{vault}"),
        environment: (environment > 0).then(|| format!("environment-{environment}")),
    })
}

/// An attempt, and the seconds that have passed since the one before.
fn attempt() -> impl Strategy<Value = (Attempt, i64)> {
    let items = prop::collection::vec(item(), 1..8);
    (0..4_u8, 0..6_u8, 0..200_u8, prop::option::of(0..4_u8), items, 0..200_000_i64).prop_map(
        |(namespace, request, uid, consumer, items, seconds)| {
            let attempt = Attempt {
                namespace: format!("ns-{namespace}"),
                namespace_created: None,
                request: format!("request-{request}"),
                uid: format!("uid-{uid}"),
                spec: format!("spec-{}", uid % 3),
                consumer: consumer.map(|c| format!("consumer-{c}")),
                items,
                at: installed_at(),
            };
            (attempt, seconds)
        },
    )
}

fn outcome() -> impl Strategy<Value = NotedOutcome> {
    prop_oneof![
        3 => (0..100).prop_map(|risk| NotedOutcome::Granted { risk }),
        1 => (0..100).prop_map(|risk| NotedOutcome::Denied { risk }),
        1 => Just(NotedOutcome::Deferred),
    ]
}

fn lives() -> impl Strategy<Value = Vec<((Attempt, i64), NotedOutcome)>> {
    prop::collection::vec((attempt(), outcome()), 1..60)
}

/// Lives through attempts, with a word after each.
fn live(
    world: &mut World,
    life: Vec<((Attempt, i64), NotedOutcome)>,
    mut after: impl FnMut(&World, &Attempt, NotedOutcome, &Seen),
) {
    for ((mut attempt, seconds), outcome) in life {
        world.pass(TimeDelta::seconds(seconds));
        attempt.at = world.now;
        let seen = world.look(&attempt);
        world.note(&attempt, outcome);
        after(world, &attempt, outcome, &seen);
    }
}

/// What only ever grows.
fn counts(known: &AccessProfileSpec) -> Vec<i64> {
    let vaults = known.vaults.iter().map(|vault| vault.grants).sum();
    let items: usize = known.vaults.iter().map(|vault| vault.items.len()).sum();
    let environments = known.environments.len();
    let all = [known.grants, known.denials, known.deferrals, known.anomalies, vaults];
    all.into_iter().chain([items, environments].map(|n| i64::try_from(n).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_look_changes_nothing_and_is_the_same_twice(life in lives(), (next, _) in attempt()) {
        let mut world = World::new();
        live(&mut world, life, |_, _, _, _| ());
        let before: Vec<_> = world.profiles.iter().map(|(n, p)| (n.to_owned(), p.clone())).collect();
        let next = Attempt { at: world.now, ..next };
        prop_assert_eq!(world.look(&next), world.look(&next));
        let after: Vec<_> = world.profiles.iter().map(|(n, p)| (n.to_owned(), p.clone())).collect();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn the_order_of_items_does_not_matter(life in lives(), (next, _) in attempt()) {
        let mut world = World::new();
        live(&mut world, life, |_, _, _, _| ());
        let next = Attempt { at: world.now, ..next };
        let mut turned = next.clone();
        turned.items.reverse();
        prop_assert_eq!(world.look(&next), world.look(&turned));
        let mut other = world.twin();
        world.grant(&next);
        other.grant(&turned);
        prop_assert_eq!(world.profiles.get(&next.namespace), other.profiles.get(&next.namespace));
    }

    #[test]
    fn noting_lowers_no_count_and_only_a_grant_makes_familiar(life in lives()) {
        let mut world = World::new();
        let mut before: std::collections::BTreeMap<String, AccessProfileSpec> = Default::default();
        live(&mut world, life, |world, attempt, outcome, _| {
            let after = world.profiles.get(&attempt.namespace).unwrap().known().clone();
            let familiar = |of: &AccessProfileSpec| (of.vaults.clone(), of.environments.clone(), of.hours.clone());
            if let Some(before) = before.get(&attempt.namespace) {
                let (old, new) = (counts(before), counts(&after));
                assert!(old.iter().zip(&new).all(|(old, new)| old <= new), "{old:?} {new:?}");
                if !matches!(outcome, NotedOutcome::Granted { .. }) {
                    assert_eq!(familiar(before), familiar(&after));
                }
            } else if !matches!(outcome, NotedOutcome::Granted { .. }) {
                assert_eq!(familiar(&after), (vec![], vec![], vec![0; 24]));
            }
            before.insert(attempt.namespace.clone(), after);
        });
    }

    #[test]
    fn at_most_one_novelty_is_told_and_each_detector_once(life in lives()) {
        let mut world = World::new();
        live(&mut world, life, |_, _, _, seen| {
            let detectors: Vec<_> = seen.anomalies.iter().map(|a| a.detector).collect();
            assert!(detectors.is_sorted_by(|a, b| a < b), "{detectors:?}");
            assert!(detectors.iter().filter(|d| **d <= Detector::NewEnvironment).count() <= 1);
        });
    }

    #[test]
    fn counts_only_fade_and_never_below_nothing(
        count in 0..1_000_000_000_i64, first in 0..100_000_000_i64, more in 0..100_000_000_i64,
        half_life in 1..10_000_000_i64,
    ) {
        let once = decay::decayed(count, first, half_life);
        let longer = decay::decayed(count, first + more, half_life);
        prop_assert!((0..=count).contains(&once));
        prop_assert!(longer <= once);
        prop_assert!(decay::decayed(once, more, half_life) <= once);
        prop_assert!(decay::decayed(count / 2, first, half_life) <= once);
        prop_assert_eq!(decay::decayed(count, 0, half_life), count);
    }

    #[test]
    fn the_mean_and_deviation_of_equal_intervals_are_what_they_are(
        seconds in 1..10_000_000_i64, times in 1..50_usize,
    ) {
        let mut intervals = crate::api::Intervals::default();
        for _ in 0..times {
            intervals = decay::with_interval(intervals, seconds);
        }
        prop_assert_eq!((intervals.mean_seconds, intervals.deviation_seconds), (seconds, 0));
        prop_assert!(intervals.weight >= ONE && intervals.weight <= i64::try_from(times).unwrap() * ONE);
    }

    #[test]
    fn made_up_consumers_change_nothing_for_a_real_one(
        made_up in prop::collection::vec("[a-z]{1,20}", 1..120), wanted in 1..60_usize,
    ) {
        let mut quiet = World::with_habits();
        for day in 0..5 {
            let mut attempt = quiet.attempt("shop", "real", TOOLS, day..day + 1);
            attempt.consumer = Some("REAL".to_owned());
            quiet.grant(&attempt);
            quiet.pass(TimeDelta::days(1));
        }
        let mut noisy = quiet.twin();
        let again = quiet.attempt("shop", "real", TOOLS, 0..1);
        for world in [&mut quiet, &mut noisy] {
            world.grant(&again);
        }
        for name in &made_up {
            let mut attempt = noisy.attempt("shop", "real", TOOLS, 0..1);
            attempt.uid.clone_from(&again.uid);
            attempt.consumer = Some(name.clone());
            noisy.grant(&attempt);
        }
        let mut next = quiet.attempt("shop", "next", TOOLS, 100..100 + wanted);
        next.consumer = Some("REAL".to_owned());
        prop_assert_eq!(quiet.sees(&next), noisy.sees(&next));
        let consumers = &noisy.profiles.get("shop").unwrap().known().consumers;
        let real = consumers.iter().find(|consumer| consumer.name == "REAL");
        prop_assert_eq!(real.map(|real| real.items), Some(4));
    }
}

/// A generator of its own, so that a hundred thousand attempts take no time to make.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_profile_is_bounded_whatever_comes() {
    let mut world = World::new();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    // As long as ids and names get.
    let (short, long, vault_name) = ("0".repeat(44), "0".repeat(233), "\u{1f511}".repeat(65));
    for number in 0..100_000_u64 {
        let mut name = |most: u64| format!("{short}{:0>20}", random(&mut state) % most);
        let items = (0..=number % 3).map(|_| AttemptedItem {
            vault_id: name(64),
            item_id: name(u64::MAX),
            vault_name: vault_name.clone(),
            environment: Some(name(100)),
        });
        let items = items.collect();
        let attempt = Attempt {
            namespace: "shop".to_owned(),
            namespace_created: None,
            request: format!("{long}{:0>20}", number % 1000),
            uid: name(u64::MAX),
            spec: name(u64::MAX),
            consumer: Some(format!("{long}{:0>20}", number % 700)),
            items,
            at: world.now,
        };
        let outcome = match number % 4 {
            0 => NotedOutcome::Denied { risk: 100 },
            _ => NotedOutcome::Granted { risk: 0 },
        };
        let seen = if number % 1000 == 0 { world.look(&attempt) } else { no_look() };
        world.profiles.note(&attempt, outcome, &seen, world.now);
        world.pass(TimeDelta::seconds(60));
    }
    let stored = world.profiles.get("shop").unwrap().seal("shop", |_| "t".repeat(128));
    let size = serde_json::to_vec(&stored).unwrap().len();
    assert!(size < 200_000, "{size} bytes");
    assert!(size > 100_000, "{size} bytes: the bounds were not reached");
}

fn no_look() -> Seen {
    Seen { anomalies: Vec::new(), history: Default::default() }
}
