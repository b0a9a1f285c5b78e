//! The namespace was granted things, and nothing of this vault.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let new = sight.new_vaults();
    (!new.is_empty())
        .then(|| format!("this namespace was never granted an item of {}", words::vaults(&new)))
}
