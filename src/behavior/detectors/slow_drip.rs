//! More new items within a month than any namespace may take to, however few at a time.

use super::ceiling::Count;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    count(sight).filter(Count::is_over).map(|over| {
        let (items, most) = (over.items, over.most);
        format!("{items} items new to this namespace {}; the limit is {most}", over.in_window())
    })
}

pub(super) fn count<'a>(sight: &Sight<'a>) -> Option<Count<'a>> {
    let (window, most) = (sight.limits.drip_window, sight.limits.drip_items);
    let items = sight.items_since(sight.start(window));
    (!sight.new.is_empty()).then_some(Count { items, most, window, vault: None })
}
