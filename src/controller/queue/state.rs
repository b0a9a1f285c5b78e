//! The queue's rules, without tasks, clock or chance.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::{Depths, Key, Lane, Next, ParkKey, QueueConfig};

/// Of so many dispatches a lane that has keys gets one, whatever is in the lanes before it; of one more
/// where two lanes are due at once. What a full set of workers holds back stays due.
const SHARE: u32 = 8;
/// After more consecutive failures than this a key is retried in the sweep lane.
const RETRIES_IN_LANE: u32 = 3;
/// The longest timer, far below where adding to an `Instant` overflows.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A number that grows with each use: order within a lane, of parked keys, of timers due at the same
/// time, and of runs and unparkings.
type Tick = u64;

pub(super) struct State<K> {
    config: QueueConfig,
    entries: HashMap<K, Entry>,
    interactive: Line<K>,
    changed: Line<K>,
    sweep: Line<K>,
    /// The runs under way, by when they started.
    runs: BTreeMap<Tick, Lane>,
    /// The keys that wait, by when they are queued again.
    timers: BTreeMap<(Instant, Tick), K>,
    parked: HashMap<ParkKey, BTreeMap<(Lane, Tick), K>>,
    /// When a resource was last unparked for more keys than were there. A run that started before may
    /// still park on it.
    missed: HashMap<ParkKey, Tick>,
    last_tick: Tick,
    closed: bool,
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

/// One lane: first in, first out.
struct Line<K> {
    keys: BTreeMap<Tick, K>,
    /// Dispatches from other lanes while this one had keys.
    passed_over: u32,
}

impl<K> Line<K> {
    const fn new() -> Self {
        Self { keys: BTreeMap::new(), passed_over: 0 }
    }
}

impl<K> State<K> {
    fn line(&self, lane: Lane) -> &Line<K> {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Changed => &self.changed,
            Lane::Sweep => &self.sweep,
        }
    }

    fn line_mut(&mut self, lane: Lane) -> &mut Line<K> {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Changed => &mut self.changed,
            Lane::Sweep => &mut self.sweep,
        }
    }

    fn tick(&mut self) -> Tick {
        self.last_tick += 1;
        self.last_tick
    }

    /// The lane that is next, if any may run now.
    fn choose(&self) -> Option<Lane> {
        if self.runs.len() >= self.config.workers {
            return None;
        }
        let shared = self.config.workers - self.config.interactive_workers;
        let others = self.runs.values().filter(|lane| **lane != Lane::Interactive);
        let open = others.count() < shared;
        let may_run =
            |lane: &Lane| (open || *lane == Lane::Interactive) && !self.line(*lane).keys.is_empty();
        let due = |lane: &Lane| self.line(*lane).passed_over >= SHARE - 1;
        let mut candidates = Lane::ALL.into_iter().filter(may_run);
        candidates.clone().rfind(due).or_else(|| candidates.next())
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
        Depths {
            interactive: self.interactive.keys.len(),
            changed: self.changed.keys.len(),
            sweep: self.sweep.keys.len(),
            running: self.runs.len(),
            parked: self.parked.values().map(BTreeMap::len).sum(),
            waiting: self.timers.len(),
        }
    }

    pub(super) fn oldest_wait(&self, now: Instant) -> Option<Duration> {
        let queued = self.entries.values().filter_map(|entry| match entry.place {
            Place::Queued { since, .. } => Some(now.saturating_duration_since(since)),
            Place::Running { .. } | Place::Waiting(_) | Place::Parked => None,
        });
        queued.max()
    }
}

impl<K: Key> State<K> {
    pub(super) fn new(mut config: QueueConfig) -> Self {
        config.workers = config.workers.max(1);
        config.interactive_workers = config.interactive_workers.min(config.workers - 1);
        Self {
            config,
            entries: HashMap::new(),
            interactive: Line::new(),
            changed: Line::new(),
            sweep: Line::new(),
            runs: BTreeMap::new(),
            timers: BTreeMap::new(),
            parked: HashMap::new(),
            missed: HashMap::new(),
            last_tick: 0,
            closed: false,
        }
    }

    pub(super) fn add(&mut self, key: K, lane: Lane, now: Instant) {
        let Some(mut entry) = self.entries.remove(&key) else {
            return self.enqueue(key, Memory::default(), lane, now);
        };
        let urgent = lane.min(entry.lane);
        let since = match &mut entry.place {
            Place::Running { dirty, .. } => {
                *dirty = Some(dirty.map_or(lane, |asked| asked.min(lane)));
                self.entries.insert(key, entry);
                return;
            }
            Place::Queued { .. } if urgent == entry.lane => {
                self.entries.insert(key, entry);
                return;
            }
            Place::Queued { tick, since } => {
                self.line_mut(entry.lane).keys.remove(tick);
                *since
            }
            Place::Waiting(timer) => {
                self.timers.remove(timer);
                now
            }
            Place::Parked => {
                self.leave_parking(&entry);
                now
            }
        };
        self.enqueue(key, entry.memory, urgent, since);
    }

    /// Starts the run that is next: key, lane and failures so far.
    pub(super) fn take(&mut self, now: Instant) -> Option<(K, Lane, u32)> {
        self.fire(now);
        let lane = self.choose()?;
        let (_, key) = self.line_mut(lane).keys.pop_first()?;
        for other in Lane::ALL {
            let line = self.line_mut(other);
            line.passed_over = if other == lane || line.keys.is_empty() {
                0
            } else {
                line.passed_over.saturating_add(1)
            };
        }
        let started = self.tick();
        let entry = self.entries.get_mut(&key)?;
        entry.place = Place::Running { started, dirty: None };
        self.runs.insert(started, lane);
        Some((key, lane, entry.memory.failures))
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
        self.runs.remove(&started);
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
                if self.missed.get(&resource).is_some_and(|at| *at > started) {
                    self.enqueue(key, memory, lane, now);
                } else {
                    self.park(key, memory, lane, resource);
                }
            }
        }
        let oldest = self.runs.keys().next().copied();
        self.missed.retain(|_, at| oldest.is_some_and(|started| started < *at));
    }

    pub(super) fn unpark_one(&mut self, resource: &ParkKey, now: Instant) {
        match self.parked.get(resource).and_then(BTreeMap::first_key_value) {
            Some((_, key)) => self.unpark(&key.clone(), true, now),
            None => self.miss(resource),
        }
    }

    pub(super) fn unpark_all(&mut self, resource: &ParkKey, now: Instant) {
        for key in self.parked.remove(resource).unwrap_or_default().values() {
            self.unpark(key, false, now);
        }
        self.miss(resource);
    }

    fn unpark(&mut self, key: &K, woken: bool, now: Instant) {
        let Some(mut entry) = self.entries.remove(key) else {
            return;
        };
        self.leave_parking(&entry);
        if let Some(ticket) = &mut entry.memory.ticket {
            ticket.woken = woken;
        }
        self.enqueue(key.clone(), entry.memory, entry.lane, now);
    }

    fn miss(&mut self, resource: &ParkKey) {
        if !self.runs.is_empty() {
            let now = self.tick();
            self.missed.insert(resource.clone(), now);
        }
    }

    fn enqueue(&mut self, key: K, memory: Memory, lane: Lane, since: Instant) {
        let tick = self.tick();
        self.line_mut(lane).keys.insert(tick, key.clone());
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
        let line = self.parked.entry(resource.clone()).or_default();
        line.insert((lane, tick), key.clone());
        memory.ticket = Some(Ticket { resource, tick, woken: false });
        self.put(key, Place::Parked, lane, memory);
    }

    fn put(&mut self, key: K, place: Place, lane: Lane, memory: Memory) {
        let entry = Entry { place, lane, memory };
        self.entries.insert(key, entry);
    }

    fn leave_parking(&mut self, entry: &Entry) {
        if let Some(ticket) = &entry.memory.ticket
            && let Some(line) = self.parked.get_mut(&ticket.resource)
        {
            line.remove(&(entry.lane, ticket.tick));
            if line.is_empty() {
                self.parked.remove(&ticket.resource);
            }
        }
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
        let whole = self.config.retry_first.saturating_mul(factor);
        let half = whole.min(self.config.retry_max) / 2;
        half.saturating_add(half.mul_f64(chance))
    }
}

#[cfg(test)]
mod model;
