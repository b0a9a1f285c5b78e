//! A vault gives out more new items within a month, to whomever, than it may, however few at a time.

use super::ceiling::{self, Count};
use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    count(sight).filter(Count::is_over).as_ref().map(words::of_vault)
}

pub(super) fn count<'a>(sight: &Sight<'a>) -> Option<Count<'a>> {
    let limits = sight.limits;
    let window = limits.drip_window;
    let start = sight.start(window);
    let past = sight.start(window + limits.vault_past);
    ceiling::worst(sight.new_item_vaults().into_iter().map(|(vault, name)| {
        let items = sight.vaults.items_since(vault, start, sight.new_of_vault(vault));
        let usual = sight.vaults.usual(vault, past, sight.now, window);
        let most = limits.vault_drip_items.max(usual * limits.vault_factor);
        Count { items, most, window, vault: Some(name) }
    }))
}
