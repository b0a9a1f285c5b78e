//! The three lanes: which is next, and that none starves.

use super::super::{Key, Lane};
use super::Tick;
use super::line::Line;

/// Of so many dispatches a lane that has keys gets one, whatever is in the lanes before it; of one more
/// where two lanes are due at once. What the limits hold back stays due.
const SHARE: u32 = 8;

/// Keys in lanes.
pub(super) struct Lanes<K: Key> {
    interactive: Slot<K>,
    changed: Slot<K>,
    sweep: Slot<K>,
}

struct Slot<K: Key> {
    line: Line<K>,
    /// Dispatches from other lanes while this one had keys.
    passed_over: u32,
}

impl<K: Key> Slot<K> {
    fn new() -> Self {
        Self { line: Line::new(), passed_over: 0 }
    }
}

impl<K: Key> Lanes<K> {
    pub(super) fn new() -> Self {
        Self { interactive: Slot::new(), changed: Slot::new(), sweep: Slot::new() }
    }

    fn slot(&self, lane: Lane) -> &Slot<K> {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Changed => &self.changed,
            Lane::Sweep => &self.sweep,
        }
    }

    fn slot_mut(&mut self, lane: Lane) -> &mut Slot<K> {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Changed => &mut self.changed,
            Lane::Sweep => &mut self.sweep,
        }
    }

    /// A lane's keys.
    pub(super) fn line(&self, lane: Lane) -> &Line<K> {
        &self.slot(lane).line
    }

    pub(super) fn is_empty(&self) -> bool {
        Lane::ALL.into_iter().all(|lane| self.line(lane).is_empty())
    }

    /// How many keys there are. Looks at every flow.
    pub(super) fn len(&self) -> usize {
        Lane::ALL.into_iter().map(|lane| self.line(lane).len()).sum()
    }

    pub(super) fn insert(&mut self, lane: Lane, place: Tick, key: K) {
        self.slot_mut(lane).line.insert(place, key);
    }

    pub(super) fn remove(&mut self, lane: Lane, place: Tick, flow: &K::Flow) {
        self.slot_mut(lane).line.remove(place, flow);
    }

    /// Takes the key that is next in the lanes that are open, among those of the flows that may run. Its
    /// run is to be [settled](Self::settle).
    pub(super) fn take(
        &mut self,
        is_open: impl Fn(Lane) -> bool,
        may_run: impl Fn(&K::Flow) -> bool,
    ) -> Option<(K, Lane)> {
        let has_next = |lane: &Lane| is_open(*lane) && self.line(*lane).has_next(&may_run);
        let passed_over = |lane: &Lane| self.slot(*lane).passed_over;
        // The interactive lane is next whenever nothing is due.
        let is_due = |lane: &Lane| *lane != Lane::Interactive && passed_over(lane) >= SHARE - 1;
        let mut candidates = Lane::ALL.into_iter().filter(has_next);
        // Whoever was passed over most often: while the limits hold back two lanes, the one that was served
        // last becomes due again, and must not be first each time.
        let due = candidates.clone().filter(is_due).max_by_key(passed_over);
        let lane = due.or_else(|| candidates.next())?;
        let key = self.slot_mut(lane).line.take(may_run)?;
        for other in Lane::ALL {
            let slot = self.slot_mut(other);
            slot.passed_over = if other == lane || slot.line.is_empty() {
                0
            } else {
                slot.passed_over.saturating_add(1)
            };
        }
        Some((key, lane))
    }

    /// A run starts in a lane whose key was not taken from here. It is to be [settled](Self::settle) all the
    /// same.
    pub(super) fn enter(&mut self, lane: Lane, flow: K::Flow) {
        self.slot_mut(lane).line.enter(flow);
    }

    /// A run in a lane has ended, and cost so much.
    pub(super) fn settle(&mut self, lane: Lane, flow: &K::Flow, cost: u32) {
        self.slot_mut(lane).line.settle(flow, cost);
    }
}
