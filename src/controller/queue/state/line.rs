//! One lane's keys, fair among their flows.

use std::collections::{BTreeMap, HashMap};

use super::super::Key;
use super::Tick;

/// Deficit round robin with a quantum of one, paid after the fact. In each round a flow has one turn. A
/// run pays for one turn when it starts, since what it will cost is not known; what it has cost beyond
/// that is a deficit when it ends, and the flow sits out one round for each unit of it. Instead of a
/// deficit, a flow carries the round in which the deficit is paid off, so that no turn is spent on counting.
///
/// Before a flow is served, each other flow is served at most once, and once more for each round that the
/// flow sits out. Nobody saves up turns. Without keys and runs a flow is forgotten, and so is its deficit.
pub(super) struct Line<K: Key> {
    flows: HashMap<K::Flow, Flow<K>>,
    /// The flows that have keys, in the order in which they are served.
    turns: BTreeMap<Turn, K::Flow>,
    /// The round that is served now.
    round: u64,
    last_seat: u64,
}

struct Flow<K> {
    /// First in, first out.
    keys: BTreeMap<Tick, K>,
    turn: Turn,
    /// Runs under way of keys that were taken from here.
    runs: usize,
}

impl<K> Flow<K> {
    fn new(turn: Turn) -> Self {
        Self { keys: BTreeMap::new(), turn, runs: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    round: u64,
    /// The order within a round: who came first.
    seat: u64,
}

impl<K: Key> Line<K> {
    pub(super) fn new() -> Self {
        Self { flows: HashMap::new(), turns: BTreeMap::new(), round: 0, last_seat: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many keys are queued. Looks at every flow.
    pub(super) fn len(&self) -> usize {
        self.flows.values().map(|flow| flow.keys.len()).sum()
    }

    /// The flows that have keys.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &K::Flow> {
        self.turns.values()
    }

    fn last_turn_of(&mut self, round: u64) -> Turn {
        self.last_seat += 1;
        Turn { round, seat: self.last_seat }
    }

    /// Adds a key at a place among those of its flow.
    pub(super) fn insert(&mut self, place: Tick, key: K) {
        let name = key.flow();
        // Behind all who wait without a deficit: whoever has one key at a time comes anew with each.
        let newcomer = self.last_turn_of(self.round + 1);
        let flow = self.flows.entry(name.clone()).or_insert_with(|| Flow::new(newcomer));
        if flow.keys.is_empty() {
            flow.turn = Turn { round: flow.turn.round.max(newcomer.round), ..newcomer };
            self.turns.insert(flow.turn, name);
        }
        flow.keys.insert(place, key);
    }

    /// Takes out the key at a place.
    pub(super) fn remove(&mut self, place: Tick, name: &K::Flow) {
        if let Some(flow) = self.flows.get_mut(name)
            && flow.keys.remove(&place).is_some()
            && flow.keys.is_empty()
        {
            self.turns.remove(&flow.turn);
            self.forget_idle(name);
        }
    }

    fn next(&self, may_run: impl Fn(&K::Flow) -> bool) -> Option<(Turn, &K::Flow)> {
        // Few are passed over: those that hold as many workers as a flow may.
        let (turn, name) = self.turns.iter().find(|(_, name)| may_run(name))?;
        Some((*turn, name))
    }

    /// Whether a flow that may run has a key.
    pub(super) fn has_next(&self, may_run: impl Fn(&K::Flow) -> bool) -> bool {
        self.next(may_run).is_some()
    }

    /// Takes the next key of the flow whose turn it is, among those that may run. Its run is to be
    /// [settled](Self::settle).
    pub(super) fn take(&mut self, may_run: impl Fn(&K::Flow) -> bool) -> Option<K> {
        let (turn, name) = self.next(may_run)?;
        let name = name.clone();
        self.turns.remove(&turn);
        // A flow that was held back does not make up for it.
        self.round = self.round.max(turn.round);
        let next = self.last_turn_of(self.round + 1);
        let flow = self.flows.get_mut(&name)?;
        let (_, key) = flow.keys.pop_first()?;
        flow.runs += 1;
        flow.turn = next;
        if !flow.keys.is_empty() {
            self.turns.insert(next, name);
        }
        Some(key)
    }

    /// A run of the flow starts whose key was not taken from here. Only what it costs beyond 1 is paid here.
    pub(super) fn enter(&mut self, name: K::Flow) {
        let newcomer = self.last_turn_of(self.round + 1);
        self.flows.entry(name).or_insert_with(|| Flow::new(newcomer)).runs += 1;
    }

    /// A run of the flow has ended, and cost so much; 1 is paid already.
    pub(super) fn settle(&mut self, name: &K::Flow, cost: u32) {
        let Some(flow) = self.flows.get_mut(name) else { return };
        flow.runs = flow.runs.saturating_sub(1);
        let deficit = u64::from(cost.saturating_sub(1));
        if deficit > 0 {
            let waits = self.turns.remove(&flow.turn).is_some();
            flow.turn.round = flow.turn.round.max(self.round) + deficit;
            if waits {
                self.turns.insert(flow.turn, name.clone());
            }
        }
        self.forget_idle(name);
    }

    fn forget_idle(&mut self, name: &K::Flow) {
        if self.flows.get(name).is_some_and(|flow| flow.keys.is_empty() && flow.runs == 0) {
            self.flows.remove(name);
        }
    }
}

#[cfg(test)]
impl<K: Key> Line<K> {
    /// The keys with their places.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Tick, &K)> {
        self.flows.values().flat_map(|flow| flow.keys.iter().map(|(place, key)| (*place, key)))
    }

    /// What is remembered is what is needed.
    pub(super) fn check(&self) {
        for (name, flow) in &self.flows {
            assert!(flow.runs > 0 || !flow.keys.is_empty(), "an idle flow is remembered");
            assert_eq!(self.turns.get(&flow.turn) == Some(name), !flow.keys.is_empty());
        }
        let with_keys = self.flows.values().filter(|flow| !flow.keys.is_empty());
        assert_eq!(with_keys.count(), self.turns.len());
    }

    pub(super) fn is_blank(&self) -> bool {
        self.flows.is_empty() && self.turns.is_empty()
    }
}
