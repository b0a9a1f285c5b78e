//! The namespace was never granted anything: all of it is new.

use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    (!sight.was_granted()).then(|| "this namespace was never granted a credential".to_owned())
}
