//! The namespace was granted items of this vault, and none of this environment. An item of unknown environment is
//! of none.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let known = &sight.profile?.known.environments;
    let mut new: Vec<&str> = sight
        .attempt
        .items
        .iter()
        .filter_map(|item| item.environment.as_deref())
        .filter(|name| !known.iter().any(|environment| environment.name == *name))
        .collect();
    new.sort_unstable();
    new.first().map(|name| {
        let environment = words::quoted("environment", name);
        format!("this namespace was never granted an item of {environment}")
    })
}
