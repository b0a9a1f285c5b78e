//! The queue's rules, without tasks, clock or chance.

mod lanes;
mod line;
mod pace;
mod parking;
mod workers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Depths, Key, Lane, Next, ParkKey, QueueConfig};
use lanes::Lanes;
use pace::Pace;
use parking::Parking;
use workers::Workers;

/// After more consecutive failures than this a key is retried in the sweep lane.
const RETRIES_IN_LANE: u32 = 3;
/// So many keys that have a word go before the others in a row.
const WORDS_IN_A_ROW: u32 = 3;
/// The longest timer, far below where adding to an `Instant` overflows.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A number that grows with each use: order within a flow, of timers due at the same time, and of runs
/// and unparkings.
pub(super) type Tick = u64;

pub(super) struct State<K: Key> {
    retry_first: Duration,
    retry_max: Duration,
    entries: HashMap<K, Entry>,
    lanes: Lanes<K>,
    /// The queued keys that have a word for a resource. They go before the others, lest keys that come later
    /// take what they were woken for, over and over.
    woken: Lanes<K>,
    words_in_a_row: u32,
    workers: Workers<K::Flow>,
    /// Outlives the entries: whoever is done, or gone and comes back, has its old pace.
    pace: Pace<K>,
    /// The keys that wait, by when they are queued again.
    timers: BTreeMap<(Instant, Tick), K>,
    parking: Parking<K>,
    last_tick: Tick,
    closed: bool,
}

/// A run that begins.
pub(super) struct Start<K> {
    pub(super) key: K,
    pub(super) lane: Lane,
    pub(super) failures: u32,
    /// Names the run.
    pub(super) started: Tick,
}

struct Entry {
    place: Place,
    lane: Lane,
    memory: Memory,
}

#[derive(Clone, Copy)]
enum Place {
    Queued {
        tick: Tick,
        since: Instant,
    },
    Running {
        started: Tick,
        /// The most urgent lane asked for since.
        dirty: Option<Lane>,
    },
    Waiting((Instant, Tick)),
    Parked,
}

/// What a key takes along from place to place.
#[derive(Default)]
struct Memory {
    failures: u32,
    /// Kept from parking until a run ends otherwise.
    ticket: Option<Ticket>,
}

struct Ticket {
    resource: ParkKey,
    tick: Tick,
    /// Moved by `unpark_one`: the word is this key's to use or to hand on.
    woken: bool,
}

impl<K: Key> State<K> {
    pub(super) fn new(config: &QueueConfig) -> Self {
        Self {
            retry_first: config.retry_first,
            retry_max: config.retry_max,
            entries: HashMap::new(),
            lanes: Lanes::new(),
            woken: Lanes::new(),
            words_in_a_row: 0,
            workers: Workers::new(config),
            pace: Pace::new(config.object_burst, config.object_interval),
            timers: BTreeMap::new(),
            parking: Parking::new(),
            last_tick: 0,
            closed: false,
        }
    }

    fn tick(&mut self) -> Tick {
        self.last_tick += 1;
        self.last_tick
    }

    pub(super) fn first_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn depths(&self) -> Depths {
        let waiting = |lane| self.woken.line(lane).waiting().chain(self.lanes.line(lane).waiting());
        let flows: HashSet<&K::Flow> = Lane::ALL.into_iter().flat_map(waiting).collect();
        let queued = |lane| self.woken.line(lane).len() + self.lanes.line(lane).len();
        Depths {
            interactive: queued(Lane::Interactive),
            changed: queued(Lane::Changed),
            sweep: queued(Lane::Sweep),
            running: self.workers.held(),
            lent: self.workers.lent(),
            parked: self.parking.len(),
            waiting: self.timers.len(),
            flows: flows.len(),
        }
    }

    pub(super) fn oldest_wait(&self, now: Instant) -> Option<Duration> {
        let queued = self.entries.values().filter_map(|entry| match entry.place {
            Place::Queued { since, .. } => Some(now.saturating_duration_since(since)),
            Place::Running { .. } | Place::Waiting(_) | Place::Parked => None,
        });
        queued.max()
    }

    pub(super) fn add(&mut self, key: K, lane: Lane, now: Instant) {
        let Some(mut entry) = self.entries.remove(&key) else {
            return self.enqueue(key, Memory::default(), lane, now);
        };
        let urgent = lane.min(entry.lane);
        match &mut entry.place {
            Place::Running { dirty, .. } => {
                *dirty = Some(dirty.map_or(lane, |asked| asked.min(lane)));
                self.entries.insert(key, entry);
            }
            Place::Queued { .. } if urgent == entry.lane => {
                self.entries.insert(key, entry);
            }
            Place::Queued { tick, since } => {
                let (tick, since) = (*tick, *since);
                self.lanes_for(&entry.memory).remove(entry.lane, tick, &key.flow());
                self.line_up(key, entry.memory, urgent, since);
            }
            Place::Waiting(timer) => {
                self.timers.remove(timer);
                self.enqueue(key, entry.memory, urgent, now);
            }
            Place::Parked => {
                if let Some(ticket) = &entry.memory.ticket {
                    self.parking.leave(&ticket.resource, entry.lane, ticket.tick, &key.flow());
                }
                self.enqueue(key, entry.memory, urgent, now);
            }
        }
    }

    /// Starts the run that is next.
    pub(super) fn take(&mut self, now: Instant) -> Option<Start<K>> {
        self.fire(now);
        let (key, lane) = self.choose()?;
        let started = self.tick();
        self.workers.start(started, lane, key.flow());
        self.pace.start(&key, now);
        let entry = self.entries.get_mut(&key)?;
        entry.place = Place::Running { started, dirty: None };
        Some(Start { lane, failures: entry.memory.failures, key, started })
    }

    fn choose(&mut self) -> Option<(K, Lane)> {
        let workers = &self.workers;
        let is_open = |lane| workers.take_on(lane);
        let may_run = |flow: &K::Flow| workers.permit(flow);
        if self.words_in_a_row >= WORDS_IN_A_ROW
            && let Some(next) = self.lanes.take(is_open, may_run)
        {
            self.words_in_a_row = 0;
            return Some(next);
        }
        if let Some((key, lane)) = self.woken.take(is_open, may_run) {
            self.words_in_a_row = self.words_in_a_row.saturating_add(1);
            self.woken.settle(lane, &key.flow(), 1);
            self.lanes.enter(lane, key.flow());
            return Some((key, lane));
        }
        let next = self.lanes.take(is_open, may_run)?;
        self.words_in_a_row = 0;
        Some(next)
    }

    /// Sets what a run costs.
    pub(super) fn charge(&mut self, started: Tick, cost: u32) {
        self.workers.charge(started, cost);
    }

    /// Has a run give its worker back until as many calls of [`take_back`](Self::take_back).
    pub(super) fn lend(&mut self, started: Tick) {
        self.workers.lend(started);
    }

    pub(super) fn take_back(&mut self, started: Tick) {
        self.workers.take_back(started);
    }

    /// Ends a run. `chance`, from 0 to 1, is the jitter of the delay after a failure.
    pub(super) fn finish(&mut self, key: K, next: Next, chance: f64, now: Instant) {
        let Some(entry) = self.entries.remove(&key) else {
            return;
        };
        let Place::Running { started, dirty } = entry.place else {
            self.entries.insert(key, entry);
            return;
        };
        let (lane, mut memory) = (entry.lane, entry.memory);
        if let Some(run) = self.workers.end(started) {
            self.lanes.settle(run.lane, &run.flow, run.cost);
        }
        let parks_again =
            |ticket: &mut Ticket| matches!(&next, Next::Park(to) if *to == ticket.resource);
        if let Some(ticket) = memory.ticket.take_if(|ticket| !parks_again(ticket))
            && ticket.woken
        {
            self.unpark_one(&ticket.resource, now);
        }
        match (next, dirty) {
            (Next::Done | Next::Forget, None) => {}
            (Next::Done | Next::Forget | Next::At(_), Some(asked)) => {
                memory.failures = 0;
                self.enqueue(key, memory, asked, now);
            }
            (Next::At(delay), None) => {
                memory.failures = 0;
                self.wait(key, memory, Lane::Sweep, delay, now);
            }
            (Next::Retry, dirty) => {
                memory.failures = memory.failures.saturating_add(1);
                let demoted = memory.failures > RETRIES_IN_LANE;
                let lane = if demoted { Lane::Sweep } else { lane };
                if let Some(asked) = dirty {
                    self.enqueue(key, memory, asked.min(lane), now);
                } else {
                    let delay = self.backoff(memory.failures, chance);
                    self.wait(key, memory, lane, delay, now);
                }
            }
            (Next::Park(_), Some(asked)) => self.enqueue(key, memory, asked.min(lane), now),
            (Next::Park(resource), None) => {
                if self.parking.has_missed(&resource, started) {
                    self.line_up(key, memory, lane, now);
                } else {
                    self.park(key, memory, lane, resource);
                }
            }
        }
        self.parking.forget_words(self.workers.oldest());
    }

    /// Says whether there was a key to be woken.
    pub(super) fn unpark_one(&mut self, resource: &ParkKey, now: Instant) -> bool {
        let next = self.parking.take(resource);
        let is_wanted = next.is_some();
        match next {
            Some(key) => self.unpark(key, true, now),
            None => self.miss(resource),
        }
        is_wanted
    }

    pub(super) fn unpark_all(&mut self, resource: &ParkKey, now: Instant) {
        while let Some(key) = self.parking.take(resource) {
            self.unpark(key, false, now);
        }
        self.miss(resource);
    }

    fn unpark(&mut self, key: K, woken: bool, now: Instant) {
        let Some(mut entry) = self.entries.remove(&key) else {
            return;
        };
        if let Some(ticket) = &mut entry.memory.ticket {
            ticket.woken = woken;
        }
        // Whatever its pace: it is the resource that sets it, and the word is not to lie about.
        self.line_up(key, entry.memory, entry.lane, now);
    }

    fn miss(&mut self, resource: &ParkKey) {
        if !self.workers.is_idle() {
            let now = self.tick();
            self.parking.miss(resource, now);
        }
    }

    /// Queues a key, or has it wait until its pace allows another run.
    fn enqueue(&mut self, key: K, memory: Memory, lane: Lane, now: Instant) {
        let delay = self.pace.delay(&key, now);
        if delay.is_zero() {
            self.line_up(key, memory, lane, now);
        } else {
            self.wait(key, memory, lane, delay, now);
        }
    }

    fn lanes_for(&mut self, memory: &Memory) -> &mut Lanes<K> {
        if memory.ticket.as_ref().is_some_and(|ticket| ticket.woken) {
            &mut self.woken
        } else {
            &mut self.lanes
        }
    }

    fn line_up(&mut self, key: K, memory: Memory, lane: Lane, since: Instant) {
        let tick = self.tick();
        self.lanes_for(&memory).insert(lane, tick, key.clone());
        self.put(key, Place::Queued { tick, since }, lane, memory);
    }

    fn wait(&mut self, key: K, memory: Memory, lane: Lane, delay: Duration, now: Instant) {
        let at = (now + delay.min(FAR), self.tick());
        self.timers.insert(at, key.clone());
        self.put(key, Place::Waiting(at), lane, memory);
    }

    fn park(&mut self, key: K, mut memory: Memory, lane: Lane, resource: ParkKey) {
        let tick = match &memory.ticket {
            Some(ticket) => ticket.tick,
            None => self.tick(),
        };
        self.parking.park(&resource, lane, tick, key.clone());
        memory.ticket = Some(Ticket { resource, tick, woken: false });
        self.put(key, Place::Parked, lane, memory);
    }

    fn put(&mut self, key: K, place: Place, lane: Lane, memory: Memory) {
        let entry = Entry { place, lane, memory };
        self.entries.insert(key, entry);
    }

    /// Queues the keys whose time has come, each in its lane.
    fn fire(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first_entry()
            && timer.key().0 <= now
        {
            let key = timer.remove();
            if let Some(entry) = self.entries.remove(&key) {
                self.enqueue(key, entry.memory, entry.lane, now);
            }
        }
    }

    fn backoff(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let whole = self.retry_first.saturating_mul(factor);
        let half = whole.min(self.retry_max) / 2;
        half.saturating_add(half.mul_f64(chance))
    }
}

#[cfg(test)]
mod check;
#[cfg(test)]
mod model;
