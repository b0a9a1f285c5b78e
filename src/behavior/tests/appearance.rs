//! First appearances, new vaults and environments, and profiles that are lost.

use chrono::TimeDelta;

use super::given::{LIVE, TOOLS, World, installed_at};
use crate::api::RebuildCause;
use crate::behavior::{Detector, NotedOutcome};

#[test]
fn the_first_attempt_of_a_namespace_is_one_anomaly_however_much_is_new() {
    let mut world = World::new();
    let mut attempt = world.attempt("shop", "web", LIVE, 0..2);
    attempt.items.extend(world.attempt("shop", "web", TOOLS, 0..2).items);
    assert_eq!(world.sees(&attempt), [Detector::FirstAppearance]);
    world.grant(&attempt);
    let again = world.attempt("shop", "web", LIVE, 0..2);
    assert_eq!(world.sees(&again), []);
}

#[test]
fn what_was_denied_or_deferred_stays_new() {
    let mut world = World::new();
    let attempt = world.attempt("shop", "web", LIVE, 0..1);
    world.note(&attempt, NotedOutcome::Deferred);
    assert_eq!(world.sees(&attempt), [Detector::FirstAppearance]);
    world.deny(&attempt);
    assert!(world.sees(&attempt).contains(&Detector::FirstAppearance));
    let history = world.history(&attempt);
    assert_eq!((history.new_items, history.items, history.vaults), (1, 0, 0));
}

#[test]
fn an_established_namespace_that_takes_to_a_vault_is_seen_once() {
    let mut world = World::with_habits();
    let attempt = world.attempt("shop", "mail", ("mail", Some("production")), 0..1);
    assert_eq!(world.sees(&attempt), [Detector::NewVault]);
    let message = world.message(&attempt, Detector::NewVault);
    assert_eq!(message, "this namespace was never granted an item of vault `mail`");
    world.grant(&attempt);
    let other = world.attempt("shop", "mail", ("mail", Some("production")), 1..2);
    assert_eq!(world.sees(&other), []);
}

#[test]
fn an_environment_is_new_until_it_is_granted() {
    let mut world = World::with_habits();
    let attempt = world.attempt("shop", "web", ("live", Some("staging")), 1..2);
    assert_eq!(world.sees(&attempt), [Detector::NewEnvironment]);
    world.grant(&attempt);
    let other = world.attempt("shop", "web", ("live", Some("staging")), 2..3);
    assert_eq!(world.sees(&other), []);
    let unknown = world.attempt("shop", "web", ("live", None), 3..4);
    assert_eq!(world.sees(&unknown), []);
}

#[test]
fn a_new_vault_of_a_new_environment_is_one_anomaly() {
    let mut world = World::with_habits();
    let attempt = world.attempt("shop", "web", ("trial", Some("staging")), 0..1);
    assert_eq!(world.sees(&attempt), [Detector::NewVault]);
}

#[test]
fn an_old_namespace_without_a_profile_is_seen_for_a_day() {
    let mut world = World::new();
    let mut attempt = world.attempt("shop", "web", TOOLS, 0..1);
    attempt.namespace_created = Some(world.now - TimeDelta::days(6));
    assert_eq!(world.sees(&attempt), [Detector::FirstAppearance]);
    attempt.namespace_created = Some(world.now - TimeDelta::days(30));
    assert_eq!(world.sees(&attempt), [Detector::MissingProfile]);
    world.grant(&attempt);

    world.pass(TimeDelta::hours(20));
    let again = world.attempt("shop", "web", TOOLS, 0..1);
    assert_eq!(world.sees(&again), [Detector::MissingProfile]);
    world.pass(TimeDelta::hours(5));
    let later = world.attempt("shop", "web", TOOLS, 0..1);
    assert_eq!(world.sees(&later), []);
}

#[test]
fn in_the_learning_period_no_namespace_is_expected_to_have_a_profile() {
    let mut world = World::new();
    world.now = installed_at() + TimeDelta::days(1);
    let mut attempt = world.attempt("shop", "web", TOOLS, 0..1);
    attempt.namespace_created = Some(installed_at() - TimeDelta::days(300));
    assert_eq!(world.sees(&attempt), [Detector::FirstAppearance]);
    assert!(world.history(&attempt).learning);
    world.now = installed_at() + TimeDelta::days(14);
    attempt.at = world.now;
    assert_eq!(world.sees(&attempt), [Detector::MissingProfile]);
    assert!(!world.history(&attempt).learning);
}

#[test]
fn a_foreign_or_broken_profile_is_seen_for_a_day_and_stands_for_all_that_is_new() {
    for (cause, detector) in [
        (RebuildCause::Foreign, Detector::ForeignProfile),
        (RebuildCause::Broken, Detector::BrokenProfile),
        (RebuildCause::Missing, Detector::MissingProfile),
    ] {
        let mut world = World::new();
        world.profiles.doubt("shop", cause, world.now);
        let attempt = world.attempt("shop", "web", TOOLS, 0..1);
        assert_eq!(world.sees(&attempt), [detector]);
        world.grant(&attempt);
        let known = world.attempt("shop", "web", TOOLS, 0..1);
        assert_eq!(world.sees(&known), [detector], "one attempt does not clear it");
        world.pass(TimeDelta::hours(25));
        let later = world.attempt("shop", "web", TOOLS, 0..1);
        assert_eq!(world.sees(&later), []);
    }
}

#[test]
fn doubt_takes_nothing_away_from_what_is_known_in_memory() {
    let mut world = World::with_habits();
    let before = world.profiles.get("shop").unwrap().known().vaults.clone();
    world.profiles.doubt("shop", RebuildCause::Missing, world.now);
    assert_eq!(world.profiles.get("shop").unwrap().known().vaults, before);
}

#[test]
fn a_namespace_that_is_deleted_and_made_again_is_no_fresh_start_for_ninety_days() {
    let mut world = World::with_habits();
    let limits = world.limits.clone();
    let gone = |world: &mut World| {
        world.profiles.forget_gone(world.now, &limits, |name| name == "still-there")
    };
    let other = world.attempt("still-there", "web", TOOLS, 0..1);
    world.grant(&other);
    world.pass(TimeDelta::days(89));
    assert_eq!(gone(&mut world), Vec::<String>::new());
    let again = world.attempt("shop", "web", TOOLS, 0..1);
    assert_eq!(world.sees(&again), []);
    world.pass(TimeDelta::days(2));
    assert_eq!(gone(&mut world), ["shop"]);
    assert!(world.profiles.get("shop").is_none());
    assert!(world.profiles.get("still-there").is_some());
}
