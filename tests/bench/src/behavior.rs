//! What behaviour makes of an ordinary month, and how much a thief gets.

use portcullis_test_support::simulation::{Attack, Month, Tally};

use crate::figures::Figures;

/// The month is the same each time.
const SEED: u64 = 1;
/// The most that a thief may get of a vault of production before somebody is alerted.
const AIM: usize = 20;

pub(crate) fn run(figures: &mut Figures) {
    let site = Month::live(SEED);
    month(figures, "learning", &site.learning);
    month(figures, "month", &site.after);
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let share = site.after.anomalous as f64 * 100.0 / site.after.attempts as f64;
    figures.aim("month_anomalous_share", share, "%", 1.0);
    for (place, production) in [("production", true), ("unknown", false)] {
        for attack in Attack::ALL {
            let loot = attack.run(&site, production);
            let mut add = |what: &str, items: Option<usize>, aim: Option<usize>| {
                let name = format!("{}_{place}_{what}", attack.as_str());
                count(figures, name, items, aim);
            };
            let aim = (production && attack != Attack::KnowsTheLimits).then_some(AIM);
            add("items_before_anomaly", loot.before_anomaly, None);
            add("items_before_alert", loot.before_alert, aim);
            add("items_before_stop", loot.before_stop, None);
            add("items_in_all", Some(loot.in_all), None);
        }
    }
}

fn month(figures: &mut Figures, when: &str, tally: &Tally) {
    let rows = [
        ("attempts", tally.attempts, None),
        ("anomalous", tally.anomalous, None),
        ("alerted", tally.alerted, None),
        ("deferred", tally.deferred, Some(0)),
        ("denied", tally.denied, Some(0)),
    ];
    for (what, attempts, aim) in rows {
        count(figures, format!("{when}_{what}"), Some(attempts), aim);
    }
    for (detector, anomalies) in &tally.by_detector {
        count(figures, format!("{when}_{detector}"), Some(*anomalies), None);
    }
}

/// A count, or infinity for what never happened.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn count(figures: &mut Figures, name: String, count: Option<usize>, aim: Option<usize>) {
    let value = count.map_or(f64::INFINITY, |count| count as f64);
    match aim {
        Some(aim) => figures.aim(name, value, "", aim as f64),
        None => figures.add(name, value, ""),
    }
}
