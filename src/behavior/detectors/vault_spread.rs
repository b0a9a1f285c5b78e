//! Many namespaces take to a few items each of one vault: a dump that is split so that none of them stands out.
//! What it says of others is that there are many, not who or what.

use super::ceiling::{self, Count};
use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    count(sight).filter(Count::is_over).map(|over| {
        format!(
            "more namespaces take to items of {} than is usual {}; the limit is {} items, of which each namespace counts for {} at most",
            words::vault(over.vault),
            over.in_window(),
            over.most,
            sight.limits.spread_share
        )
    })
}

pub(super) fn count<'a>(sight: &Sight<'a>) -> Option<Count<'a>> {
    let limits = sight.limits;
    let (window, share) = (limits.breadth_window, limits.spread_share);
    let start = sight.start(window);
    let past = sight.start(window + limits.vault_past);
    ceiling::worst(sight.new_item_vaults().into_iter().map(|(vault, name)| {
        let asked = sight.new_of_vault(vault).count();
        let items = sight.vaults.spread_since(vault, start, share, &sight.attempt.namespace, asked);
        let usual = sight.vaults.usual(vault, past, sight.now, window);
        let most = limits.spread_items.max(usual * limits.vault_factor);
        Count { items, most, window, vault: Some(name) }
    }))
}
