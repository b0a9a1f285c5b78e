//! The runs under way: who holds a worker, and who may have one.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::super::{Lane, QueueConfig};
use super::Tick;

/// What a run may cost at most, so that its flow is served again within a bound.
const COST_MAX: u32 = 64;

pub(super) struct Workers<F> {
    all: usize,
    /// How many of them take every lane.
    shared: usize,
    /// How many one flow may hold.
    per_flow: usize,
    /// The runs under way, by when they started.
    runs: BTreeMap<Tick, Run<F>>,
    /// Held by runs of the interactive lane, and by the others.
    interactive: usize,
    others: usize,
    by_flow: HashMap<F, usize>,
}

/// A run under way.
pub(super) struct Run<F> {
    pub(super) flow: F,
    pub(super) lane: Lane,
    /// From 1 to [`COST_MAX`].
    pub(super) cost: u32,
    /// How often its worker is lent now. It holds one while that is 0.
    loans: usize,
}

impl<F: Clone + Eq + Hash> Workers<F> {
    /// The limits of a configuration, each at least 1, and at least one worker for every lane.
    pub(super) fn new(config: &QueueConfig) -> Self {
        let all = config.workers.max(1);
        Self {
            all,
            shared: all - config.interactive_workers.min(all - 1),
            per_flow: config.flow_workers.max(1),
            runs: BTreeMap::new(),
            interactive: 0,
            others: 0,
            by_flow: HashMap::new(),
        }
    }

    /// Whether a worker is free for a lane.
    pub(super) fn take_on(&self, lane: Lane) -> bool {
        self.held() < self.all && (lane == Lane::Interactive || self.others < self.shared)
    }

    /// Whether a flow may hold one more.
    pub(super) fn permit(&self, flow: &F) -> bool {
        self.by_flow.get(flow).is_none_or(|held| *held < self.per_flow)
    }

    /// How many are held. More than there are, for a while, when runs take back what they lent.
    pub(super) fn held(&self) -> usize {
        self.interactive + self.others
    }

    /// How many runs hold no worker.
    pub(super) fn lent(&self) -> usize {
        self.runs.len() - self.held()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// When the run began that has been under way longest.
    pub(super) fn oldest(&self) -> Option<Tick> {
        self.runs.keys().next().copied()
    }

    pub(super) fn start(&mut self, started: Tick, lane: Lane, flow: F) {
        self.take(lane, &flow);
        self.runs.insert(started, Run { flow, lane, cost: 1, loans: 0 });
    }

    pub(super) fn end(&mut self, started: Tick) -> Option<Run<F>> {
        let run = self.runs.remove(&started)?;
        if run.loans == 0 {
            self.give(run.lane, &run.flow);
        }
        Some(run)
    }

    /// Sets what a run costs.
    pub(super) fn charge(&mut self, started: Tick, cost: u32) {
        if let Some(run) = self.runs.get_mut(&started) {
            run.cost = cost.clamp(1, COST_MAX);
        }
    }

    pub(super) fn lend(&mut self, started: Tick) {
        let Some(run) = self.runs.get_mut(&started) else { return };
        run.loans += 1;
        if run.loans == 1 {
            let (lane, flow) = (run.lane, run.flow.clone());
            self.give(lane, &flow);
        }
    }

    /// Ends a loan. Nothing, once the run has ended.
    pub(super) fn take_back(&mut self, started: Tick) {
        let Some(run) = self.runs.get_mut(&started) else { return };
        run.loans = run.loans.saturating_sub(1);
        if run.loans == 0 {
            let (lane, flow) = (run.lane, run.flow.clone());
            self.take(lane, &flow);
        }
    }

    fn count(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Changed | Lane::Sweep => &mut self.others,
        }
    }

    fn take(&mut self, lane: Lane, flow: &F) {
        *self.count(lane) += 1;
        *self.by_flow.entry(flow.clone()).or_default() += 1;
    }

    fn give(&mut self, lane: Lane, flow: &F) {
        *self.count(lane) -= 1;
        if let Some(held) = self.by_flow.get_mut(flow) {
            *held -= 1;
            if *held == 0 {
                self.by_flow.remove(flow);
            }
        }
    }
}

#[cfg(test)]
impl<F: Clone + Eq + Hash + std::fmt::Debug> Workers<F> {
    pub(super) fn lane_of(&self, started: Tick) -> Lane {
        self.runs[&started].lane
    }

    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// The counts agree with the runs.
    pub(super) fn check(&self) {
        let mut by_flow: HashMap<F, usize> = HashMap::new();
        let mut others = 0;
        for run in self.runs.values().filter(|run| run.loans == 0) {
            others += usize::from(run.lane != Lane::Interactive);
            *by_flow.entry(run.flow.clone()).or_default() += 1;
        }
        assert_eq!(others, self.others);
        assert_eq!(by_flow.values().sum::<usize>(), self.held());
        assert_eq!(by_flow, self.by_flow);
    }
}
