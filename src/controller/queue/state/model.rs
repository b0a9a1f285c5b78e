//! Random operations against what must hold at all times.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const FLOWS: u32 = 3;
const KEYS: u32 = 12;
const COSTS: u32 = 4;
const SECOND: Duration = Duration::from_secs(1);

/// The flow, and a number.
type FlowKey = (u32, u32);

#[derive(Clone, Debug)]
enum Op {
    Add(FlowKey, Lane),
    Take,
    Lend(Index),
    TakeBack(Index),
    Finish(Index, u32, Next),
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
    let key = (0..KEYS).prop_map(|n| (n % FLOWS, n));
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
        6 => (key, lane()).prop_map(|(key, lane)| Op::Add(key, lane)),
        6 => Just(Op::Take),
        2 => any::<Index>().prop_map(Op::Lend),
        1 => any::<Index>().prop_map(Op::TakeBack),
        5 => (any::<Index>(), 1..=COSTS, next)
            .prop_map(|(which, cost, next)| Op::Finish(which, cost, next)),
        1 => resource().prop_map(Op::UnparkOne),
        1 => resource().prop_map(Op::UnparkAll),
        2 => seconds().prop_map(Op::Advance),
    ]
}

fn config() -> impl Strategy<Value = QueueConfig> {
    (1..6_usize, 0..4_usize, 1..4_usize, 1..4_u32, 0..3_u32).prop_map(
        |(workers, interactive_workers, flow_workers, object_burst, interval)| QueueConfig {
            workers,
            interactive_workers,
            flow_workers,
            object_burst,
            object_interval: SECOND * interval,
            retry_first: SECOND,
            retry_max: 60 * SECOND,
        },
    )
}

struct Run {
    key: FlowKey,
    lane: Lane,
    started: Tick,
    loans: usize,
}

/// A queue, and what is owed to its keys and flows.
struct Model {
    config: QueueConfig,
    state: State<FlowKey>,
    now: Instant,
    running: Vec<Run>,
    owed: HashSet<FlowKey>,
    starts: Vec<(FlowKey, Instant)>,
    /// By lane and flow: the dispatches of the lane that went to others while the flow could have been
    /// served, and what its runs have cost, since it was.
    passed: HashMap<(Lane, u32), (u32, u32)>,
    /// The dispatches of other lanes while the lane could have been served, since it was.
    passed_lanes: HashMap<Lane, u32>,
    /// The dispatches of keys that have a word since the last other one.
    words: u32,
}

impl Model {
    fn new(config: QueueConfig) -> Self {
        Self {
            config,
            state: State::new(&config),
            now: Instant::now(),
            running: Vec::new(),
            owed: HashSet::new(),
            starts: Vec::new(),
            passed: HashMap::new(),
            passed_lanes: HashMap::new(),
            words: 0,
        }
    }

    fn held(&self, which: impl Fn(&Run) -> bool) -> usize {
        self.running.iter().filter(|run| run.loans == 0 && which(run)).count()
    }

    /// Whether the limits allow a run.
    fn may_start(&self, lane: Lane, flow: u32) -> bool {
        let shared = self.config.workers.saturating_sub(self.config.interactive_workers).max(1);
        self.held(|_| true) < self.config.workers
            && self.held(|run| run.key.0 == flow) < self.config.flow_workers
            && (lane == Lane::Interactive
                || self.held(|run| run.lane != Lane::Interactive) < shared)
    }

    /// The flows that could be served, by lane.
    fn servable(&self, lanes: &Lanes<FlowKey>) -> HashSet<(Lane, u32)> {
        let queued = |lane| lanes.line(lane).waiting().map(move |flow| (lane, *flow));
        let all = Lane::ALL.into_iter().flat_map(queued);
        all.filter(|(lane, flow)| self.may_start(*lane, *flow)).collect()
    }

    fn take(&mut self) -> bool {
        // Timers first, so that what is servable is known before the choice.
        self.state.fire(self.now);
        let woken = self.servable(&self.state.woken);
        let others = self.servable(&self.state.lanes);
        let Some(Start { key, lane, started, .. }) = self.state.take(self.now) else {
            assert!(woken.is_empty() && others.is_empty(), "not served: {woken:?}, {others:?}");
            return false;
        };
        let has_word = !woken.is_empty() && (self.words < 3 || others.is_empty());
        let servable = if has_word { &woken } else { &others };
        assert!(servable.contains(&(lane, key.0)), "it is not for {key:?} in {lane:?}");
        assert!(self.running.iter().all(|run| run.key != key), "{key:?} runs twice at once");
        if has_word {
            self.words += 1;
        } else {
            self.words = 0;
            self.passed_over(&others, lane, key.0);
        }
        self.running.push(Run { key, lane, started, loans: 0 });
        self.owed.remove(&key);
        self.starts.push((key, self.now));
        true
    }

    fn passed_over(&mut self, servable: &HashSet<(Lane, u32)>, lane: Lane, flow: u32) {
        self.passed.insert((lane, flow), (0, 0));
        self.passed_lanes.insert(lane, 0);
        for other in (0..FLOWS).filter(|other| *other != flow) {
            let (passed, cost) = self.passed.entry((lane, other)).or_default();
            *passed += u32::from(servable.contains(&(lane, other)));
            assert!(*passed <= (FLOWS - 1) * (2 + *cost), "{other} starves in {lane:?}");
        }
        for other in Lane::ALL.into_iter().filter(|other| *other != lane) {
            let passed = self.passed_lanes.entry(other).or_default();
            let is_empty = self.state.lanes.line(other).is_empty();
            *passed = if is_empty { 0 } else { *passed };
            *passed += u32::from(servable.iter().any(|(lane, _)| *lane == other));
            assert!(*passed <= 8, "{other:?} starves");
        }
    }

    /// A flow whose last key leaves a lane for another one gives up its place. With its next key it waits
    /// anew, which may be before anything is dispatched.
    fn forget_places(&mut self) {
        for ((lane, flow), (passed, _)) in &mut self.passed {
            if self.state.lanes.line(*lane).waiting().all(|name| name != flow) {
                *passed = 0;
            }
        }
    }

    fn finish(&mut self, which: usize, cost: u32, next: Next) {
        let run = self.running.swap_remove(which);
        if !matches!(next, Next::Done | Next::Forget) {
            self.owed.insert(run.key);
        }
        self.passed.entry((run.lane, run.key.0)).or_default().1 += cost;
        self.state.charge(run.started, cost);
        self.state.finish(run.key, next, 0.5, self.now);
    }

    fn apply(&mut self, op: Op) {
        let count = self.running.len();
        match op {
            Op::Add(key, lane) => {
                self.owed.insert(key);
                self.state.add(key, lane, self.now);
            }
            Op::Take => drop(self.take()),
            Op::Lend(_) | Op::TakeBack(_) | Op::Finish(..) if count == 0 => {}
            Op::Lend(which) => {
                let run = &mut self.running[which.index(count)];
                run.loans += 1;
                self.state.lend(run.started);
            }
            Op::TakeBack(which) => {
                let run = &mut self.running[which.index(count)];
                if run.loans > 0 {
                    run.loans -= 1;
                    self.state.take_back(run.started);
                }
            }
            Op::Finish(which, cost, next) => self.finish(which.index(count), cost, next),
            Op::UnparkOne(resource) => {
                let parked = self.state.parking.parked().any(|(on, _)| *on == resource);
                assert_eq!(self.state.unpark_one(&resource, self.now), parked);
            }
            Op::UnparkAll(resource) => self.state.unpark_all(&resource, self.now),
            Op::Advance(time) => self.now += time,
        }
        self.forget_places();
        self.state.check();
        assert_eq!(self.state.workers.held(), self.held(|_| true));
    }

    fn drain(&mut self) {
        while !self.running.is_empty() {
            self.finish(0, 1, Next::Done);
        }
        for resource in resources() {
            self.state.unpark_all(&resource, self.now);
        }
        self.now += 100 * SECOND;
        while self.take() {
            self.finish(0, 1, Next::Done);
        }
    }
}

/// Each of its keys is served at once in the other lane; none waits for long in this one.
#[test]
fn a_flow_whose_only_key_moves_to_another_lane_gives_up_its_place_in_the_first_one() {
    let mut model = Model::new(QueueConfig {
        workers: 1,
        interactive_workers: 0,
        flow_workers: 1,
        object_burst: 1,
        object_interval: Duration::ZERO,
        retry_first: SECOND,
        retry_max: SECOND,
    });
    for round in 0..6 {
        let (stays, moves) = ((0, 3 * (round % 4)), (1, 1 + 3 * (round % 4)));
        model.apply(Op::Add(stays, Lane::Changed));
        model.apply(Op::Add(moves, Lane::Changed));
        assert!(model.take());
        model.finish(0, 1, Next::Done);
        model.apply(Op::Add(moves, Lane::Interactive));
        assert!(model.take());
        model.finish(0, 1, Next::Done);
        let ran: Vec<FlowKey> = model.starts.iter().rev().take(2).map(|(key, _)| *key).collect();
        assert_eq!(ran, [moves, stays], "round {round}");
    }
}

proptest! {
    #[test]
    fn no_key_is_lost_or_runs_twice_at_once_no_limit_is_passed_and_no_flow_starves(
        ops in vec(op(), 0..300),
        config in config(),
    ) {
        let mut model = Model::new(config);
        for op in ops {
            model.apply(op);
        }
        model.drain();
        prop_assert!(model.owed.is_empty(), "never ran again: {:?}", model.owed);
        prop_assert!(model.state.is_blank());
        // A run after a long time has forgotten who ran before.
        model.now += 100 * SECOND;
        model.apply(Op::Add((0, 0), Lane::Sweep));
        model.take();
        prop_assert!(model.state.pace.len() <= 1);
    }

    /// Without words for parked keys, which are not held back.
    #[test]
    fn no_key_runs_more_often_than_its_pace_allows(
        ops in vec(op(), 0..300),
        config in config(),
    ) {
        let mut model = Model::new(config);
        for op in ops {
            match op {
                Op::Finish(which, cost, Next::Park(_)) => model.apply(Op::Finish(which, cost, Next::Done)),
                other => model.apply(other),
            }
        }
        for key in (0..KEYS).map(|n| (n % FLOWS, n)) {
            let starts: Vec<Instant> =
                model.starts.iter().filter(|(ran, _)| *ran == key).map(|(_, at)| *at).collect();
            let interval = config.object_interval;
            // More runs than the burst take the time in which the rest of them was made up for.
            for runs in config.object_burst + 1..=u32::try_from(starts.len()).unwrap() {
                for window in starts.windows(runs as usize) {
                    let took = *window.last().unwrap() - window[0];
                    prop_assert!(took >= interval * (runs - config.object_burst));
                }
            }
        }
    }

    /// Keys that need one of few permits, a look at which and the parking are apart. Whoever gives one
    /// back says so once; some keys do not want theirs after all. In the end all have run.
    #[test]
    fn one_word_for_each_permit_that_comes_free_is_enough(
        steps in vec((any::<bool>(), any::<Index>(), any::<bool>()), 0..200),
        permits in 1..4_usize,
        workers in 1..6_usize,
    ) {
        let config = QueueConfig {
            workers,
            interactive_workers: 0,
            flow_workers: 2,
            object_burst: 1,
            object_interval: Duration::ZERO,
            retry_first: SECOND,
            retry_max: SECOND,
        };
        let (mut state, now, server) = (State::new(&config), Instant::now(), ParkKey::new("a"));
        for n in 0..KEYS {
            state.add((n % FLOWS, n), Lane::Sweep, now);
        }
        let mut free = permits;
        let mut running: Vec<(FlowKey, bool, bool)> = Vec::new();
        let drain = [(true, 0, true), (false, 0, true)].into_iter().cycle();
        let drain = drain.take(40 * KEYS as usize);
        let steps = steps.into_iter().map(|(start, which, wants)| (start, which.index(64), wants));
        for (start, which, wants) in steps.chain(drain) {
            if start {
                if let Some(Start { key, .. }) = state.take(now) {
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
