use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::cache::Listed;
use crate::connect::{ItemSummary, State};
use crate::reference::fold;

/// The items of a vault that can be referred to: archived and deleted ones are not among them.
#[derive(Debug, Default)]
pub struct Listing {
    /// The content version that was read before the list, so that a change in between is seen again.
    pub guard: Option<i64>,
    /// Whether it is of what was kept before a restart alone: what is not in it may well be in the vault.
    pub(super) is_part: bool,
    items: Vec<ListedItem>,
    by_id: HashMap<Arc<str>, usize>,
    by_title: HashMap<Arc<str>, Vec<usize>>,
    by_folded_title: HashMap<String, Vec<usize>>,
}

/// An item of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedItem {
    /// Its id.
    pub id: Arc<str>,
    /// Its canonical title.
    pub title: Arc<str>,
    /// Its version.
    pub version: i64,
    /// Its category; empty where the server does not tell.
    pub category: Arc<str>,
}

impl From<Listed> for ListedItem {
    fn from(kept: Listed) -> Self {
        let Listed { id, title, version, category } = kept;
        Self { id, title, version, category }
    }
}

impl Listing {
    /// The list of a vault, guarded by the content version that was read before it.
    #[must_use]
    pub fn new(guard: Option<i64>, summaries: Vec<ItemSummary>) -> Self {
        let mut categories = BTreeSet::new();
        let mut items: Vec<ListedItem> = summaries
            .into_iter()
            .filter(|s| s.state == State::Active)
            .map(|s| ListedItem {
                id: s.id,
                title: s.title,
                version: s.version,
                category: shared(&mut categories, s.category),
            })
            .collect();
        items.sort();
        Self::of(guard, items)
    }

    /// What was kept of the list of a vault before a restart.
    pub(super) fn part(kept: Vec<Listed>) -> Self {
        // Without a guard it is listed as soon as the server answers.
        let items = kept.into_iter().map(ListedItem::from).collect();
        Self { is_part: true, ..Self::of(None, items) }
    }

    /// The same list, which counts as outdated.
    pub(super) fn unguarded(&self) -> Self {
        Self { is_part: self.is_part, ..Self::of(None, self.items.clone()) }
    }

    /// The list of these items.
    fn of(guard: Option<i64>, items: Vec<ListedItem>) -> Self {
        let mut listing = Self { guard, ..Self::default() };
        for (position, item) in items.iter().enumerate() {
            listing.by_id.insert(item.id.clone(), position);
            listing.by_title.entry(item.title.clone()).or_default().push(position);
            listing.by_folded_title.entry(fold(&item.title)).or_default().push(position);
        }
        listing.items = items;
        listing
    }

    /// Whether the list is the one before, though the vault has moved meanwhile: then it may be that of a replica
    /// which has not heard of that yet.
    #[must_use]
    pub fn repeats(&self, before: &Self) -> bool {
        self.guard.is_some() && self.guard != before.guard && self.items == before.items
    }

    /// Whether an item has a lower version than in a list before.
    #[must_use]
    pub fn is_behind(&self, before: &Self) -> bool {
        self.items.iter().any(|item| {
            let known = before.by_id.get(&item.id).and_then(|p| before.items.get(*p));
            known.is_some_and(|known| item.version < known.version)
        })
    }

    /// Whether an item of a list before is not in this one.
    #[must_use]
    pub fn lacks(&self, before: &Self) -> bool {
        before.items.iter().any(|item| !self.by_id.contains_key(&item.id))
    }

    /// The items, in a fixed order.
    #[must_use]
    pub fn items(&self) -> &[ListedItem] {
        &self.items
    }

    /// The items of an id, or of a title as it is spelled.
    pub(super) fn exact(&self, spelled: &str) -> impl Iterator<Item = &ListedItem> {
        let by_id = self.by_id.get(spelled);
        let by_title = self.by_title.get(spelled).into_iter().flatten();
        by_id
            .into_iter()
            .chain(by_title.filter(move |p| Some(*p) != by_id))
            .filter_map(|p| self.items.get(*p))
    }

    /// The items of a title in whatever case.
    pub(super) fn folded(&self, spelled: &str) -> impl Iterator<Item = &ListedItem> {
        self.by_folded_title
            .get(&fold(spelled))
            .into_iter()
            .flatten()
            .filter_map(|p| self.items.get(*p))
    }
}

/// The one copy of a text that many have.
fn shared(known: &mut BTreeSet<Arc<str>>, text: Arc<str>) -> Arc<str> {
    if let Some(known) = known.get(&text) {
        return known.clone();
    }
    known.insert(text.clone());
    text
}
