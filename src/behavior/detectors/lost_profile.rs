//! What was known of the namespace is lost: its profile was written by somebody else, cannot be read, or is not
//! there though the namespace is old. Each for a day, so that one throw-away attempt does not clear it.
//!
//! An old namespace that never used Portcullis looks just like one whose profile was deleted. It is one anomaly
//! then, as any first appearance is. In the learning period every namespace is like that, and it is none.

use super::words;
use crate::api::RebuildCause;
use crate::behavior::sight::Sight;

pub(super) fn is_foreign(sight: &Sight<'_>) -> Option<String> {
    since_lost(sight, RebuildCause::Foreign).map(|ago| {
        format!("the access profile of this namespace was written or changed by somebody else; found {ago} ago")
    })
}

pub(super) fn is_broken(sight: &Sight<'_>) -> Option<String> {
    since_lost(sight, RebuildCause::Broken).map(|ago| {
        format!("the access profile of this namespace could not be read; found {ago} ago")
    })
}

pub(super) fn is_missing(sight: &Sight<'_>) -> Option<String> {
    if let Some(ago) = since_lost(sight, RebuildCause::Missing) {
        return Some(format!(
            "this namespace had no access profile {ago} ago, though it was not new"
        ));
    }
    let age = sight.now.seconds_since(sight.attempt.namespace_created?.into());
    let old = i64::try_from(sight.limits.old_namespace.as_secs()).unwrap_or(i64::MAX);
    (sight.profile.is_none() && !sight.is_learning() && age > old).then(|| {
        format!(
            "this namespace is {} old and has no access profile: it never asked before, or the profile was deleted",
            words::time(age)
        )
    })
}

fn since_lost(sight: &Sight<'_>, cause: RebuildCause) -> Option<String> {
    let lost = sight.profile?.known.rebuilt.filter(|lost| lost.cause == cause)?;
    (lost.at > sight.now.minus(sight.limits.rebuilt_window))
        .then(|| words::time(sight.now.seconds_since(lost.at)))
}
