//! What a vault gives out over all namespaces.

use chrono::TimeDelta;

use super::given::{TOOLS, World};
use crate::behavior::{Attempt, Detector, Profile, Profiles};

/// Namespaces that each have an item of the vault, and ask for others in turn.
fn by_turns(world: &mut World, namespaces: usize, items: std::ops::Range<usize>) -> Vec<Attempt> {
    let all = items.map(|n| {
        world.attempt(&format!("ns-{}", n % namespaces), &format!("r-{n}"), TOOLS, n..n + 1)
    });
    all.collect()
}

#[test]
fn a_dump_over_many_namespaces_is_seen_though_each_takes_little() {
    let mut world = World::new();
    let attempts = by_turns(&mut world, 50, 0..200);
    assert_eq!(world.first_seen_at(Detector::VaultSpread, attempts), Some(21));
}

#[test]
fn an_item_that_others_had_for_long_counts_again_for_who_takes_it_now() {
    let mut world = World::new();
    for attempt in by_turns(&mut world, 1, 0..200) {
        world.grant(&attempt);
    }
    world.pass(TimeDelta::days(60));
    let attempts = (0..50).map(|n| {
        let name = format!("thief-{n}");
        world.attempt(&name, "r", TOOLS, n..n + 1)
    });
    let attempts: Vec<_> = attempts.collect();
    let first = world.first_seen_at(Detector::VaultBurst, attempts);
    assert_eq!(first, Some(41));
}

#[test]
fn one_item_that_everybody_uses_is_no_burst_of_its_vault() {
    let mut world = World::new();
    for n in 0..100 {
        let attempt = world.attempt(&format!("ns-{n}"), "registry", TOOLS, 0..1);
        assert_eq!(world.history(&attempt).vault_items_last_day, 1);
        assert!(!world.sees(&attempt).contains(&Detector::VaultBurst));
        assert!(!world.sees(&attempt).contains(&Detector::VaultDrip));
        world.grant(&attempt);
    }
}

#[test]
fn a_vault_that_is_emptied_slowly_is_seen_whoever_does_it() {
    let mut world = World::new();
    let mut first = None;
    for day in 0..30 {
        let attempts = by_turns(&mut world, 50, day * 6..day * 6 + 6);
        let seen = world.first_seen_at(Detector::VaultDrip, attempts);
        first = first.or(seen.map(|at| day * 6 + at));
        world.pass(TimeDelta::days(1));
    }
    assert_eq!(first, Some(61));
}

#[test]
fn a_vault_that_always_gives_out_much_may_go_on() {
    let mut world = World::new();
    for month in 0..4 {
        for day in 0..30 {
            let from = month * 30 + day;
            let attempts = by_turns(&mut world, 10, from..from + 1);
            assert_eq!(world.first_seen_at(Detector::VaultDrip, attempts), None);
            world.pass(TimeDelta::days(1));
        }
    }
    let mut first = None;
    for day in 0..30 {
        let attempts = by_turns(&mut world, 10, 200 + day * 4..204 + day * 4);
        let seen = world.first_seen_at(Detector::VaultDrip, attempts);
        first = first.or(seen.map(|at| day * 4 + at));
        world.pass(TimeDelta::days(1));
    }
    assert!(first.is_none_or(|first| first > 61), "{first:?}");
}

#[test]
fn the_figures_of_vaults_outlive_a_restart_and_the_removal_of_a_profile() {
    let mut world = World::new();
    for attempt in by_turns(&mut world, 8, 0..40) {
        world.grant(&attempt);
    }
    let next = world.attempt("ns-0", "next", TOOLS, 50..51);
    assert!(world.sees(&next).contains(&Detector::VaultBurst));

    let mut restarted = Profiles::default();
    for (namespace, profile) in world.profiles.iter() {
        let stored = profile.seal(namespace, |_| "tag".to_owned());
        restarted.load(namespace, Profile::open(namespace, &stored, |_, _| true).unwrap());
    }
    let before = world.look(&next);
    world.profiles = restarted;
    assert_eq!(world.look(&next), before);

    let mut bereft = Profiles::default();
    let over_all = world.profiles.get(Profiles::OVER_ALL).unwrap().clone();
    bereft.load(Profiles::OVER_ALL, over_all);
    let mut lost = world.twin();
    lost.profiles = bereft;
    assert!(lost.sees(&next).contains(&Detector::VaultBurst), "though all profiles were deleted");

    let old = Profile::new(world.now);
    world.profiles.load("ns-2", old);
    assert!(world.sees(&next).contains(&Detector::VaultBurst));
}

#[test]
fn messages_name_no_vault_and_no_namespace_but_the_attempts_own() {
    let mut world = World::new();
    for attempt in by_turns(&mut world, 50, 0..200) {
        world.grant(&attempt);
    }
    let other = world.attempt("ns-0", "r", ("secret-plans", None), 0..1);
    world.grant(&other);
    let next = world.attempt("ns-1", "next", TOOLS, 300..500);
    let seen = world.look(&next).anomalies;
    assert!(seen.len() > 5, "{seen:?}");
    for anomaly in seen {
        assert!(!anomaly.message.contains("secret-plans"), "{}", anomaly.message);
        assert!(!anomaly.message.contains("ns-"), "{}", anomaly.message);
    }
}

#[test]
fn messages_are_short_and_on_one_line_whatever_a_vault_is_called() {
    let mut world = World::with_habits();
    let mut attempt = world.attempt("shop", "r", TOOLS, 100..300);
    for item in &mut attempt.items {
        item.vault_name = "a\nb\u{1b}[31m".repeat(100);
        item.vault_id = "vault-odd".to_owned();
    }
    attempt.consumer = Some("c\n".repeat(120));
    for anomaly in world.look(&attempt).anomalies {
        assert!(anomaly.message.chars().count() <= 256, "{}", anomaly.message);
        assert!(!anomaly.message.chars().any(char::is_control), "{:?}", anomaly.message);
    }
}
