//! A vault gives out more new items within a day, to whomever, than it may.

use super::ceiling::{self, Count};
use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    count(sight).filter(Count::is_over).as_ref().map(words::of_vault)
}

pub(super) fn count<'a>(sight: &Sight<'a>) -> Option<Count<'a>> {
    let (window, most) = (sight.limits.day_window, sight.limits.vault_day_items);
    let start = sight.start(window);
    ceiling::worst(sight.new_item_vaults().into_iter().map(|(vault, name)| {
        let items = sight.vaults.items_since(vault, start, sight.new_of_vault(vault));
        Count { items, most, window, vault: Some(name) }
    }))
}
