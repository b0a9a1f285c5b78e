use std::collections::BTreeSet;
use std::time::Duration;

use super::attempt::AttemptedItem;
use super::{Attempt, History, Installation, Limits, Profile, vaults::VaultLedgers};
use crate::api::Moment;

/// What the detectors see: an attempt, the past of its namespace, and the vaults over all namespaces.
pub(super) struct Sight<'a> {
    pub(super) profile: Option<&'a Profile>,
    pub(super) attempt: &'a Attempt,
    pub(super) limits: &'a Limits,
    pub(super) vaults: &'a VaultLedgers,
    pub(super) now: Moment,
    /// When the learning period ends or ended.
    pub(super) learned: Moment,
    /// The items that the namespace was never granted, each once, by id.
    pub(super) new: Vec<&'a AttemptedItem>,
}

impl<'a> Sight<'a> {
    pub(super) fn new(
        profile: Option<&'a Profile>,
        attempt: &'a Attempt,
        installation: &Installation,
        limits: &'a Limits,
        vaults: &'a VaultLedgers,
    ) -> Self {
        let mut new: Vec<_> = attempt
            .items
            .iter()
            .filter(|i| profile.is_none_or(|p| p.item(&i.vault_id, &i.item_id).is_none()))
            .collect();
        new.sort_unstable();
        new.dedup_by(|a, b| (&a.vault_id, &a.item_id) == (&b.vault_id, &b.item_id));
        let now = attempt.at.into();
        Self { profile, attempt, limits, vaults, now, learned: installation.learned(), new }
    }

    pub(super) fn is_learning(&self) -> bool {
        self.now < self.learned
    }

    /// When a window began that counts for a ceiling. What was granted in the learning period was learned, and
    /// does not count once that is over.
    pub(super) fn start(&self, window: Duration) -> Moment {
        let start = self.now.minus(window);
        if self.is_learning() { start } else { start.max(self.learned) }
    }

    /// The new items of this attempt, and those that the namespace was first granted since a moment.
    pub(super) fn items_since(&self, start: Moment) -> usize {
        self.new.len() + self.profile.map_or(0, |profile| profile.items_since(start).count())
    }

    /// The same for one vault.
    pub(super) fn items_of_vault_since(&self, vault: &str, start: Moment) -> usize {
        let granted = self
            .profile
            .map_or(0, |profile| profile.items_since(start).filter(|(of, _)| *of == vault).count());
        self.new_of_vault(vault).count() + granted
    }

    /// The new items of this attempt in one vault.
    pub(super) fn new_of_vault(&self, vault: &str) -> impl Iterator<Item = &'a AttemptedItem> {
        self.new.iter().copied().filter(move |item| item.vault_id == vault)
    }

    /// The vaults of the new items, each once, with their names.
    pub(super) fn new_item_vaults(&self) -> Vec<(&'a str, &'a str)> {
        let mut vaults: Vec<_> =
            self.new.iter().map(|i| (i.vault_id.as_str(), i.vault_name.as_str())).collect();
        vaults.dedup_by_key(|(id, _)| *id);
        vaults
    }

    /// The vaults of this attempt that the namespace was never granted anything of, with their names.
    pub(super) fn new_vaults(&self) -> Vec<(&'a str, &'a str)> {
        let known: BTreeSet<&str> = self
            .profile
            .map(|p| p.known.vaults.iter().map(|vault| vault.id.as_str()).collect())
            .unwrap_or_default();
        self.new_item_vaults().into_iter().filter(|(id, _)| !known.contains(id)).collect()
    }

    /// Whether the namespace was ever granted anything that is still known.
    pub(super) fn was_granted(&self) -> bool {
        self.profile.is_some_and(|profile| profile.known.grants > 0)
    }

    /// The denials of the namespace since a moment, to the hour.
    pub(super) fn denials_since(&self, start: Moment) -> i64 {
        let hours = self.profile.map(|profile| profile.known.denied_hours.as_slice());
        hours.unwrap_or_default().iter().filter(|h| h.hour > start).map(|h| h.count).sum()
    }

    pub(super) fn history(&self) -> History {
        let hour = self.now.minus(Duration::from_secs(3600));
        let day = self.now.minus(Duration::from_secs(24 * 3600));
        let vault_items = self
            .new_item_vaults()
            .into_iter()
            .map(|(vault, _)| self.vaults.items_since(vault, day, self.new_of_vault(vault)));
        let here = History {
            learning: self.is_learning(),
            new_items: count(self.new.len()),
            vault_items_last_day: count(vault_items.max().unwrap_or_default()),
            seconds_since_last_grant: -1,
            ..History::default()
        };
        let Some(profile) = self.profile else {
            return here;
        };
        let known = &profile.known;
        History {
            first_seen_seconds: self.now.seconds_since(known.since),
            grants: known.grants,
            denials_last_day: self.denials_since(day),
            new_items_last_hour: count(profile.items_since(hour).count()),
            vaults: count(known.vaults.len()),
            items: count(known.vaults.iter().map(|vault| vault.items.len()).sum()),
            seconds_since_last_grant: known
                .last_grant
                .map_or(-1, |last| self.now.seconds_since(last)),
            average_risk: known.risk.average / 100,
            max_risk: known.risk.max,
            anomalies: known.anomalies,
            ..here
        }
    }
}

fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}
