//! How much a profile holds. What is over it goes: the least recently used, and never a count.
//!
//! Nothing goes by its age alone. A request asks once and then has its Secret for years: what it was granted must
//! be known when it is created again.

use crate::api::VaultUse;

/// Characters of an id, and of a vault's name.
pub(super) const ID: usize = 64;
/// Characters of an environment.
pub(super) const ENVIRONMENT: usize = 63;
/// Characters of the name of a request or consumer.
pub(super) const NAME: usize = 253;
pub(super) const ENVIRONMENTS: usize = 32;
pub(super) const REQUESTS: usize = 48;
pub(super) const DENIED: usize = 24;
pub(super) const DENIED_ITEMS: usize = 8;
pub(super) const DENIED_HOURS: usize = 25;
pub(super) const CONSUMERS: usize = 24;
pub(super) const CONSUMER_NEW_ITEMS: usize = 40;
const VAULTS: usize = 64;
/// Items of all vaults together.
const ITEMS: usize = 768;
/// How many places are made at once where there are too many, so that it is not done for each.
const ITEMS_ROOM: usize = 32;

/// A text that fits in so many characters.
pub(super) fn fit(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Makes room for one more, by removing what ranks lowest.
pub(super) fn make_room<T, R: Ord>(list: &mut Vec<T>, most: usize, rank: impl Fn(&T) -> R) {
    while list.len() >= most {
        let Some((lowest, _)) = list.iter().enumerate().min_by_key(|(_, entry)| rank(entry)) else {
            return;
        };
        list.remove(lowest);
    }
}

/// Keeps vaults and their items within their bounds.
pub(super) fn keep_vaults(vaults: &mut Vec<VaultUse>) {
    make_room(vaults, VAULTS + 1, |vault| vault.last);
    if vaults.iter().map(|vault| vault.items.len()).sum::<usize>() <= ITEMS {
        return;
    }
    let all = vaults.iter().enumerate().flat_map(|(v, vault)| {
        vault.items.iter().enumerate().map(move |(i, item)| (item.last, v, i))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.truncate(all.len() - (ITEMS - ITEMS_ROOM));
    // From behind, so that the places of the others stay what they are.
    all.sort_unstable_by_key(|&(_, vault, item)| std::cmp::Reverse((vault, item)));
    for (_, vault, item) in all {
        if let Some(vault) = vaults.get_mut(vault) {
            vault.items.remove(item);
        }
    }
    vaults.retain(|vault| !vault.items.is_empty());
}
