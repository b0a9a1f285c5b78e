//! A namespace that was granted nothing for long, and longer than it usually is, asks for something new. What it
//! had before it may ask for again at any time.

use super::words;
use crate::behavior::sight::Sight;

/// How far beyond the mean of the times between grants is no longer usual, in standard deviations.
const DEVIATIONS: i64 = 4;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let known = &sight.profile?.known;
    let silent = sight.now.seconds_since(known.last_grant?);
    let usual = known.intervals.mean_seconds + DEVIATIONS * known.intervals.deviation_seconds;
    let most = i64::try_from(sight.limits.dormant.as_secs()).unwrap_or(i64::MAX).max(usual);
    (!sight.new.is_empty() && silent > most).then(|| {
        format!(
            "this namespace was granted nothing for {} and asks for something new; the limit is {}",
            words::time(silent),
            words::time(most)
        )
    })
}
