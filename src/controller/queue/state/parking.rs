//! The keys that wait for a resource, and the words for those that were not there yet.

use std::collections::HashMap;

use super::super::{Key, Lane, ParkKey};
use super::Tick;
use super::lanes::Lanes;

pub(super) struct Parking<K: Key> {
    /// In the order in which they would be dispatched, so that a resource is shared as the workers are.
    parked: HashMap<ParkKey, Lanes<K>>,
    /// When a resource was last unparked for more keys than were there. A run that started before may
    /// still park on it.
    missed: HashMap<ParkKey, Tick>,
}

impl<K: Key> Parking<K> {
    pub(super) fn new() -> Self {
        Self { parked: HashMap::new(), missed: HashMap::new() }
    }

    /// How many keys are parked. Looks at every flow of each resource.
    pub(super) fn len(&self) -> usize {
        self.parked.values().map(Lanes::len).sum()
    }

    pub(super) fn park(&mut self, resource: &ParkKey, lane: Lane, place: Tick, key: K) {
        let lanes = self.parked.entry(resource.clone()).or_insert_with(Lanes::new);
        lanes.insert(lane, place, key);
    }

    pub(super) fn leave(&mut self, resource: &ParkKey, lane: Lane, place: Tick, flow: &K::Flow) {
        if let Some(lanes) = self.parked.get_mut(resource) {
            lanes.remove(lane, place, flow);
            self.forget_empty(resource);
        }
    }

    /// Takes out the key that is next on a resource.
    pub(super) fn take(&mut self, resource: &ParkKey) -> Option<K> {
        let lanes = self.parked.get_mut(resource)?;
        let (key, lane) = lanes.take(|_| true, |_| true)?;
        // A word is one turn and no more, whatever comes of it.
        lanes.settle(lane, &key.flow(), 1);
        self.forget_empty(resource);
        Some(key)
    }

    fn forget_empty(&mut self, resource: &ParkKey) {
        if self.parked.get(resource).is_some_and(Lanes::is_empty) {
            self.parked.remove(resource);
        }
    }

    pub(super) fn miss(&mut self, resource: &ParkKey, now: Tick) {
        self.missed.insert(resource.clone(), now);
    }

    /// Whether a run that started then has missed a word for a resource.
    pub(super) fn has_missed(&self, resource: &ParkKey, started: Tick) -> bool {
        self.missed.get(resource).is_some_and(|at| *at > started)
    }

    /// Forgets the words that no run can have missed.
    pub(super) fn forget_words(&mut self, oldest_run: Option<Tick>) {
        self.missed.retain(|_, at| oldest_run.is_some_and(|started| started < *at));
    }
}

#[cfg(test)]
impl<K: Key> Parking<K> {
    pub(super) fn parked(&self) -> impl Iterator<Item = (&ParkKey, &Lanes<K>)> {
        self.parked.iter()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.parked.is_empty() && self.missed.is_empty()
    }
}
