use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Snapshot, Trouble};
use crate::connect::ServerHealth;

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

/// What is known of a server at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The vaults and items.
    pub snapshot: Snapshot,
    /// Whether the server answers.
    pub health: Health,
    /// Whether the last that it said is a refusal of everything, be it believed yet or not.
    pub is_refused: bool,
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
    /// What is known before the server was asked for the first time: what was kept over a restart, if anything was.
    #[must_use]
    pub fn starting(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            health: Health::Starting,
            is_refused: false,
            vault_troubles: BTreeMap::new(),
            connect: None,
            listed_at: BTreeMap::new(),
            polled_at: None,
        }
    }

    /// What is known of the same server before it is asked in another way: an edit takes no refusal back.
    #[must_use]
    pub fn restarting(&self) -> Self {
        Self {
            is_refused: self.is_refused,
            vault_troubles: self.vault_troubles.clone(),
            ..Self::starting(self.snapshot.clone())
        }
    }

    /// When the server last answered a poll.
    #[must_use]
    pub fn answered_at(&self) -> Option<Instant> {
        self.polled_at
    }

    /// After an outage: what 1Password had refused without being believed has to last anew.
    #[must_use]
    pub(super) fn interrupted(mut self, confirm: Duration) -> Self {
        for trouble in self.vault_troubles.values_mut().filter(|t| t.is_refusal()) {
            *trouble = trouble.interrupted(confirm);
        }
        self.snapshot = self.snapshot.interrupted(confirm);
        self
    }

    /// Whether anything is known of which vaults there are: the server said so, now or before a restart.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.polled_at.is_some() || self.snapshot.vaults().next().is_some()
    }
}
