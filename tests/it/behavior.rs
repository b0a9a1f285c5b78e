//! Behaviour judged by an ordinary month and by attacks. The figures that these bounds are taken from are in
//! `docs/behavior.md`; `make bench BENCH_ARGS=--simulation` prints them.

use std::sync::LazyLock;

use portcullis_test_support::simulation::{Attack, Loot, Month, Site, TARGET_ITEMS};

static SITE: LazyLock<Site> = LazyLock::new(|| Month::live(1));

/// The attacks of those who are in a hurry, or do not know the limits.
fn is_careless(attack: &Attack) -> bool {
    *attack != Attack::KnowsTheLimits
}

fn run(production: bool) -> impl Iterator<Item = (Attack, Loot)> {
    let all = Attack::ALL.into_iter().filter(is_careless);
    all.map(move |attack| (attack, attack.run(&SITE, production)))
}

#[test]
fn an_ordinary_month_is_almost_quiet_and_nothing_in_it_is_denied() {
    for (seed, site) in [(1, SITE.clone()), (2, Month::live(2)), (3, Month::live(3))] {
        let after = &site.after;
        assert!(after.attempts > 2000, "seed {seed}: {after:?}");
        assert!(after.anomalous * 100 < after.attempts, "seed {seed}: {after:?}");
        assert_eq!((after.denied, after.deferred), (0, 0), "seed {seed}: {after:?}");
    }
}

#[test]
fn the_learning_period_records_and_alerts_and_denies_nothing() {
    let learning = &SITE.learning;
    assert!(learning.anomalous > 0 && learning.alerted > 0, "{learning:?}");
    assert_eq!((learning.denied, learning.deferred), (0, 0), "{learning:?}");
}

#[test]
fn the_same_seed_lives_the_same_month_and_another_one_does_not() {
    let again = Month::live(1);
    assert_eq!((&again.learning, &again.after), (&SITE.learning, &SITE.after));
    assert_ne!(Month::live(2).after, SITE.after);
}

#[test]
fn a_dump_of_production_is_alerted_within_20_items_and_stopped_within_60_however_it_is_split() {
    for (attack, loot) in run(true) {
        assert!(loot.before_alert.is_some_and(|items| items <= 20), "{attack:?}: {loot:?}");
        assert!(loot.before_stop.is_some_and(|items| items <= 60), "{attack:?}: {loot:?}");
        assert!(loot.in_all < TARGET_ITEMS, "{attack:?}: {loot:?}");
    }
}

#[test]
fn a_dump_of_a_vault_of_unknown_environment_is_an_anomaly_within_20_items() {
    for (attack, loot) in run(false) {
        assert!(loot.before_anomaly.is_some_and(|items| items <= 20), "{attack:?}: {loot:?}");
        assert!(loot.before_alert.is_some_and(|items| items <= 120), "{attack:?}: {loot:?}");
    }
}

#[test]
fn who_knows_the_limits_gets_60_items_a_month_unseen_and_no_more() {
    let loot = Attack::KnowsTheLimits.run(&SITE, true);
    assert_eq!((loot.before_anomaly, loot.before_stop), (Some(60), Some(60)), "{loot:?}");
}
