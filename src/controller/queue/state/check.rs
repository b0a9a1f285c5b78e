//! What must hold of a state at all times.

use super::*;

impl<K: Key + std::fmt::Debug> State<K>
where
    K::Flow: std::fmt::Debug,
{
    /// Every key is in one place, and the places agree with what is written of the key.
    pub(super) fn check(&self) {
        let mut seen = HashSet::new();
        for (lanes, are_woken) in [(&self.lanes, false), (&self.woken, true)] {
            for lane in Lane::ALL {
                lanes.line(lane).check();
                for (at, key) in lanes.line(lane).keys() {
                    let entry = &self.entries[key];
                    assert!(matches!(entry.place, Place::Queued { tick, .. } if tick == at));
                    assert_eq!(entry.lane, lane);
                    let ticket = entry.memory.ticket.as_ref();
                    assert_eq!(ticket.is_some_and(|ticket| ticket.woken), are_woken);
                    assert!(seen.insert(key), "{key:?} is queued twice");
                }
            }
        }
        for (resource, lanes) in self.parking.parked() {
            assert!(!lanes.is_empty());
            for lane in Lane::ALL {
                lanes.line(lane).check();
                for (at, key) in lanes.line(lane).keys() {
                    let entry = &self.entries[key];
                    assert!(matches!(entry.place, Place::Parked));
                    assert_eq!(entry.lane, lane);
                    let ticket = entry.memory.ticket.as_ref().unwrap();
                    assert_eq!((&ticket.resource, ticket.tick), (resource, at));
                    assert!(seen.insert(key), "{key:?} is in two places");
                }
            }
        }
        let (mut waiting, mut running) = (0, 0);
        for (key, entry) in &self.entries {
            match entry.place {
                Place::Queued { .. } | Place::Parked => assert!(seen.contains(key)),
                Place::Running { started, .. } => {
                    assert_eq!(self.workers.lane_of(started), entry.lane);
                    running += 1;
                }
                Place::Waiting(at) => {
                    assert_eq!(self.timers[&at], *key);
                    waiting += 1;
                }
            }
        }
        assert_eq!(waiting, self.timers.len());
        assert_eq!(running, self.workers.len());
        self.workers.check();
    }

    /// Nothing is remembered but the pace of the keys that ran a moment ago.
    pub(super) fn is_blank(&self) -> bool {
        self.entries.is_empty()
            && self.depths() == Depths::default()
            && self.parking.is_blank()
            && Lane::ALL
                .into_iter()
                .all(|lane| self.lanes.line(lane).is_blank() && self.woken.line(lane).is_blank())
    }
}
