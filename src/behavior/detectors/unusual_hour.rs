//! Something new is asked for in an hour of the day in which the namespace is granted next to nothing. What is
//! asked for again, by a job or after a failure at night, is not held against the hour.

use chrono::Timelike as _;

use crate::behavior::decay::ONE;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let hours = &sight.profile?.known.hours;
    let total: i64 = hours.iter().sum();
    let enough = i64::try_from(sight.limits.hour_grants).unwrap_or(i64::MAX);
    let hour = sight.now.time().hour() as usize;
    let near: i64 = [23, 0, 1].iter().filter_map(|by| hours.get((hour + by) % 24)).sum();
    let share = i64::try_from(sight.limits.hour_share).unwrap_or(i64::MAX);
    (!sight.new.is_empty() && total >= enough.saturating_mul(ONE) && near.saturating_mul(share) < total)
        .then(|| {
            format!(
                "something new at {hour:02}:00 UTC; of this namespace's last {} hours with a grant, {} were within an hour of that",
                total / ONE,
                near / ONE
            )
        })
}
