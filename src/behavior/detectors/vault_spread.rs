//! Many namespaces take to a few items each of one vault: a dump that is split so that none of them stands out.
//! What it says of others is that there are many, not who or what.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    let (window, share) = (limits.breadth_window, limits.spread_share);
    let start = sight.start(window);
    let past = sight.start(window + limits.vault_past);
    sight.new_item_vaults().into_iter().find_map(|(vault, name)| {
        let asked = sight.new_of_vault(vault).count();
        let namespace = &sight.attempt.namespace;
        let spread = sight.vaults.spread_since(vault, start, share, namespace, asked);
        let usual = sight.vaults.usual(vault, past, sight.now, window);
        let most = limits.spread_items.max(usual * limits.vault_factor);
        (spread > most).then(|| {
            format!(
                "more namespaces take to items of {} than is usual in {}; the limit is {most} items, of which each namespace counts for {share} at most",
                words::vault(name),
                words::window(window)
            )
        })
    })
}
