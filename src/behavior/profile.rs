use chrono::{DateTime, Utc};

use super::attempt::Seen;
use super::{
    Attempt, Installation, Limits, NotedOutcome, detectors, sight::Sight, vaults::VaultLedgers,
};
use crate::api::{AccessProfileSpec, Intervals, ItemUse, Moment, RebuildCause, RiskUse};

/// What is known of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// As it is stored, without a tag: what is stored is all that is known.
    pub(super) known: AccessProfileSpec,
}

impl Profile {
    /// The profile of a namespace that first asks now.
    #[must_use]
    pub fn new(at: DateTime<Utc>) -> Self {
        let known = AccessProfileSpec {
            tag: String::new(),
            since: at.into(),
            rebuilt: None,
            grants: 0,
            denials: 0,
            deferrals: 0,
            anomalies: 0,
            last_grant: None,
            intervals: Intervals::default(),
            hours: vec![0; 24],
            risk: RiskUse::default(),
            environments: Vec::new(),
            vaults: Vec::new(),
            consumers: Vec::new(),
            requests: Vec::new(),
            denied: Vec::new(),
            denied_hours: Vec::new(),
        };
        Self { known }
    }

    /// Reads a profile back. `is_ours` gets the tag and what it was made over.
    ///
    /// # Errors
    /// Why it must be rebuilt: somebody else wrote it, or it is not what a profile looks like.
    pub fn open(
        namespace: &str,
        stored: &AccessProfileSpec,
        is_ours: impl FnOnce(&str, &[u8]) -> bool,
    ) -> Result<Self, RebuildCause> {
        let mut profile = Self { known: stored.clone() };
        let tag = std::mem::take(&mut profile.known.tag);
        if !is_ours(&tag, &profile.canonical(namespace)) {
            return Err(RebuildCause::Foreign);
        }
        if profile.is_in_order() { Ok(profile) } else { Err(RebuildCause::Broken) }
    }

    /// The profile as it is stored. `sign` makes the tag over what it is given.
    #[must_use]
    pub fn seal(&self, namespace: &str, sign: impl FnOnce(&[u8]) -> String) -> AccessProfileSpec {
        AccessProfileSpec { tag: sign(&self.canonical(namespace)), ..self.known.clone() }
    }

    /// Takes in what was decided on an attempt.
    pub(super) fn note(
        &mut self,
        attempt: &Attempt,
        outcome: NotedOutcome,
        seen: &Seen,
        at: DateTime<Utc>,
    ) {
        super::note::note(&mut self.known, attempt, outcome, seen, at.into());
    }

    /// What is known, without a tag.
    #[must_use]
    pub fn known(&self) -> &AccessProfileSpec {
        &self.known
    }

    /// When the namespace last asked for anything, whatever it came to.
    pub(super) fn last_asked(&self) -> Moment {
        self.known.requests.iter().map(|request| request.at).fold(self.known.since, Moment::max)
    }

    /// When an item was granted, if it was.
    pub(super) fn item(&self, vault: &str, item: &str) -> Option<&ItemUse> {
        let vaults = &self.known.vaults;
        let found = vaults.binary_search_by(|known| known.id.as_str().cmp(vault)).ok()?;
        let items = &vaults.get(found)?.items;
        items.get(items.binary_search_by(|known| known.id.as_str().cmp(item)).ok()?)
    }

    /// The items that were first granted since a moment, with their vaults.
    pub(super) fn items_since(&self, start: Moment) -> impl Iterator<Item = (&str, &ItemUse)> {
        let all = self.known.vaults.iter();
        all.flat_map(|vault| vault.items.iter().map(|item| (vault.id.as_str(), item)))
            .filter(move |(_, item)| item.first >= start)
    }

    /// What a tag is made over: the namespace, so that no profile passes for another's, and all that is known.
    fn canonical(&self, namespace: &str) -> Vec<u8> {
        // Numbers, strings and lists always serialize; were they not to, the tag would cover a profile that
        // never is.
        serde_json::to_vec(&(namespace, &self.known)).unwrap_or_default()
    }

    /// Whether the lists are as [`Profile::item`] and the others expect them.
    fn is_in_order(&self) -> bool {
        let known = &self.known;
        known.hours.len() == 24
            && known.vaults.is_sorted_by(|a, b| a.id < b.id)
            && known.vaults.iter().all(|vault| vault.items.is_sorted_by(|a, b| a.id < b.id))
    }
}

/// Looks at an attempt with all that is known.
pub(super) fn look(
    profile: Option<&Profile>,
    attempt: &Attempt,
    installation: &Installation,
    limits: &Limits,
    vaults: &VaultLedgers,
) -> Seen {
    let sight = Sight::new(profile, attempt, installation, limits, vaults);
    Seen { anomalies: detectors::detect(&sight), history: sight.history() }
}
