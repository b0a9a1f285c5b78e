//! How much one namespace takes to, and how fast.

use chrono::TimeDelta;

use super::given::{TOOLS, Vault, World, installed_at};
use crate::behavior::{Attempt, Detector};

/// Attempts for one item each, over many vaults, so that no vault stands out.
fn scattered(world: &mut World, namespace: &str, items: std::ops::Range<usize>) -> Vec<Attempt> {
    const VAULTS: [Vault; 4] = [("a", None), ("b", None), ("c", None), ("d", None)];
    let all = items.map(|n| world.attempt(namespace, &format!("r-{n}"), VAULTS[n % 4], n..n + 1));
    all.collect()
}

#[test]
fn more_new_items_than_usual_are_a_burst() {
    let mut world = World::with_habits();
    let attempts = scattered(&mut world, "shop", 0..40);
    assert_eq!(world.first_seen_at(Detector::BurstOverBaseline, attempts), Some(31));
}

#[test]
fn a_namespace_that_always_takes_to_many_items_may_go_on() {
    let mut world = World::new();
    for week in 0..8 {
        let attempts = scattered(&mut world, "busy", week * 20..week * 20 + 20);
        assert_eq!(world.first_seen_at(Detector::BurstOverBaseline, attempts), None);
        world.pass(TimeDelta::days(7) + TimeDelta::seconds(1));
    }
    let attempts = scattered(&mut world, "busy", 200..260);
    assert_eq!(world.first_seen_at(Detector::BurstOverBaseline, attempts), None, "3 times usual");
    let attempts = scattered(&mut world, "busy", 260..300);
    assert_eq!(world.first_seen_at(Detector::BurstOverBaseline, attempts), Some(29), "4 times");
}

#[test]
fn an_hour_and_a_day_have_ceilings_for_everybody() {
    let mut world = World::with_habits();
    let attempts = scattered(&mut world, "shop", 0..40);
    assert_eq!(world.first_seen_at(Detector::BurstOverCeiling, attempts), Some(36));

    let mut world = World::with_habits();
    let mut first = None;
    for hour in 0..5 {
        let attempts = scattered(&mut world, "shop", hour * 10..hour * 10 + 10);
        let seen = world.first_seen_at(Detector::BurstOverCeiling, attempts);
        first = first.or(seen.map(|at| hour * 10 + at));
        world.pass(TimeDelta::hours(2));
    }
    assert_eq!(first, Some(41));
}

#[test]
fn what_was_granted_before_is_no_burst_however_often_it_is_asked_for() {
    let mut world = World::with_habits();
    let attempts = scattered(&mut world, "shop", 0..30);
    for attempt in &attempts {
        world.grant(attempt);
    }
    world.pass(TimeDelta::days(8));
    for _ in 0..20 {
        for attempt in scattered(&mut world, "shop", 0..30) {
            assert_eq!(world.sees(&attempt), []);
            world.grant(&attempt);
        }
        world.pass(TimeDelta::hours(2));
    }
}

#[test]
fn one_consumer_has_a_ceiling_of_its_own_and_fresh_names_do_not_lift_that_of_the_namespace() {
    let mut world = World::with_habits();
    let mut attempts = scattered(&mut world, "shop", 0..40);
    for attempt in &mut attempts {
        attempt.consumer = Some("web".to_owned());
    }
    assert_eq!(world.first_seen_at(Detector::BurstOverCeiling, attempts), Some(31));

    let mut world = World::with_habits();
    let mut attempts = scattered(&mut world, "shop", 0..40);
    for (number, attempt) in attempts.iter_mut().enumerate() {
        attempt.consumer = Some(format!("made-up-{number}"));
    }
    assert_eq!(world.first_seen_at(Detector::BurstOverCeiling, attempts), Some(36));
}

#[test]
fn a_month_has_a_ceiling_however_few_items_come_at_a_time() {
    let mut world = World::with_habits();
    let mut first = None;
    for day in 0..30 {
        let attempts = scattered(&mut world, "shop", day * 3..day * 3 + 3);
        let seen = world.first_seen_at(Detector::SlowDrip, attempts);
        first = first.or(seen.map(|at| day * 3 + at));
        world.pass(TimeDelta::days(1));
    }
    assert_eq!(first, Some(61));
}

#[test]
fn what_is_spread_over_more_than_a_month_is_no_drip() {
    let mut world = World::with_habits();
    for day in 0..90 {
        let attempts = scattered(&mut world, "shop", day..day + 1);
        assert_eq!(world.first_seen_at(Detector::SlowDrip, attempts), None);
        world.pass(TimeDelta::days(1));
    }
}

#[test]
fn many_items_of_one_vault_are_seen_and_as_many_of_several_are_not() {
    let mut world = World::with_habits();
    let attempts = world.one_by_one("shop", TOOLS, 1..30);
    assert_eq!(world.first_seen_at(Detector::BreadthWithinVault, attempts), Some(16));
    let mut world = World::with_habits();
    let attempts = scattered(&mut world, "shop", 0..29);
    assert_eq!(world.first_seen_at(Detector::BreadthWithinVault, attempts), None);
}

#[test]
fn one_attempt_for_many_items_counts_as_many() {
    let mut world = World::with_habits();
    let whole = world.attempt("shop", "dump", TOOLS, 1..201);
    let seen = world.sees(&whole);
    for detector in [
        Detector::BurstOverBaseline,
        Detector::BurstOverCeiling,
        Detector::SlowDrip,
        Detector::BreadthWithinVault,
        Detector::VaultBurst,
        Detector::VaultDrip,
    ] {
        assert!(seen.contains(&detector), "{detector:?} not in {seen:?}");
    }
    let twice = world.attempt("shop", "dump", TOOLS, 1..11);
    let mut doubled = twice.clone();
    doubled.items.extend(twice.items.clone());
    assert_eq!(world.look(&doubled), world.look(&twice), "an item counts once");
}

#[test]
fn many_vaults_in_a_week_are_seen_and_as_many_in_a_season_are_not() {
    const VAULTS: [Vault; 6] =
        [("a", None), ("b", None), ("c", None), ("d", None), ("e", None), ("f", None)];
    let mut world = World::with_habits();
    let attempts = VAULTS.map(|vault| world.attempt("shop", "r", vault, 0..1));
    assert_eq!(world.first_seen_at(Detector::BreadthOverVaults, attempts), Some(5));
    let mut world = World::with_habits();
    for vault in VAULTS {
        let attempt = world.attempt("shop", "r", vault, 0..1);
        assert_eq!(world.sees(&attempt), [Detector::NewVault]);
        world.grant(&attempt);
        world.pass(TimeDelta::days(14));
    }
}

#[test]
fn what_was_learned_counts_for_no_ceiling_afterwards() {
    let mut world = World::new();
    world.now = installed_at() + TimeDelta::days(13);
    let attempts = world.one_by_one("shop", TOOLS, 0..100);
    let first = world.first_seen_at(Detector::BreadthWithinVault, attempts);
    assert_eq!(first, Some(16), "it is recorded even so");
    world.pass(TimeDelta::days(1));
    let attempts = world.one_by_one("shop", TOOLS, 100..110);
    for attempt in attempts {
        assert_eq!(world.sees(&attempt), []);
        world.grant(&attempt);
    }
}
