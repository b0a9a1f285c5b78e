use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::api::{ConnectServerSpec, Reason};
use crate::vaults::Server;

/// The ConnectServers of the operator's class, and whether they can be used.
#[derive(Clone, Default)]
pub(in crate::controller) struct Servers {
    slots: Arc<RwLock<HashMap<String, Slot>>>,
}

/// A ConnectServer.
#[derive(Clone)]
pub(in crate::controller) enum Slot {
    /// Of another class: its requests are somebody else's.
    Elsewhere,
    /// Of our class.
    Ours { spec: Arc<ConnectServerSpec>, state: SlotState },
}

/// Whether a server of ours can be used.
#[derive(Clone)]
pub(in crate::controller) enum SlotState {
    /// Not looked at yet.
    New,
    /// Its token or authority is missing or refused: why, and the command that mends it.
    Broken(Broken),
    /// It is being polled.
    Running(Arc<Server>),
}

/// Why a server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Broken {
    pub(in crate::controller) reason: Reason,
    pub(in crate::controller) message: String,
}

impl Servers {
    pub(in crate::controller) fn get(&self, name: &str) -> Option<Slot> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The id of the token that a server is asked with, as the token says it itself.
    pub(in crate::controller) fn token_id(&self, name: &str) -> Option<Arc<str>> {
        match self.get(name) {
            Some(Slot::Ours { state: SlotState::Running(server), .. }) => {
                server.client().claims().id.clone()
            }
            Some(Slot::Ours { .. } | Slot::Elsewhere) | None => None,
        }
    }

    pub(super) fn set(&self, name: &str, slot: Slot) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), slot);
    }

    pub(super) fn remove(&self, name: &str) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
