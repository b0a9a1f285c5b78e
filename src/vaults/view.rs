use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::Snapshot;
use crate::connect::{ConnectError, ServerHealth};

/// What changed at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The items of a vault, or whether they can be listed.
    Vault(Arc<str>),
    /// Which vaults there are, or how they are called.
    Vaults,
    /// Whether the server answers.
    Health,
    /// What Connect says of itself.
    Connect,
}

/// Whether the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nobody knows yet.
    Starting,
    /// It answered the last poll.
    Good,
    /// Two polls in a row failed.
    Failing(Trouble),
}

/// A failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The last failure.
    pub error: ConnectError,
    /// When it was last well, or first asked.
    pub since: SystemTime,
}

/// What is known of a server at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The vaults and items.
    pub snapshot: Snapshot,
    /// Whether the server answers.
    pub health: Health,
    /// Vaults whose items could not be listed.
    pub vault_troubles: BTreeMap<Arc<str>, Trouble>,
    /// What Connect said of itself, if it did.
    pub connect: Option<Arc<ServerHealth>>,
    /// When the last lists came, not when they were asked for: a list may take longer than the time
    /// between two looks.
    pub(super) listed_at: BTreeMap<Arc<str>, Instant>,
    pub(super) polled_at: Option<Instant>,
}

impl View {
    /// When the server last answered a poll.
    #[must_use]
    pub fn answered_at(&self) -> Option<Instant> {
        self.polled_at
    }

    /// Whether anything is known of which vaults there are: the server said so, now or before a restart.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.polled_at.is_some() || self.snapshot.vaults().next().is_some()
    }
}
