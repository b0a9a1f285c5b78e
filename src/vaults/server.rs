use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::actor::Actor;
use super::{News, View};
use crate::cache::Scope;
use crate::connect::Client;
use crate::telemetry::Metrics;

/// Says whether any request looks into a vault of an id.
pub type InUse = Box<dyn Fn(&Arc<str>) -> bool + Send + Sync>;

/// How an actor works.
pub struct ActorConfig {
    /// The ConnectServer's name.
    pub name: Arc<str>,
    /// The client; a server with another host, token or authority is another actor.
    pub client: Client,
    /// Where its values are kept.
    pub scope: Scope,
    /// What was known of it before a restart, or before its configuration changed.
    pub known: View,
    /// How many requests may fetch from the server at once.
    pub concurrency: usize,
    /// The time between polls.
    pub poll_interval: Duration,
    /// The time after which a failed poll is repeated, doubling up to `poll_interval`.
    pub retry_first: Duration,
    /// The least time between two looks at the same list.
    pub look_interval: Duration,
    /// The time after which a vault in use is listed again, though it did not move.
    pub relist_interval: Duration,
    /// The time between two looks at what Connect says of itself.
    pub health_interval: Duration,
    /// How long a refusal, or a version that went back, must last until it is believed.
    pub refusal_confirm: Duration,
    /// Whether any request looks into a vault of that id: others are not listed.
    pub in_use: InUse,
    /// Told what changed. Must not block.
    pub on_news: Box<dyn Fn(News) + Send + Sync>,
    /// Counts calls and polls.
    pub metrics: Arc<Metrics>,
}

/// A handle on a server. The actor ends when the last handle is dropped.
pub struct Server {
    name: Arc<str>,
    client: Arc<Client>,
    scope: Scope,
    permits: Arc<Semaphore>,
    view: watch::Receiver<Arc<View>>,
    commands: mpsc::UnboundedSender<Command>,
    look_interval: Duration,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What many may ask for at the same time, and when they looked: what was done since need not be done again.
#[derive(Debug)]
pub(super) enum Command {
    /// Poll at once.
    Poll(Instant),
    /// List a vault.
    List(Arc<str>, Instant),
    /// Poll at once, and list every vault in use.
    Refresh(Instant),
}

impl Server {
    /// Starts the actor of a server as a task.
    #[must_use]
    pub fn start(config: ActorConfig) -> Self {
        let ActorConfig {
            name,
            client,
            scope,
            known,
            concurrency,
            poll_interval,
            retry_first,
            look_interval,
            relist_interval,
            health_interval,
            refusal_confirm,
            in_use,
            on_news,
            metrics,
        } = config;
        let view = Arc::new(known);
        let (publish, receive) = watch::channel(view);
        let (commands, inbox) = mpsc::unbounded_channel();
        let client = Arc::new(client);
        let actor = Actor {
            name: name.clone(),
            client: client.clone(),
            scope: scope.clone(),
            poll_interval,
            retry_first,
            relist_interval,
            health_interval,
            refusal_confirm,
            in_use,
            on_news,
            metrics,
            view: publish,
            inbox,
            failures: 0,
            last_good: SystemTime::now(),
            refused: None,
            went_back: BTreeMap::new(),
            lists_went_back: BTreeMap::new(),
            next_health: Instant::now(),
            listed_by: BTreeMap::new(),
            active_host: String::new(),
        };
        tokio::spawn(actor.run());
        Self {
            name,
            client,
            scope,
            permits: Arc::new(Semaphore::new(concurrency)),
            view: receive,
            commands,
            look_interval,
        }
    }

    /// The ConnectServer's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The client for items.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Where its values are kept.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Has the server polled and every vault in use listed, whatever is known of them.
    pub fn refresh(&self) {
        let _ = self.commands.send(Command::Refresh(Instant::now()));
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// A place among those who fetch from this server, if one is free.
    #[must_use]
    pub fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Has a vault listed that was not yet when somebody looked; [`News::Vault`] tells when that is done, which is at
    /// once where the list has come since. One that came just before and was not believed is asked for again by the next
    /// poll.
    pub fn list(&self, vault_id: &Arc<str>, looked: Instant) {
        let listed_at = self.view.borrow().listed_at.get(vault_id).copied();
        if listed_at.is_some_and(|at| at <= looked) && self.is_fresh(listed_at) {
            return;
        }
        // The actor only ends when this handle does.
        let _ = self.commands.send(Command::List(vault_id.clone(), looked));
    }

    /// Has a vault listed again because something was not in the last list, unless that list is fresh.
    /// Says whether it is worth waiting for [`News::Vault`]. `may_look` is asked only where there is a list to
    /// be read.
    #[must_use]
    pub fn look_again(&self, vault_id: &Arc<str>, may_look: impl FnOnce() -> bool) -> bool {
        let looked = Instant::now();
        let fresh = self.is_fresh(self.view.borrow().listed_at.get(vault_id).copied());
        let looks = !fresh && may_look();
        if looks {
            self.list(vault_id, looked);
        }
        looks
    }

    /// The same for the list of vaults and [`News::Vaults`].
    #[must_use]
    pub fn look_for_vaults(&self, may_look: impl FnOnce() -> bool) -> bool {
        let looked = Instant::now();
        let fresh = self.is_fresh(self.view.borrow().polled_at);
        let looks = !fresh && may_look();
        if looks {
            let _ = self.commands.send(Command::Poll(looked));
        }
        looks
    }

    fn is_fresh(&self, at: Option<Instant>) -> bool {
        at.is_some_and(|at| at.elapsed() < self.look_interval)
    }
}
