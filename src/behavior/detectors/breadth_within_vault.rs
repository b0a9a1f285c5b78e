//! The namespace takes to more items of one vault within a week than any may.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let (window, most) = (sight.limits.breadth_window, sight.limits.breadth_items);
    let start = sight.start(window);
    let counted = sight
        .new_item_vaults()
        .into_iter()
        .map(|(vault, name)| (sight.items_of_vault_since(vault, start), name));
    counted.filter(|(items, _)| *items > most).max_by_key(|(items, _)| *items).map(
        |(items, name)| {
            format!(
                "{items} items of {} new to this namespace in {}; the limit is {most}",
                words::vault(name),
                words::window(window)
            )
        },
    )
}
