use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::attempt::Seen;
use super::vaults::{self, VaultLedgers};
use super::weigh::Attempts;
use super::{Attempt, Installation, Limits, NotedOutcome, Profile, note, profile};
use crate::api::{Moment, RebuildCause, Rebuilt};

/// The profiles of all namespaces, and what they tell together.
///
/// One more, under the name [`Profiles::OVER_ALL`], holds the items that each vault gave out last to whomever, with
/// when they were last new to somebody. It is stored as the others are. So what a vault gave out is known after a
/// restart even if the profiles of those who got it are gone.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    by_namespace: BTreeMap<Arc<str>, Profile>,
    /// When something was noted of a namespace last, in the order of notes.
    revisions: BTreeMap<Arc<str>, u64>,
    notes: u64,
    vaults: VaultLedgers,
    pub(super) attempts: Attempts,
}

impl Profiles {
    /// The name of the profile over all namespaces. No namespace can have it.
    pub const OVER_ALL: &str = vaults::OVER_ALL;

    /// The name of the AccessProfile of a namespace, as an operator of a class keeps it.
    #[must_use]
    pub fn name_of(namespace: &str, class: &str) -> String {
        if class.is_empty() { namespace.to_owned() } else { format!("{namespace}.{class}") }
    }

    /// The namespace that an AccessProfile of a class is about; nothing where it is one of another class. No namespace
    /// has a dot in its name.
    #[must_use]
    pub fn namespace_of<'n>(name: &'n str, class: &str) -> Option<&'n str> {
        let namespace = match class {
            "" => name,
            class => name.strip_suffix(class)?.strip_suffix('.')?,
        };
        (namespace == Self::OVER_ALL || !namespace.contains('.')).then_some(namespace)
    }

    /// Takes in a profile as it was stored, in place of what was known of the namespace.
    ///
    /// What its vaults gave out stays known even so: an older profile that is put back does not lower it.
    pub fn load(&mut self, namespace: &str, profile: Profile) {
        let namespace: Arc<str> = namespace.into();
        self.revise(&namespace);
        let is_over_all = &*namespace == Self::OVER_ALL;
        for vault in &profile.known.vaults {
            for item in &vault.items {
                let at = if is_over_all { item.last } else { item.first };
                self.vaults.note(&vault.id, &item.id, &namespace, at);
            }
        }
        self.by_namespace.insert(namespace, profile);
    }

    /// Takes in that the stored profile of a namespace is missing, foreign or broken. What is known of it in memory
    /// is kept, and is to be stored again; at a start that is nothing.
    pub fn doubt(&mut self, namespace: &str, cause: RebuildCause, at: DateTime<Utc>) {
        self.revise(&namespace.into());
        let profile = self.by_namespace.entry(namespace.into()).or_insert_with(|| Profile::new(at));
        profile.known.rebuilt = Some(Rebuilt { at: at.into(), cause });
    }

    /// Forgets the namespaces that are no more and have not asked for long, and returns the names of their profiles,
    /// to be deleted. Until then a new namespace of the same name is no fresh start. What their vaults gave out
    /// stays known.
    pub fn forget_gone(
        &mut self,
        now: DateTime<Utc>,
        limits: &Limits,
        exists: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let oldest = Moment::from(now).minus(limits.gone);
        let is_gone = |name: &str, profile: &Profile| {
            name != Self::OVER_ALL && !exists(name) && profile.last_asked() < oldest
        };
        let gone: Vec<String> =
            self.iter().filter(|(n, p)| is_gone(n, p)).map(|(n, _)| n.to_owned()).collect();
        for name in &gone {
            self.by_namespace.remove(name.as_str());
            self.revisions.remove(name.as_str());
        }
        gone
    }

    fn revise(&mut self, namespace: &Arc<str>) {
        self.notes += 1;
        self.revisions.insert(Arc::clone(namespace), self.notes);
    }

    /// Tells what is known of a namespace from what was before.
    pub(super) fn revision(&self, namespace: &str) -> u64 {
        self.revisions.get(namespace).copied().unwrap_or_default()
    }

    /// What is known of a namespace.
    #[must_use]
    pub fn get(&self, namespace: &str) -> Option<&Profile> {
        self.by_namespace.get(namespace)
    }

    /// The profiles, each under the name that it is stored by.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.by_namespace.iter().map(|(namespace, profile)| (&**namespace, profile))
    }

    /// The id of a vault of a name, where anything of it was ever granted.
    #[must_use]
    pub fn vault_named(&self, namespace: &str, name: &str) -> Option<&str> {
        let profiles = [self.get(namespace), self.get(Self::OVER_ALL)].into_iter().flatten();
        let mut vaults = profiles.flat_map(|profile| &profile.known.vaults);
        vaults.find(|vault| vault.name == name).map(|vault| vault.id.as_str())
    }

    /// When the first namespace asked that is known of.
    #[must_use]
    pub fn since(&self) -> Option<Moment> {
        self.by_namespace.values().map(|profile| profile.known.since).min()
    }

    /// Whether an attempt was denied already, as far as is known: it is no other one after a restart.
    #[must_use]
    pub fn was_denied(&self, attempt: &Attempt) -> bool {
        let known = self.get(&attempt.namespace).map(|profile| profile.known.denied.as_slice());
        known.unwrap_or_default().iter().any(|denied| attempt.is(denied))
    }

    /// What is unusual about an attempt, with all that is known; nothing changes.
    #[must_use]
    pub fn look(&self, attempt: &Attempt, installation: &Installation, limits: &Limits) -> Seen {
        let known = self.get(&attempt.namespace);
        profile::look(known, attempt, installation, limits, &self.vaults)
    }

    /// Takes in what was decided on an attempt, with what the look at it showed.
    pub fn note(
        &mut self,
        attempt: &Attempt,
        outcome: NotedOutcome,
        seen: &Seen,
        at: DateTime<Utc>,
    ) {
        let namespace: Arc<str> = attempt.namespace.as_str().into();
        self.revise(&namespace);
        let profile = self.by_namespace.entry(Arc::clone(&namespace)).or_insert_with(|| {
            let missing = super::Detector::MissingProfile;
            let mut profile = Profile::new(at);
            if seen.anomalies.iter().any(|anomaly| anomaly.detector == missing) {
                profile.known.rebuilt =
                    Some(Rebuilt { at: at.into(), cause: RebuildCause::Missing });
            }
            profile
        });
        let mut new = Vec::new();
        if matches!(outcome, NotedOutcome::Granted { .. }) {
            new.extend(
                attempt
                    .items
                    .iter()
                    .filter(|item| profile.item(&item.vault_id, &item.item_id).is_none())
                    .cloned(),
            );
        }
        profile.note(attempt, outcome, seen, at);
        if new.is_empty() {
            return;
        }
        for item in &new {
            self.vaults.note(&item.vault_id, &item.item_id, &namespace, at.into());
        }
        let over_all =
            self.by_namespace.entry(Self::OVER_ALL.into()).or_insert_with(|| Profile::new(at));
        note::note_items(&mut over_all.known, &new, at.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_profiles_of_its_own() {
        assert_eq!(Profiles::name_of("shop", ""), "shop");
        assert_eq!(Profiles::name_of("shop", "blue"), "shop.blue");
        for (name, class, namespace) in [
            ("shop", "", Some("shop")),
            ("shop.blue", "", None),
            ("shop.blue", "blue", Some("shop")),
            ("shop", "blue", None),
            ("shop.red", "blue", None),
        ] {
            assert_eq!(Profiles::namespace_of(name, class), namespace, "{name} of {class}");
        }
        for class in ["", "blue"] {
            let name = Profiles::name_of(Profiles::OVER_ALL, class);
            assert_eq!(Profiles::namespace_of(&name, class), Some(Profiles::OVER_ALL));
        }
    }
}
