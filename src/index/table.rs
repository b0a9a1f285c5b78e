use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use kube::runtime::watcher::Event;

/// What an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<V> {
    /// Listed or created.
    Added(Arc<V>),
    /// Another version of something known: before and after.
    Updated(Arc<V>, Arc<V>),
    /// Gone: as it last was.
    Removed(Arc<V>),
}

/// A row that knows its version.
pub trait Versioned {
    /// The object's `metadata.resourceVersion`, as a number.
    fn resource_version(&self) -> u64;
}

/// The rows of one kind. A list that is repeated replaces rows as it goes and drops what it did not
/// name at its end, so that nothing is held twice meanwhile.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: HashMap<K, Row<V>>,
    epoch: u64,
    /// The epoch in which the last list of each scope began.
    lists: HashMap<Option<String>, u64>,
    /// The last deletions, by key and version: the answer to a write of ours may come after the watch told
    /// that its object is gone, and must not bring it back.
    gone: VecDeque<(K, u64)>,
}

/// How many deletions are remembered: more than happen while an answer is on its way.
const REMEMBERED: usize = 256;

#[derive(Debug)]
struct Row<V> {
    value: Arc<V>,
    epoch: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), epoch: 0, lists: HashMap::new(), gone: VecDeque::new() }
    }
}

impl<K: Eq + Hash + Clone, V: Versioned> Table<K, V> {
    /// Folds an event of the watch of one scope in. `in_scope` says which rows that watch speaks of at
    /// all; `row` makes a row of an object, or ignores it.
    pub(super) fn fold<O>(
        &mut self,
        scope: Option<&str>,
        event: Event<O>,
        in_scope: impl Fn(&K) -> bool,
        row: impl FnOnce(O) -> Option<(K, V)>,
    ) -> Vec<(K, Change<V>)> {
        match event {
            Event::Init => {
                self.epoch += 1;
                self.lists.insert(scope.map(str::to_owned), self.epoch);
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let Some((key, value)) = row(object) else {
                    return Vec::new();
                };
                self.put(key, value).into_iter().collect()
            }
            Event::InitDone => {
                // Lists of other scopes may have begun meanwhile: what counts is when this one did.
                let began = self.lists.get(&scope.map(str::to_owned)).copied().unwrap_or(0);
                let gone: Vec<K> = self
                    .rows
                    .iter()
                    .filter(|(key, row)| row.epoch < began && in_scope(key))
                    .map(|(key, _)| key.clone())
                    .collect();
                gone.into_iter()
                    .filter_map(|key| {
                        self.rows.remove(&key).map(|row| (key, Change::Removed(row.value)))
                    })
                    .collect()
            }
            Event::Delete(object) => {
                let Some((key, value)) = row(object) else {
                    return Vec::new();
                };
                // What was created again since has a higher version than the deletion.
                if self
                    .rows
                    .get(&key)
                    .is_some_and(|row| row.value.resource_version() > value.resource_version())
                {
                    return Vec::new();
                }
                if self.gone.len() == REMEMBERED {
                    self.gone.pop_front();
                }
                self.gone.push_back((key.clone(), value.resource_version()));
                self.rows
                    .remove(&key)
                    .map(|row| (key, Change::Removed(row.value)))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Takes in a row that did not come by the watch.
    pub(super) fn observe(&mut self, key: &K, value: V) {
        let version = value.resource_version();
        if self.gone.iter().any(|(k, at)| k == key && *at >= version) {
            return;
        }
        let _ = self.put(key.clone(), value);
    }

    /// Nothing is older than what is known: our own writes are taken in before the watch tells of them.
    fn put(&mut self, key: K, value: V) -> Option<(K, Change<V>)> {
        let epoch = self.epoch;
        let value = Arc::new(value);
        match self.rows.get_mut(&key) {
            Some(row) => {
                row.epoch = epoch;
                if value.resource_version() <= row.value.resource_version() {
                    return None;
                }
                let before = std::mem::replace(&mut row.value, value.clone());
                Some((key, Change::Updated(before, value)))
            }
            None => {
                self.rows.insert(key.clone(), Row { value: value.clone(), epoch });
                Some((key, Change::Added(value)))
            }
        }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.rows.get(key).map(|row| row.value.clone())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.rows.values().map(|row| &row.value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.rows.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Version(u64);

    impl Versioned for Version {
        fn resource_version(&self) -> u64 {
            self.0
        }
    }

    type Object = (&'static str, u64);

    fn fold(table: &mut Table<&'static str, Version>, event: Event<Object>) -> Vec<&'static str> {
        table
            .fold(None, event, |_| true, |(key, version)| Some((key, Version(version))))
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }

    fn listed(table: &mut Table<&'static str, Version>, objects: &[Object]) -> Vec<&'static str> {
        let mut changed = fold(table, Event::Init);
        for object in objects {
            changed.extend(fold(table, Event::InitApply(*object)));
        }
        changed.extend(fold(table, Event::InitDone));
        changed
    }

    #[test]
    fn a_repeated_list_changes_only_what_differs() {
        let mut table = Table::default();
        assert_eq!(listed(&mut table, &[("a", 1), ("b", 2)]), ["a", "b"]);
        assert!(listed(&mut table, &[("a", 1), ("b", 2)]).is_empty());
        assert_eq!(listed(&mut table, &[("a", 5)]), ["a", "b"]);
        assert!(table.get("b").is_none());
    }

    #[test]
    fn a_list_of_one_scope_leaves_the_others_alone() {
        let mut table = Table::default();
        listed(&mut table, &[("a/x", 1), ("b/x", 2)]);
        let row = |(key, version): Object| Some((key, Version(version)));
        let _ = table.fold(Some("a"), Event::Init, |k| k.starts_with("a/"), row);
        let gone = table.fold(Some("a"), Event::InitDone, |k| k.starts_with("a/"), row);
        assert_eq!(gone.len(), 1);
        assert!(table.get("b/x").is_some());
    }

    #[test]
    fn lists_of_two_scopes_may_interleave() {
        let mut table = Table::default();
        let row = |(key, version): Object| Some((key, Version(version)));
        let (a, b) = (|k: &&str| k.starts_with("a/"), |k: &&str| k.starts_with("b/"));
        let _ = table.fold(Some("a"), Event::Init, a, row);
        let _ = table.fold(Some("a"), Event::InitApply(("a/x", 1)), a, row);
        let _ = table.fold(Some("b"), Event::Init, b, row);
        assert!(table.fold(Some("a"), Event::InitDone, a, row).is_empty());
        assert!(table.get("a/x").is_some());
    }

    #[test]
    fn what_our_own_write_told_is_no_news_from_the_watch() {
        let mut table = Table::default();
        listed(&mut table, &[("a", 1)]);
        table.observe(&"a", Version(7));
        assert!(fold(&mut table, Event::Apply(("a", 7))).is_empty());
        assert!(fold(&mut table, Event::Apply(("a", 3))).is_empty(), "an older event");
        assert_eq!(fold(&mut table, Event::Apply(("a", 8))), ["a"]);
    }

    #[test]
    fn a_late_answer_to_our_own_write_does_not_bring_back_what_is_gone() {
        let mut table = Table::default();
        listed(&mut table, &[("a", 1)]);
        assert_eq!(fold(&mut table, Event::Delete(("a", 9))), ["a"]);
        table.observe(&"a", Version(8));
        assert!(table.get("a").is_none());
        table.observe(&"a", Version(12));
        assert!(table.get("a").is_some(), "it was created again");
    }

    #[test]
    fn a_late_deletion_does_not_take_what_was_created_again() {
        let mut table = Table::default();
        listed(&mut table, &[("a", 1)]);
        table.observe(&"a", Version(9));
        assert!(fold(&mut table, Event::Delete(("a", 5))).is_empty());
        assert_eq!(fold(&mut table, Event::Delete(("a", 10))), ["a"]);
    }
}
