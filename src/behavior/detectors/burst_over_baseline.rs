//! The namespace takes to far more new items within a week than it used to. Who asks for new things often may
//! do so in numbers; who never does may not.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let limits = sight.limits;
    if sight.new.is_empty() {
        return None;
    }
    let window = sight.now.minus(limits.baseline_window);
    let items = sight.items_since(sight.start(limits.baseline_window));
    let past = sight.start(limits.baseline_window + limits.baseline_past);
    let usual = sight.profile.map_or(0, |profile| {
        let past = past.max(profile.known.since);
        let length = i64::try_from(limits.baseline_window.as_secs()).unwrap_or(i64::MAX).max(1);
        let windows = usize::try_from(window.seconds_since(past) / length).unwrap_or(0);
        let granted = profile.items_since(past).filter(|(_, item)| item.first < window).count();
        granted.checked_div(windows).unwrap_or(0)
    });
    let most = limits.baseline_floor.max(usual * limits.baseline_factor);
    (items > most).then(|| {
        format!(
            "{items} items new to this namespace in {}, where {usual} are usual and {most} the limit",
            words::window(limits.baseline_window)
        )
    })
}
