//! What a server's two listeners and its handle share.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::activity::Activity;
use crate::faults::Faults;
use crate::health::Presence;
use crate::requests::Requests;
use crate::state::State;

pub(crate) struct Core {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    requests: Mutex<Requests>,
    activity: Mutex<Activity>,
    presence: Mutex<Presence>,
    /// Where `PUT /state` reads from when it has no body.
    file: Mutex<Option<PathBuf>>,
}

impl Core {
    pub(crate) fn new(state: State, presence: Presence) -> Self {
        Self {
            presence: Mutex::new(presence),
            activity: Mutex::default(),
            state: Mutex::new(state),
            faults: Mutex::default(),
            requests: Mutex::new(Requests::new()),
            file: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        lock(&self.requests)
    }

    pub(crate) fn activity(&self) -> MutexGuard<'_, Activity> {
        lock(&self.activity)
    }

    pub(crate) fn presence(&self) -> MutexGuard<'_, Presence> {
        lock(&self.presence)
    }

    pub(crate) fn file(&self) -> MutexGuard<'_, Option<PathBuf>> {
        lock(&self.file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
