use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{Health, Listing, News, Snapshot, Trouble, View};
use crate::connect::{Class, Client};
use crate::telemetry::Metrics;

/// Says whether any request looks into a vault of an id.
pub type InUse = Box<dyn Fn(&Arc<str>) -> bool + Send + Sync>;

/// How an actor works.
pub struct ActorConfig {
    /// The ConnectServer's name.
    pub name: Arc<str>,
    /// The client; a server with another host, token or authority is another actor.
    pub client: Client,
    /// How many requests may fetch from the server at once.
    pub concurrency: usize,
    /// The time between polls.
    pub poll_interval: Duration,
    /// The time after which a failed poll is repeated, doubling up to `poll_interval`.
    pub retry_first: Duration,
    /// The least time between two looks at the same list.
    pub look_interval: Duration,
    /// Whether any request looks into a vault of that id: others are not listed.
    pub in_use: InUse,
    /// Told what changed. Must not block.
    pub on_news: Box<dyn Fn(News) + Send + Sync>,
    /// Told of polls.
    pub metrics: Arc<Metrics>,
}

/// A handle on a server. The actor ends when the last handle is dropped.
pub struct Server {
    name: Arc<str>,
    client: Arc<Client>,
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

/// What many may ask for at the same time, and when: what was done since need not be done again.
#[derive(Debug)]
enum Command {
    /// Poll at once.
    Poll(Instant),
    /// List a vault.
    List(Arc<str>, Instant),
}

impl Server {
    /// Starts the actor of a server as a task.
    #[must_use]
    pub fn start(config: ActorConfig) -> Self {
        let ActorConfig {
            name,
            client,
            concurrency,
            poll_interval,
            retry_first,
            look_interval,
            in_use,
            on_news,
            metrics,
        } = config;
        let view = Arc::new(View {
            snapshot: Snapshot::default(),
            health: Health::Starting,
            vault_troubles: BTreeMap::new(),
            listed_at: BTreeMap::new(),
            polled_at: None,
        });
        let (publish, receive) = watch::channel(view);
        let (commands, inbox) = mpsc::unbounded_channel();
        let client = Arc::new(client);
        let actor = Actor {
            name: name.clone(),
            client: client.clone(),
            poll_interval,
            retry_first,
            in_use,
            on_news,
            metrics,
            view: publish,
            inbox,
            failures: 0,
            last_good: SystemTime::now(),
            refused_since: None,
        };
        tokio::spawn(actor.run());
        Self {
            name,
            client,
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
    pub fn client(&self) -> &Client {
        &self.client
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

    /// Has a vault listed that is not yet; [`News::Vault`] tells when that is done.
    pub fn list(&self, vault_id: &Arc<str>) {
        // The actor only ends when this handle does.
        let _ = self.commands.send(Command::List(vault_id.clone(), Instant::now()));
    }

    /// Has a vault listed again because something was not in the last list, unless that list is fresh.
    /// Says whether it is worth waiting for [`News::Vault`].
    #[must_use]
    pub fn look_again(&self, vault_id: &Arc<str>) -> bool {
        let fresh = self.is_fresh(self.view.borrow().listed_at.get(vault_id).copied());
        if !fresh {
            self.list(vault_id);
        }
        !fresh
    }

    /// The same for the list of vaults and [`News::Vaults`].
    #[must_use]
    pub fn look_for_vaults(&self) -> bool {
        let fresh = self.is_fresh(self.view.borrow().polled_at);
        if !fresh {
            let _ = self.commands.send(Command::Poll(Instant::now()));
        }
        !fresh
    }

    fn is_fresh(&self, at: Option<Instant>) -> bool {
        at.is_some_and(|at| at.elapsed() < self.look_interval)
    }
}

struct Actor {
    name: Arc<str>,
    client: Arc<Client>,
    poll_interval: Duration,
    retry_first: Duration,
    in_use: InUse,
    on_news: Box<dyn Fn(News) + Send + Sync>,
    metrics: Arc<Metrics>,
    view: watch::Sender<Arc<View>>,
    inbox: mpsc::UnboundedReceiver<Command>,
    failures: u32,
    last_good: SystemTime,
    /// Since when polls are refused without an interruption: an outage before does not make a refusal old.
    refused_since: Option<SystemTime>,
}

impl Actor {
    async fn run(mut self) {
        let mut next_poll = tokio::time::Instant::now();
        loop {
            let first = tokio::select! {
                () = tokio::time::sleep_until(next_poll) => None,
                command = self.inbox.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
            };
            let (mut polls, mut looks) = (first.is_none(), false);
            let mut wanted = BTreeMap::new();
            let mut next = first.or_else(|| self.inbox.try_recv().ok());
            while let Some(command) = next {
                match command {
                    Command::Poll(asked) => {
                        looks = true;
                        polls |= self.current().polled_at.is_none_or(|at| at < asked);
                    }
                    Command::List(vault_id, asked) => {
                        wanted
                            .entry(vault_id)
                            .and_modify(|at: &mut Instant| *at = asked.max(*at))
                            .or_insert(asked);
                    }
                }
                next = self.inbox.try_recv().ok();
            }
            if polls {
                let moved = self.poll().await;
                wanted.extend(moved.into_iter().map(|vault_id| (vault_id, Instant::now())));
                next_poll = tokio::time::Instant::now() + self.pause();
            }
            if looks {
                // Whoever asked waits for word, also where nothing changed.
                (self.on_news)(News::Vaults);
            }
            let listed_at = self.current().listed_at;
            let (due, done): (Vec<_>, Vec<_>) = wanted
                .into_iter()
                .partition(|(vault_id, asked)| listed_at.get(vault_id).is_none_or(|at| at < asked));
            for (vault_id, _) in done {
                (self.on_news)(News::Vault(vault_id));
            }
            self.list(due.into_iter().map(|(vault_id, _)| vault_id).collect()).await;
        }
    }

    /// The time to the next poll: the interval give or take a tenth, so that servers do not march in step.
    fn pause(&self) -> Duration {
        if self.failures > 0 {
            let doubled =
                self.retry_first.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
            return doubled.min(self.poll_interval);
        }
        self.poll_interval.mul_f64(rand::random_range(0.9..1.1))
    }

    /// Asks which vaults there are. Returns those that have to be listed.
    async fn poll(&mut self) -> Vec<Arc<str>> {
        let answer = self.client.vaults().await;
        let before = self.current();
        match answer {
            Ok(vaults) => {
                self.failures = 0;
                self.refused_since = None;
                self.last_good = SystemTime::now();
                let unix = self.last_good.duration_since(UNIX_EPOCH).unwrap_or_default();
                self.metrics.polled(&self.name, unix.as_secs_f64());
                let snapshot = before.snapshot.polled(vaults);
                let changed = names(&before.snapshot) != names(&snapshot);
                let moved = self.moved(&before, &snapshot);
                self.publish(View {
                    snapshot,
                    health: Health::Good,
                    polled_at: Some(Instant::now()),
                    ..before.clone()
                });
                if changed {
                    (self.on_news)(News::Vaults);
                }
                if before.health != Health::Good {
                    tracing::info!(server = %self.name, "the server answers");
                    (self.on_news)(News::Health);
                }
                moved
            }
            Err(error) => {
                self.failures += 1;
                let since = match error.class() {
                    Class::Refused | Class::NotFound => {
                        *self.refused_since.get_or_insert_with(SystemTime::now)
                    }
                    Class::Unavailable | Class::Invalid | Class::Moved => {
                        self.refused_since = None;
                        self.last_good
                    }
                };
                tracing::debug!(server = %self.name, %error, failures = self.failures, "a poll failed");
                // Connect refuses or drops a call now and then: one failure is no news.
                if self.failures >= 2 {
                    if !matches!(before.health, Health::Failing(_)) {
                        tracing::warn!(server = %self.name, %error, "the server does not answer as it should");
                    }
                    let health = Health::Failing(Trouble { error, since });
                    let is_news = health != before.health;
                    self.publish(View { health, ..before });
                    if is_news {
                        (self.on_news)(News::Health);
                    }
                }
                Vec::new()
            }
        }
    }

    /// The vaults in use whose list is missing, older than their content, or could not be had the last time.
    fn moved(&self, before: &View, snapshot: &Snapshot) -> Vec<Arc<str>> {
        let outdated = |v: &&super::VaultEntry| {
            before.vault_troubles.contains_key(&v.id)
                || v.listing
                    .as_ref()
                    .is_none_or(|l| l.guard.is_none() || l.guard != v.content_version)
        };
        snapshot
            .vaults()
            .filter(outdated)
            .filter(|v| (self.in_use)(&v.id))
            .map(|v| v.id.clone())
            .collect()
    }

    async fn list(&mut self, vaults: Vec<Arc<str>>) {
        let before = self.current();
        let lists = vaults.into_iter().map(|vault_id| {
            let guard = before.snapshot.vault(&vault_id).and_then(|v| v.content_version);
            let client = &self.client;
            async move {
                let answer = client.items(&vault_id).await;
                (vault_id, answer.map(|items| Listing::new(guard, items)))
            }
        });
        for (vault_id, answer) in join_all(lists).await {
            let before = self.current();
            let mut view = View::clone(&before);
            view.listed_at.insert(vault_id.clone(), Instant::now());
            match answer {
                Ok(listing) => {
                    view.vault_troubles.remove(&vault_id);
                    view.snapshot = view.snapshot.listed(&vault_id, Arc::new(listing));
                }
                Err(error) => {
                    // An outage before does not make a refusal old.
                    let same = before
                        .vault_troubles
                        .get(&vault_id)
                        .filter(|t| t.error.class() == error.class());
                    let since = match (same, error.class()) {
                        (Some(trouble), _) => trouble.since,
                        (None, Class::Refused | Class::NotFound) => SystemTime::now(),
                        (None, Class::Unavailable | Class::Invalid | Class::Moved) => {
                            self.last_good
                        }
                    };
                    view.vault_troubles.insert(vault_id.clone(), Trouble { error, since });
                }
            }
            self.publish(view);
            (self.on_news)(News::Vault(vault_id));
        }
    }

    fn current(&self) -> View {
        View::clone(&self.view.borrow())
    }

    fn publish(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }
}

fn names(snapshot: &Snapshot) -> Vec<(Arc<str>, Arc<str>)> {
    snapshot.vaults().map(|v| (v.id.clone(), v.name.clone())).collect()
}
