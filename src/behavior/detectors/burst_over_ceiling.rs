//! More new items within an hour or a day than any namespace, or any one consumer in it, may take to.

use super::ceiling::{self, Count};
use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let by_namespace = count(sight).filter(Count::is_over).map(|over| {
        let (items, most) = (over.items, over.most);
        format!("{items} items new to this namespace {}; the limit is {most}", over.in_window())
    });
    by_namespace.or_else(|| by_consumer(sight))
}

pub(super) fn count<'a>(sight: &Sight<'a>) -> Option<Count<'a>> {
    let limits = sight.limits;
    let windows =
        [(limits.burst_window, limits.burst_items), (limits.day_window, limits.day_items)];
    let counts = windows.into_iter().map(|(window, most)| {
        let items = sight.items_since(sight.start(window));
        Count { items, most, window, vault: None }
    });
    ceiling::worst(counts).filter(|_| !sight.new.is_empty())
}

/// What a consumer is the first of its namespace to get. It is a claim, so this only ever adds to the above.
fn by_consumer(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    let name = sight.attempt.consumer.as_deref()?;
    let start = sight.start(limits.day_window);
    let known = sight.profile.and_then(|p| p.known.consumers.iter().find(|c| c.name == name));
    let before = known.map_or(0, |c| c.new_items.iter().filter(|at| **at >= start).count());
    let (items, most) = (before + sight.new.len(), limits.consumer_items);
    (!sight.new.is_empty() && items > most).then(|| {
        let consumer = words::quoted("consumer", name);
        let window = words::window(limits.day_window);
        format!("{items} new items for {consumer} in {window}; the limit is {most}")
    })
}
