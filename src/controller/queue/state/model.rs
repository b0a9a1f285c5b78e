//! Random operations against what must hold at all times.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const KEYS: u32 = 12;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Op {
    Add(u32, Lane),
    Take,
    Finish(Index, Next),
    UnparkOne(ParkKey),
    UnparkAll(ParkKey),
    Advance(Duration),
}

fn resources() -> [ParkKey; 2] {
    ["a", "b"].map(ParkKey::new)
}

fn seconds() -> impl Strategy<Value = Duration> {
    (0..20_u64).prop_map(Duration::from_secs)
}

fn op() -> impl Strategy<Value = Op> {
    let lane = || select(&Lane::ALL);
    let resource = || select(resources().to_vec());
    let next = prop_oneof![
        2 => Just(Next::Done),
        1 => seconds().prop_map(Next::At),
        2 => Just(Next::Retry),
        3 => resource().prop_map(Next::Park),
        1 => Just(Next::Forget),
    ];
    prop_oneof![
        6 => (0..KEYS, lane()).prop_map(|(key, lane)| Op::Add(key, lane)),
        6 => Just(Op::Take),
        5 => (any::<Index>(), next).prop_map(|(which, next)| Op::Finish(which, next)),
        1 => resource().prop_map(Op::UnparkOne),
        1 => resource().prop_map(Op::UnparkAll),
        2 => seconds().prop_map(Op::Advance),
    ]
}

fn state(workers: usize, interactive_workers: usize) -> State<u32> {
    State::new(QueueConfig {
        workers,
        interactive_workers,
        retry_first: SECOND,
        retry_max: 60 * SECOND,
    })
}

impl State<u32> {
    /// Every key is in one place, and the places agree with what is written of the key.
    fn check(&self) {
        let mut seen = HashSet::new();
        for lane in Lane::ALL {
            for (at, key) in &self.line(lane).keys {
                let entry = &self.entries[key];
                assert!(matches!(entry.place, Place::Queued { tick, .. } if tick == *at));
                assert_eq!(entry.lane, lane);
                assert!(seen.insert(*key), "{key} is queued twice");
            }
        }
        for (resource, keys) in &self.parked {
            assert!(!keys.is_empty());
            for ((lane, at), key) in keys {
                let entry = &self.entries[key];
                assert!(matches!(entry.place, Place::Parked));
                assert_eq!(entry.lane, *lane);
                let ticket = entry.memory.ticket.as_ref().unwrap();
                assert_eq!((&ticket.resource, ticket.tick), (resource, *at));
                assert!(seen.insert(*key), "{key} is in two places");
            }
        }
        for (key, entry) in &self.entries {
            match entry.place {
                Place::Queued { .. } | Place::Parked => assert!(seen.contains(key)),
                Place::Running { started, .. } => assert_eq!(self.runs[&started], entry.lane),
                Place::Waiting(at) => assert_eq!(self.timers[&at], *key),
            }
        }
        let waiting = |entry: &&Entry| matches!(entry.place, Place::Waiting(_));
        let waiting = self.entries.values().filter(waiting).count();
        assert_eq!(waiting, self.timers.len());
        let running = |entry: &&Entry| matches!(entry.place, Place::Running { .. });
        let running = self.entries.values().filter(running).count();
        assert_eq!(running, self.runs.len());
        let shared = self.config.workers - self.config.interactive_workers;
        let others = self.runs.values().filter(|l| **l != Lane::Interactive);
        assert!(others.count() <= shared);
        assert!(running <= self.config.workers);
    }

    fn is_blank(&self) -> bool {
        self.entries.is_empty() && self.depths() == Depths::default() && self.missed.is_empty()
    }

    /// Nothing is held back but by the bounds.
    fn check_idle(&self) {
        let depths = self.depths();
        let full = depths.running == self.config.workers;
        let shared = self.config.workers - self.config.interactive_workers;
        let others = self.runs.values().filter(|l| **l != Lane::Interactive);
        let bound = others.count() == shared;
        assert!(full || depths.interactive == 0);
        assert!(full || bound || depths.changed + depths.sweep == 0);
    }
}

/// A queue, and the keys that are owed a run.
struct Model {
    state: State<u32>,
    now: Instant,
    running: Vec<u32>,
    owed: HashSet<u32>,
}

impl Model {
    fn take(&mut self) -> bool {
        let Some((key, _, _)) = self.state.take(self.now) else {
            self.state.check_idle();
            return false;
        };
        assert!(!self.running.contains(&key), "{key} runs twice at once");
        self.running.push(key);
        self.owed.remove(&key);
        true
    }

    fn finish(&mut self, which: usize, next: Next) {
        let key = self.running.swap_remove(which);
        if !matches!(next, Next::Done | Next::Forget) {
            self.owed.insert(key);
        }
        self.state.finish(key, next, 0.5, self.now);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Add(key, lane) => {
                self.owed.insert(key);
                self.state.add(key, lane, self.now);
            }
            Op::Take => drop(self.take()),
            Op::Finish(which, next) if !self.running.is_empty() => {
                self.finish(which.index(self.running.len()), next);
            }
            Op::Finish(..) => {}
            Op::UnparkOne(resource) => self.state.unpark_one(&resource, self.now),
            Op::UnparkAll(resource) => self.state.unpark_all(&resource, self.now),
            Op::Advance(time) => self.now += time,
        }
        self.state.check();
    }

    fn drain(&mut self) {
        while !self.running.is_empty() {
            self.finish(0, Next::Done);
        }
        for resource in resources() {
            self.state.unpark_all(&resource, self.now);
        }
        self.now += 100 * SECOND;
        while self.take() {
            self.finish(0, Next::Done);
        }
    }
}

proptest! {
    #[test]
    fn no_key_is_lost_doubled_or_run_twice_at_once(
        ops in vec(op(), 0..300),
        workers in 1..6_usize,
        interactive_workers in 0..4_usize,
    ) {
        let mut model = Model {
            state: state(workers, interactive_workers),
            now: Instant::now(),
            running: Vec::new(),
            owed: HashSet::new(),
        };
        for op in ops {
            model.apply(op);
        }
        model.drain();
        prop_assert!(model.owed.is_empty(), "never ran again: {:?}", model.owed);
        prop_assert!(model.state.is_blank());
    }

    /// Keys that need one of few permits, a look at which and the parking are apart. Whoever gives one
    /// back says so once; some keys do not want theirs after all. In the end all have run.
    #[test]
    fn one_word_for_each_permit_that_comes_free_is_enough(
        steps in vec((any::<bool>(), any::<Index>(), any::<bool>()), 0..200),
        permits in 1..4_usize,
        workers in 1..6_usize,
    ) {
        let (mut state, now, server) = (state(workers, 0), Instant::now(), ParkKey::new("a"));
        for key in 0..KEYS {
            state.add(key, Lane::Sweep, now);
        }
        let mut free = permits;
        let mut running: Vec<(u32, bool, bool)> = Vec::new();
        let drain = [(true, 0, true), (false, 0, true)].into_iter().cycle();
        let drain = drain.take(40 * KEYS as usize);
        let steps = steps.into_iter().map(|(start, which, wants)| (start, which.index(64), wants));
        for (start, which, wants) in steps.chain(drain) {
            if start {
                if let Some((key, _, _)) = state.take(now) {
                    let holds = wants && free > 0;
                    free -= usize::from(holds);
                    running.push((key, wants, holds));
                }
            } else if !running.is_empty() {
                let (key, wants, holds) = running.swap_remove(which % running.len());
                let next = if wants && !holds { Next::Park(server.clone()) } else { Next::Done };
                let give_back_first = which % 2 == 0;
                if !give_back_first {
                    state.finish(key, next.clone(), 0.5, now);
                }
                if holds {
                    free += 1;
                    state.unpark_one(&server, now);
                }
                if give_back_first {
                    state.finish(key, next, 0.5, now);
                }
            }
            state.check();
        }
        prop_assert_eq!(free, permits);
        prop_assert!(state.is_blank(), "left: {:?}", state.depths());
    }
}
