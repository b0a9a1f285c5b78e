//! What was denied is tried again: the same request with another spec, another request for the same item, or
//! anything new after many denials. To climb over the score by trial is then harder with each step.

use super::words;
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let attempt = sight.attempt;
    let start = sight.now.minus(sight.limits.denied_window);
    let recent = sight.profile?.known.denied.iter().filter(|denied| denied.at > start);
    let again = recent
        .filter(|denied| {
            let asks = || attempt.items.iter().any(|item| denied.items.contains(&item.item_id));
            !attempt.is(denied) && (denied.request == attempt.request || asks())
        })
        .max_by_key(|denied| denied.at);
    if let Some(denied) = again {
        let ago = words::time(sight.now.seconds_since(denied.at));
        return Some(if denied.request == attempt.request {
            format!("this request was denied {ago} ago and comes again, changed")
        } else {
            format!("another request for an item of this one was denied {ago} ago")
        });
    }
    let (denials, most) = (sight.denials_since(start), sight.limits.denied_tries);
    (!sight.new.is_empty() && denials >= i64::try_from(most).unwrap_or(i64::MAX)).then(|| {
        let window = words::window(sight.limits.denied_window);
        format!("something new after {denials} denials in this namespace in {window}; the limit is {most}")
    })
}
