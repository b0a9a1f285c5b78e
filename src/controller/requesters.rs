//! Who wrote a request's spec, as far as that is known.

use crate::index::RequestEntry;
use crate::policy::{Requester, glob_matches};

/// Reads who wrote a request off its annotation, which the API server vouches for where the admission policies of
/// `deploy/` are installed.
pub(super) struct Requesters {
    /// Names, or patterns of them, of those who write on behalf of others.
    delegates: Vec<String>,
}

impl Requesters {
    pub(super) fn new(delegates: Vec<String>) -> Self {
        Self { delegates }
    }

    /// Who wrote the spec of a request; nobody where it does not say.
    pub(super) fn of(&self, entry: &RequestEntry) -> Option<Requester> {
        let name = entry.requested_by.as_deref()?;
        let is_delegate = self.delegates.iter().any(|pattern| glob_matches(pattern, name));
        Some(Requester { name: name.to_owned(), verified: !is_delegate })
    }
}
