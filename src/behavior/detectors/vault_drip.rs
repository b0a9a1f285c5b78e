//! A vault gives out more new items within a month, to whomever, than it may, however few at a time.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    let window = limits.drip_window;
    let start = sight.start(window);
    let past = sight.start(window + limits.vault_past);
    sight.new_item_vaults().into_iter().find_map(|(vault, name)| {
        let items = sight.vaults.items_since(vault, start, sight.new_of_vault(vault));
        let usual = sight.vaults.usual(vault, past, sight.now, window);
        let most = limits.vault_drip_items.max(usual * limits.vault_factor);
        (items > most).then(|| {
            format!(
                "with this, {} gives out more than {most} items in {} to namespaces that never had them",
                words::vault(name),
                words::window(window)
            )
        })
    })
}
