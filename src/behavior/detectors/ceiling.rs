//! What the detectors with a ceiling have in common.

use std::cmp::Reverse;
use std::time::Duration;

use super::words;

/// How much of something there is, against how much there may be.
pub(super) struct Count<'a> {
    pub(super) items: usize,
    pub(super) most: usize,
    pub(super) window: Duration,
    /// The name of the vault that it is about, if it is about one.
    pub(super) vault: Option<&'a str>,
}

impl Count<'_> {
    pub(super) fn is_over(&self) -> bool {
        self.items > self.most
    }

    /// Whether it is more than twice the ceiling.
    pub(super) fn is_far_over(&self) -> bool {
        self.items > self.most.saturating_mul(2)
    }

    /// The window in words.
    pub(super) fn in_window(&self) -> String {
        format!("in {}", words::window(self.window))
    }
}

/// The count that is worst against its ceiling.
pub(super) fn worst<'a>(counts: impl Iterator<Item = Count<'a>>) -> Option<Count<'a>> {
    counts.min_by_key(|count| Reverse(count.items.saturating_mul(1000) / count.most.max(1)))
}
