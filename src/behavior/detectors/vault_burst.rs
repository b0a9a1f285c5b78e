//! A vault gives out more new items within a day, to whomever, than it may.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let (window, most) = (sight.limits.day_window, sight.limits.vault_day_items);
    let start = sight.start(window);
    sight.new_item_vaults().into_iter().find_map(|(vault, name)| {
        let items = sight.vaults.items_since(vault, start, sight.new_of_vault(vault));
        (items > most).then(|| {
            format!(
                "with this, {} gives out more than {most} items in {} to namespaces that never had them",
                words::vault(name),
                words::window(window)
            )
        })
    })
}
