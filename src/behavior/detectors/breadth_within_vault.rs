//! The namespace takes to more items of one vault within a week than any may.

use super::ceiling::{self, Count};
use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    count(sight).filter(Count::is_over).map(|over| {
        let (items, most, vault) = (over.items, over.most, words::vault(over.vault));
        format!(
            "{items} items of {vault} new to this namespace {}; the limit is {most}",
            over.in_window()
        )
    })
}

pub(super) fn count<'a>(sight: &Sight<'a>) -> Option<Count<'a>> {
    let (window, most) = (sight.limits.breadth_window, sight.limits.breadth_items);
    let start = sight.start(window);
    ceiling::worst(sight.new_item_vaults().into_iter().map(|(vault, name)| {
        let items = sight.items_of_vault_since(vault, start);
        Count { items, most, window, vault: Some(name) }
    }))
}
