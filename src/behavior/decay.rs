//! How the past fades. Counts are whole thousandths, so that what is stored is what is known.

use crate::api::Intervals;

/// One, in thousandths.
pub(super) const ONE: i64 = 1000;
/// Hours of the day: habits change over weeks, and one holiday is not to erase them.
pub(super) const HOURS_HALF_LIFE: i64 = 30 * 24 * 3600;
/// Times between grants: as long as it takes a team to settle into another rhythm.
pub(super) const INTERVALS_HALF_LIFE: i64 = 90 * 24 * 3600;
/// Creating a request anew: a loop that does it is at work now.
pub(super) const CHURN_HALF_LIFE: i64 = 3600;

/// What is left of a count after some seconds. Never more than there was, and never less than nothing.
pub(super) fn decayed(thousandths: i64, seconds: i64, half_life: i64) -> i64 {
    if thousandths <= 0 {
        return 0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^52")]
    let left = thousandths as f64 * (-(seconds.max(0) as f64) / half_life as f64).exp2();
    #[expect(clippy::cast_possible_truncation, reason = "it is at most what it was")]
    let left = left.floor() as i64;
    left.clamp(0, thousandths)
}

/// Takes in one more interval, after Welford, with what was there before fading over the interval itself.
#[expect(clippy::cast_precision_loss, reason = "seconds and weights are far below 2^52")]
#[expect(clippy::cast_possible_truncation, reason = "both lie between values that are stored")]
pub(super) fn with_interval(intervals: Intervals, seconds: i64) -> Intervals {
    let kept = decayed(intervals.weight, seconds, INTERVALS_HALF_LIFE);
    let weight = kept + ONE;
    let (mean, deviation) = (intervals.mean_seconds as f64, intervals.deviation_seconds as f64);
    let delta = seconds as f64 - mean;
    let new_mean = mean + delta * ONE as f64 / weight as f64;
    let squares =
        kept as f64 * deviation * deviation + ONE as f64 * delta * (seconds as f64 - new_mean);
    Intervals {
        weight,
        mean_seconds: new_mean.round() as i64,
        deviation_seconds: (squares / weight as f64).max(0.0).sqrt().round() as i64,
    }
}
