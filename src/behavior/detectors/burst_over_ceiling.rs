//! More new items within an hour or a day than any namespace, or any one consumer in it, may take to.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    if sight.new.is_empty() {
        return None;
    }
    for (window, most) in
        [(limits.burst_window, limits.burst_items), (limits.day_window, limits.day_items)]
    {
        let items = sight.items_since(sight.start(window));
        if items > most {
            let window = words::window(window);
            return Some(format!(
                "{items} items new to this namespace in {window}; the limit is {most}"
            ));
        }
    }
    by_consumer(sight)
}

/// What a consumer is the first of its namespace to get. It is a claim, so this only ever adds to the above.
fn by_consumer(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    let name = sight.attempt.consumer.as_deref()?;
    let start = sight.start(limits.day_window);
    let known = sight.profile.and_then(|p| p.known.consumers.iter().find(|c| c.name == name));
    let before = known.map_or(0, |c| c.new_items.iter().filter(|at| **at >= start).count());
    let (items, most) = (before + sight.new.len(), limits.consumer_items);
    (items > most).then(|| {
        let consumer = words::quoted("consumer", name);
        let window = words::window(limits.day_window);
        format!("{items} new items for {consumer} in {window}; the limit is {most}")
    })
}
