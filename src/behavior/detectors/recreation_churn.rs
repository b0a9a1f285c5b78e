//! A request of one name is deleted and created again and again: somebody tries, or a tool is in a loop.

use super::words;
use crate::behavior::decay::{self, ONE};
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let attempt = sight.attempt;
    let known = sight.profile?.known.requests.iter().find(|known| known.name == attempt.request)?;
    if known.uid == attempt.uid {
        return None;
    }
    let since = sight.now.seconds_since(known.at);
    let times = decay::decayed(known.churn, since, decay::CHURN_HALF_LIFE) + ONE;
    let most = sight.limits.recreations;
    (times > i64::try_from(most).unwrap_or(i64::MAX).saturating_mul(ONE)).then(|| {
        format!(
            "this request was created anew about {} times in the last hours, last {} ago; the limit is {most}",
            times / ONE,
            words::time(since)
        )
    })
}
