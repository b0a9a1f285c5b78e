//! Hours, silence, re-creation and denials.

use chrono::TimeDelta;

use super::given::{LIVE, TOOLS, World};
use crate::behavior::{Attempt, Detector};

/// Moves on to an hour of the day.
fn at_hour(world: &mut World, hour: u32) {
    use chrono::Timelike as _;
    let by = (24 + hour - world.now.hour()) % 24;
    world.pass(TimeDelta::hours(i64::from(by)));
}

#[test]
fn something_new_at_an_hour_that_is_never_used_is_seen() {
    let mut world = World::with_habits();
    for (hour, expected) in [
        (10, vec![]),
        (16, vec![]),
        (3, vec![Detector::UnusualHour]),
        (21, vec![Detector::UnusualHour]),
    ] {
        at_hour(&mut world, hour);
        let attempt = world.attempt("shop", "web", TOOLS, 1..2);
        assert_eq!(world.sees(&attempt), expected, "at {hour}");
    }
}

#[test]
fn what_is_known_may_be_asked_for_again_at_night() {
    let mut world = World::with_habits();
    at_hour(&mut world, 3);
    let attempt = world.attempt("shop", "web", TOOLS, 0..1);
    assert_eq!(world.sees(&attempt), []);
}

#[test]
fn a_namespace_of_few_days_has_no_usual_hours() {
    let mut world = World::new();
    for _ in 0..100 {
        let attempt = world.attempt("shop", "web", TOOLS, 0..1);
        world.grant(&attempt);
    }
    at_hour(&mut world, 3);
    let attempt = world.attempt("shop", "web", TOOLS, 1..2);
    assert_eq!(world.sees(&attempt), [], "a hundred grants of one morning are one hour");
}

#[test]
fn a_namespace_that_wakes_after_long_silence_is_seen_when_it_wants_something_new() {
    let mut world = World::with_habits();
    world.pass(TimeDelta::days(59));
    let attempt = world.attempt("shop", "web", TOOLS, 1..2);
    assert_eq!(world.sees(&attempt), []);
    world.pass(TimeDelta::days(3));
    let attempt = world.attempt("shop", "web", TOOLS, 1..2);
    assert_eq!(world.sees(&attempt), [Detector::DormantWaking]);
    let known = world.attempt("shop", "web", TOOLS, 0..1);
    assert_eq!(world.sees(&known), []);
    world.grant(&attempt);
    let next = world.attempt("shop", "web", TOOLS, 2..3);
    assert_eq!(world.sees(&next), []);
}

#[test]
fn a_namespace_that_asks_each_quarter_is_not_dormant_between() {
    let mut world = World::new();
    for quarter in 0..6 {
        let attempt = world.attempt("rare", "web", TOOLS, quarter..quarter + 1);
        let seen = world.sees(&attempt);
        if quarter > 1 {
            assert_eq!(seen, [], "in quarter {quarter}");
        }
        world.grant(&attempt);
        world.pass(TimeDelta::days(91));
    }
}

#[test]
fn a_request_that_is_made_again_and_again_is_seen() {
    let mut world = World::with_habits();
    let mut first = None;
    for number in 0..20 {
        let attempt = world.attempt("shop", "loop", TOOLS, 0..1);
        if first.is_none() && world.sees(&attempt).contains(&Detector::RecreationChurn) {
            first = Some(number);
        }
        world.deny(&attempt);
        world.pass(TimeDelta::minutes(1));
    }
    assert_eq!(first, Some(7));
}

#[test]
fn a_nightly_job_and_a_failed_node_make_requests_again_unseen() {
    let mut world = World::with_habits();
    for _ in 0..60 {
        let attempt = world.attempt("shop", "nightly", TOOLS, 0..1);
        assert_eq!(world.sees(&attempt), []);
        world.grant(&attempt);
        world.pass(TimeDelta::days(1));
    }
    for _ in 0..2 {
        for number in 0..40 {
            let attempt = world.attempt("shop", &format!("pod-{number}"), TOOLS, 0..1);
            assert_eq!(world.sees(&attempt), []);
            world.grant(&attempt);
        }
    }
}

#[test]
fn a_change_of_a_spec_is_no_re_creation() {
    let mut world = World::with_habits();
    let mut attempt = world.attempt("shop", "web", TOOLS, 0..1);
    world.grant(&attempt);
    for _ in 0..20 {
        attempt.at = world.now;
        assert_eq!(world.sees(&attempt), []);
        world.grant(&attempt);
    }
}

#[test]
fn a_denied_request_that_comes_back_changed_is_seen_for_a_day() {
    let mut world = World::with_habits();
    let denied = world.attempt("shop", "root", LIVE, 1..2);
    assert_eq!(world.sees(&denied), []);
    world.deny(&denied);
    let edited = world.attempt("shop", "root", TOOLS, 1..2);
    assert_eq!(world.sees(&edited), [Detector::DeniedThenEdited]);
    let renamed = world.attempt("shop", "other", LIVE, 1..2);
    assert_eq!(world.sees(&renamed), [Detector::DeniedThenEdited]);
    let unrelated = world.attempt("shop", "other", LIVE, 2..3);
    assert_eq!(world.sees(&unrelated), []);
    world.pass(TimeDelta::hours(25));
    let later = world.attempt("shop", "root", LIVE, 1..2);
    assert_eq!(world.sees(&later), []);
}

#[test]
fn a_denied_attempt_that_is_looked_at_again_is_the_same_attempt() {
    let mut world = World::with_habits();
    let denied = world.attempt("shop", "root", LIVE, 1..2);
    assert!(!world.profiles.was_denied(&denied));
    world.deny(&denied);
    assert_eq!(world.sees(&denied), []);
    assert!(world.profiles.was_denied(&denied));
    let edited = Attempt { spec: "another".to_owned(), ..denied.clone() };
    let anew = Attempt { uid: "another".to_owned(), ..denied };
    for other in [edited, anew] {
        assert_eq!(world.sees(&other), [Detector::DeniedThenEdited]);
        assert!(!world.profiles.was_denied(&other));
    }
}

#[test]
fn many_denials_are_held_against_whatever_is_tried_next() {
    let mut world = World::with_habits();
    for number in 0..8 {
        let unrelated = world.attempt("shop", "unrelated", TOOLS, 1..2);
        assert_eq!(world.sees(&unrelated), [], "after {number} denials");
        let denied = world.attempt("shop", &format!("try-{number}"), LIVE, 1..2);
        world.deny(&denied);
    }
    let next = world.attempt("shop", "unrelated", TOOLS, 1..2);
    assert_eq!(world.sees(&next), [Detector::DeniedThenEdited]);
    assert_eq!(world.history(&next).denials_last_day, 8);
    let elsewhere = world.attempt("shop", "unrelated", TOOLS, 0..1);
    assert_eq!(world.sees(&elsewhere), [], "what it has it may ask for again");
}

#[test]
fn the_history_says_what_happened() {
    let mut world = World::with_habits();
    let attempt = world.attempt("shop", "web", TOOLS, 1..4);
    world.grant(&attempt);
    world.pass(TimeDelta::minutes(30));
    let attempt = world.attempt("shop", "web", TOOLS, 3..6);
    let history = world.history(&attempt);
    assert_eq!(history.grants, 81);
    assert_eq!((history.new_items_last_hour, history.new_items), (3, 2));
    assert_eq!((history.vaults, history.items), (2, 5));
    assert_eq!(history.vault_items_last_day, 5);
    assert_eq!(history.seconds_since_last_grant, 1800);
    assert_eq!((history.average_risk, history.max_risk), (10, 10));
    world.deny(&attempt);
    assert_eq!(world.history(&attempt).max_risk, 80);
    assert!(world.history(&attempt).average_risk > 10);
}

#[test]
fn a_first_attempt_has_no_history() {
    let mut world = World::new();
    let attempt = world.attempt("shop", "web", TOOLS, 0..2);
    let history = world.history(&attempt);
    assert_eq!((history.grants, history.new_items, history.seconds_since_last_grant), (0, 2, -1));
}
