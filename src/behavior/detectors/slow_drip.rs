//! More new items within a month than any namespace may take to, however few at a time.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let (window, most) = (sight.limits.drip_window, sight.limits.drip_items);
    let items = sight.items_since(sight.start(window));
    (!sight.new.is_empty() && items > most).then(|| {
        let window = words::window(window);
        format!("{items} items new to this namespace in {window}; the limit is {most}")
    })
}
