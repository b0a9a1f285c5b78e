use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::attempt::AttemptedItem;
use crate::api::Moment;

/// The name of the profile over all namespaces, which no namespace can have.
pub(super) const OVER_ALL: &str = "all.namespaces";
/// How long a grant is remembered here: the longest window, and what is usual before it.
const REMEMBERED: Duration = Duration::from_secs(120 * 24 * 3600);
/// The most grants remembered of one vault. The ceilings are far below.
const MOST: usize = 2048;

/// What each vault gave out, over all namespaces: when an item was first granted to a namespace.
///
/// An item that other namespaces have had for long counts as well: somebody who empties a vault by many
/// namespaces does not care who else has what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VaultLedgers {
    vaults: BTreeMap<String, VecDeque<FirstGrant>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FirstGrant {
    at: Moment,
    namespace: Arc<str>,
    item: String,
}

impl VaultLedgers {
    /// Takes in that an item was first granted to a namespace. To hear of it again, as after a reload, changes nothing.
    pub(super) fn note(&mut self, vault: &str, item: &str, namespace: &Arc<str>, at: Moment) {
        let ledger = self.vaults.entry(vault.to_owned()).or_default();
        let place = ledger.partition_point(|grant| grant.at <= at);
        let grant = FirstGrant { at, namespace: Arc::clone(namespace), item: item.to_owned() };
        let mut same_time = ledger.range(..place).rev().take_while(|known| known.at == at);
        if same_time.any(|known| *known == grant) {
            return;
        }
        ledger.insert(place, grant);
        let Some(oldest) = ledger.back().map(|newest| newest.at.minus(REMEMBERED)) else {
            return;
        };
        while ledger.len() > MOST || ledger.front().is_some_and(|grant| grant.at < oldest) {
            ledger.pop_front();
        }
    }

    /// How many items a vault gave out since a moment, to whomever, with those that are asked for now.
    pub(super) fn items_since<'a>(
        &'a self,
        vault: &str,
        start: Moment,
        asked: impl Iterator<Item = &'a AttemptedItem>,
    ) -> usize {
        let given = self.since(vault, start).map(|grant| grant.item.as_str());
        given.chain(asked.map(|item| item.item_id.as_str())).collect::<BTreeSet<_>>().len()
    }

    /// The same, with each namespace counting for no more than a share: how far it is spread.
    pub(super) fn spread_since(
        &self,
        vault: &str,
        start: Moment,
        share: usize,
        namespace: &str,
        asked: usize,
    ) -> usize {
        let mut by_namespace: BTreeMap<&str, usize> = BTreeMap::from([(namespace, asked)]);
        // The profile over all is no namespace.
        let given = self.since(vault, start).filter(|grant| &*grant.namespace != OVER_ALL);
        for grant in given {
            *by_namespace.entry(&grant.namespace).or_default() += 1;
        }
        by_namespace.values().map(|items| items.min(&share)).sum()
    }

    /// How many items a vault usually gave out in the length of a window, over the time from a moment up to
    /// that window; nothing where less than one such length is known.
    pub(super) fn usual(&self, vault: &str, from: Moment, now: Moment, window: Duration) -> usize {
        let end = now.minus(window);
        let length = i64::try_from(window.as_secs()).unwrap_or(i64::MAX).max(1);
        let windows = usize::try_from(end.seconds_since(from) / length).unwrap_or(0);
        let given = self.since(vault, from).filter(|grant| grant.at < end);
        let items = given.map(|grant| grant.item.as_str()).collect::<BTreeSet<_>>().len();
        items.checked_div(windows).unwrap_or(0)
    }

    fn since(&self, vault: &str, start: Moment) -> impl Iterator<Item = &FirstGrant> {
        let ledger = self.vaults.get(vault);
        ledger.into_iter().flat_map(move |l| l.iter().rev().take_while(move |g| g.at >= start))
    }
}
