//! Consumers are claims: anybody may name any. Whoever is named on some days is real enough to keep its place,
//! and no ceiling of the namespace depends on any of them.

use std::time::Duration;

use super::bounds;
use crate::api::{ConsumerUse, Moment};

/// On how many days a consumer must have been granted something to keep its place against newcomers.
const REAL_DAYS: i64 = 3;
/// How long it keeps it without being named.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// Takes in that a consumer was granted something, some of it new to the namespace.
pub(super) fn note(consumers: &mut Vec<ConsumerUse>, name: &str, new_items: usize, at: Moment) {
    let name = bounds::fit(name, bounds::NAME);
    if !consumers.iter().any(|known| known.name == name) {
        if !make_room(consumers, at) {
            return;
        }
        let new_items = Vec::new();
        let name = name.clone();
        consumers.push(ConsumerUse {
            name,
            first: at,
            last: at,
            days: 0,
            grants: 0,
            items: 0,
            new_items,
        });
    }
    let Some(known) = consumers.iter_mut().find(|known| known.name == name) else {
        return;
    };
    if known.days == 0 || known.last.time().date_naive() < at.time().date_naive() {
        known.days += 1;
    }
    known.last = known.last.max(at);
    known.grants += 1;
    known.items += i64::try_from(new_items).unwrap_or(0);
    known.new_items.extend(std::iter::repeat_n(at, new_items.min(bounds::CONSUMER_NEW_ITEMS)));
    let over = known.new_items.len().saturating_sub(bounds::CONSUMER_NEW_ITEMS);
    known.new_items.drain(..over);
}

/// Makes room for a newcomer, unless all are real.
fn make_room(consumers: &mut Vec<ConsumerUse>, now: Moment) -> bool {
    if consumers.len() < bounds::CONSUMERS {
        return true;
    }
    let kept = now.minus(KEPT_FOR);
    let all = consumers.iter().enumerate();
    let lowest = all
        .filter(|(_, known)| known.days < REAL_DAYS || known.last < kept)
        .min_by_key(|(_, known)| {
            (known.last >= kept, known.days, known.new_items.len(), known.last)
        })
        .map(|(place, _)| place);
    lowest.map(|place| consumers.remove(place)).is_some()
}
