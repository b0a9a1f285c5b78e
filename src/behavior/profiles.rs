use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::attempt::Seen;
use super::{Attempt, Installation, Limits, NotedOutcome, Profile, profile, vaults::VaultLedgers};
use crate::api::{RebuildCause, Rebuilt};

/// The profiles of all namespaces, and what they tell together.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    by_namespace: BTreeMap<Arc<str>, Profile>,
    vaults: VaultLedgers,
}

impl Profiles {
    /// Takes in a profile as it was stored, in place of what was known of the namespace.
    ///
    /// What its vaults gave out stays known even so: an older profile that is put back does not lower it.
    pub fn load(&mut self, namespace: &str, profile: Profile) {
        let namespace: Arc<str> = namespace.into();
        for (vault, item) in
            profile.known.vaults.iter().flat_map(|v| v.items.iter().map(move |i| (&v.id, i)))
        {
            let had = self.by_namespace.get(&namespace).and_then(|p| p.item(vault, &item.id));
            if had.is_none() {
                self.vaults.note(vault, &item.id, &namespace, item.first);
            }
        }
        self.by_namespace.insert(namespace, profile);
    }

    /// Takes in that the stored profile of a namespace is missing, foreign or broken. What is known of it in memory
    /// is kept, and is to be stored again; at a start that is nothing.
    pub fn doubt(&mut self, namespace: &str, cause: RebuildCause, at: DateTime<Utc>) {
        let profile = self.by_namespace.entry(namespace.into()).or_insert_with(|| Profile::new(at));
        profile.known.rebuilt = Some(Rebuilt { at: at.into(), cause });
    }

    /// Forgets a namespace that is gone. What its vaults gave out stays known.
    pub fn remove(&mut self, namespace: &str) {
        self.by_namespace.remove(namespace);
    }

    /// What is known of a namespace.
    #[must_use]
    pub fn get(&self, namespace: &str) -> Option<&Profile> {
        self.by_namespace.get(namespace)
    }

    /// The namespaces of which something is known, with it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.by_namespace.iter().map(|(namespace, profile)| (&**namespace, profile))
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
        let profile = self.by_namespace.entry(Arc::clone(&namespace)).or_insert_with(|| {
            let missing = super::Detector::MissingProfile;
            let mut profile = Profile::new(at);
            if seen.anomalies.iter().any(|anomaly| anomaly.detector == missing) {
                profile.known.rebuilt =
                    Some(Rebuilt { at: at.into(), cause: RebuildCause::Missing });
            }
            profile
        });
        if matches!(outcome, NotedOutcome::Granted { .. }) {
            let asked: BTreeSet<_> =
                attempt.items.iter().map(|item| (&item.vault_id, &item.item_id)).collect();
            for (vault, item) in asked {
                if profile.item(vault, item).is_none() {
                    self.vaults.note(vault, item, &namespace, at.into());
                }
            }
        }
        profile.note(attempt, outcome, seen, at);
    }
}
