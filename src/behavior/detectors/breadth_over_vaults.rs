//! The namespace takes to more vaults within a week than any may.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    let new = sight.new_vaults();
    let start = sight.start(limits.breadth_window);
    let before = sight
        .profile
        .map_or(0, |p| p.known.vaults.iter().filter(|vault| vault.first >= start).count());
    let (vaults, most) = (before + new.len(), limits.breadth_vaults);
    (!new.is_empty() && vaults > most).then(|| {
        let window = words::window(limits.breadth_window);
        format!(
            "{vaults} vaults new to this namespace in {window}, {} among them; the limit is {most}",
            words::vaults(&new)
        )
    })
}
