use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::server::{Command, InUse};
use super::snapshot::Polled;
use super::{Health, News, Snapshot, Trouble, VaultEntry, View};
use crate::cache::Scope;
use crate::connect::{Class, Client, ConnectError, Vault};
use crate::telemetry::Metrics;

/// Polls a server, and lists the vaults that moved.
pub(super) struct Actor {
    pub(super) name: Arc<str>,
    pub(super) client: Arc<Client>,
    pub(super) scope: Scope,
    pub(super) poll_interval: Duration,
    pub(super) retry_first: Duration,
    pub(super) relist_interval: Duration,
    pub(super) health_interval: Duration,
    pub(super) refusal_confirm: Duration,
    pub(super) in_use: InUse,
    pub(super) on_news: Box<dyn Fn(News) + Send + Sync>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) inbox: mpsc::UnboundedReceiver<Command>,
    pub(super) failures: u32,
    pub(super) last_good: SystemTime,
    /// The refusal of the polls until now, without an interruption.
    pub(super) refused: Option<Trouble>,
    /// Since when versions of a vault are lower than they were: a replica that lags, until that lasts.
    pub(super) went_back: BTreeMap<Arc<str>, Instant>,
    /// The same of items in lists: not every server tells the version of a vault.
    pub(super) lists_went_back: BTreeMap<Arc<str>, Instant>,
    /// The host that the list of a vault is of which counts.
    pub(super) listed_by: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) next_health: Instant,
    /// The host that the last list of vaults came from.
    pub(super) active_host: String,
}

/// What there is to do.
#[derive(Default)]
struct Work {
    polls: bool,
    /// Somebody waits for word of the vaults.
    looks: bool,
    lists: BTreeMap<Arc<str>, Instant>,
}

impl Actor {
    pub(super) async fn run(mut self) {
        let mut next_poll = Instant::now();
        loop {
            let first = tokio::select! {
                () = tokio::time::sleep_until(next_poll) => None,
                command = self.inbox.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
            };
            let mut work = self.gather(first);
            if work.polls {
                let moved = self.poll().await;
                work.lists.extend(moved.into_iter().map(|vault_id| (vault_id, Instant::now())));
                next_poll = Instant::now() + self.pause();
            }
            if work.looks {
                // Whoever asked waits for word, also where nothing changed.
                (self.on_news)(News::Vaults);
            }
            let listed_at = self.current().listed_at;
            let (due, done): (Vec<_>, Vec<_>) = work
                .lists
                .into_iter()
                .partition(|(vault_id, asked)| listed_at.get(vault_id).is_none_or(|at| at < asked));
            for (vault_id, _) in done {
                (self.on_news)(News::Vault(vault_id));
            }
            self.list(due.into_iter().map(|(vault_id, _)| vault_id).collect()).await;
            if Instant::now() >= self.next_health {
                self.look_at_health().await;
            }
        }
    }

    /// Everything that was asked for by now, once.
    fn gather(&mut self, first: Option<Command>) -> Work {
        let mut work = Work { polls: first.is_none(), ..Work::default() };
        let mut next = first.or_else(|| self.inbox.try_recv().ok());
        while let Some(command) = next {
            match command {
                Command::Poll(asked) => {
                    work.looks = true;
                    work.polls |= self.current().polled_at.is_none_or(|at| at < asked);
                }
                Command::List(vault_id, asked) => {
                    let at = work.lists.entry(vault_id).or_insert(asked);
                    *at = asked.max(*at);
                }
                Command::Refresh(asked) => {
                    work.polls = true;
                    let view = self.current();
                    let used = view.snapshot.vaults().filter(|v| (self.in_use)(&v.id));
                    work.lists.extend(used.map(|v| (v.id.clone(), asked)));
                }
            }
            next = self.inbox.try_recv().ok();
        }
        work
    }

    /// The time to the next poll: the interval give or take a tenth, so that servers do not march in step.
    fn pause(&self) -> Duration {
        if self.failures > 0 {
            // A token that is rejected stays so until somebody does something about it, which makes another actor or is
            // found out a little later.
            let is_believed = |t: &Trouble| self.is_believed(t.lasted());
            if self.refused.as_ref().is_some_and(is_believed) {
                return self.refusal_confirm;
            }
            let doubled =
                self.retry_first.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
            // However seldom a server is polled that is well: everybody waits for one that is not.
            return doubled.min(self.poll_interval).min(self.refusal_confirm);
        }
        self.poll_interval.mul_f64(rand::random_range(0.9..1.1))
    }

    /// Asks which vaults there are. Returns those that have to be listed.
    async fn poll(&mut self) -> Vec<Arc<str>> {
        let began = Instant::now();
        match self.ask_vaults().await {
            Ok(vaults) => self.answered(vaults, began),
            Err(error) => {
                self.failed(error);
                Vec::new()
            }
        }
    }

    /// The vaults, each in use with its content version if the server has one at all.
    async fn ask_vaults(&self) -> Result<Vec<Vault>, ConnectError> {
        let mut vaults = self.client.vaults().await?;
        let silent =
            vaults.iter_mut().filter(|v| v.content_version.is_none() && (self.in_use)(&v.id));
        let asked = silent.map(|vault| async {
            // One that cannot be had is listed instead, as one that moved.
            if let Ok(single) = self.client.vault(&vault.id).await {
                vault.content_version = single.content_version;
            }
        });
        join_all(asked).await;
        Ok(vaults)
    }

    fn answered(&mut self, vaults: Vec<Vault>, began: Instant) -> Vec<Arc<str>> {
        let before = self.current();
        self.failures = 0;
        self.refused = None;
        self.last_good = SystemTime::now();
        let unix = self.last_good.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.polled(&self.name, unix.as_secs_f64());
        let lower = before.snapshot.lower_than_known(&vaults);
        let held = self.hold_back(lower);
        let in_use = |id: &Arc<str>| (self.in_use)(id);
        let snapshot = before.snapshot.polled(vaults, &Polled { held: &held, in_use: &in_use });
        for gone in snapshot.gone().filter(|g| self.is_believed(g.lasted())) {
            self.scope.forget_vault(&gone.vault.id);
        }
        let is_confirmed =
            |v: &&VaultEntry| v.is_unmoved() && !held.contains(&v.id) && in_use(&v.id);
        for vault in snapshot.vaults().filter(is_confirmed) {
            let confirmed = self.scope.confirm(&vault.id, began);
            self.metrics.cache.confirmed(&self.name, confirmed);
        }
        let changed = names(&before.snapshot) != names(&snapshot);
        let moved = self.moved(&before, &snapshot);
        self.publish(View {
            snapshot,
            health: Health::Good,
            is_refused: false,
            polled_at: Some(Instant::now()),
            ..before.clone()
        });
        if changed {
            (self.on_news)(News::Vaults);
        }
        if self.client.active_host() != self.active_host {
            // What is known of the one before is not known of this one.
            self.client.active_host().clone_into(&mut self.active_host);
            self.next_health = Instant::now();
        }
        if before.health != Health::Good {
            tracing::info!(server = %self.name, "the server answers");
            (self.on_news)(News::Health);
            self.next_health = Instant::now();
        }
        moved
    }

    fn failed(&mut self, error: ConnectError) {
        if error.class() == Class::Throttled {
            // Nothing was sent, and nothing is known of the server.
            tracing::debug!(server = %self.name, %error, "a poll was not sent");
            return;
        }
        let mut before = self.current();
        self.failures += 1;
        let trouble = match error.class() {
            Class::Refused | Class::NotFound => self.refused.as_ref(),
            Class::Unavailable | Class::Throttled | Class::Invalid | Class::Moved => None,
        };
        let (well, confirm) = (self.last_good, self.refusal_confirm);
        let trouble = Trouble::following(trouble, error, well, SystemTime::now(), confirm);
        self.refused = trouble.is_refusal().then(|| trouble.clone());
        if trouble.error.class() == Class::Refused && self.is_believed(trouble.lasted()) {
            self.scope.forget_all();
        }
        // Whether or not it is believed yet: no outage that follows takes it back.
        before.is_refused |= trouble.is_refusal();
        let error = &trouble.error;
        tracing::debug!(server = %self.name, %error, failures = self.failures, "a poll failed");
        // Connect refuses or drops a call now and then: one failure is no news.
        if self.failures < 2 {
            self.publish(before);
            return;
        }
        if !matches!(before.health, Health::Failing(_)) {
            tracing::warn!(server = %self.name, %error, "the server does not answer as it should");
            self.next_health = Instant::now();
        }
        if !trouble.is_refusal() {
            before = before.interrupted(self.refusal_confirm);
            // Nor does it make a lag older that was not believed yet.
            let now = Instant::now();
            let lags = self.went_back.values_mut().chain(self.lists_went_back.values_mut());
            lags.for_each(|since| *since = now);
        }
        let is_news = match &before.health {
            Health::Failing(known) => !self.is_alike(known, &trouble),
            Health::Starting | Health::Good => true,
        };
        self.publish(View { health: Health::Failing(trouble), ..before });
        if is_news {
            (self.on_news)(News::Health);
        }
    }

    pub(super) fn is_believed(&self, lasted: Duration) -> bool {
        lasted >= self.refusal_confirm
    }

    /// Whether two troubles are the same to those who have it: a refusal that is said once more is no news.
    fn is_alike(&self, known: &Trouble, now: &Trouble) -> bool {
        (&known.error, known.since) == (&now.error, now.since)
            && self.is_believed(known.lasted()) == self.is_believed(now.lasted())
    }

    /// Of the vaults whose versions went back, those whose that has not lasted long enough to be believed.
    fn hold_back(&mut self, lower: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        self.went_back.retain(|vault, _| lower.contains(vault));
        let now = Instant::now();
        lower
            .into_iter()
            .filter(|vault| {
                let since = *self.went_back.entry(vault.clone()).or_insert(now);
                now.duration_since(since) < self.refusal_confirm
            })
            .collect()
    }

    /// The vaults in use whose list is missing, older than their content or than a list may be, or could not
    /// be had the last time.
    fn moved(&self, before: &View, snapshot: &Snapshot) -> Vec<Arc<str>> {
        let is_old = |id: &Arc<str>| {
            before.listed_at.get(id).is_none_or(|at| at.elapsed() >= self.relist_interval)
        };
        let outdated = |v: &&VaultEntry| {
            before.vault_troubles.contains_key(&v.id) || !v.is_unmoved() || is_old(&v.id)
        };
        snapshot
            .vaults()
            .filter(outdated)
            .filter(|v| (self.in_use)(&v.id))
            .map(|v| v.id.clone())
            .collect()
    }

    /// Asks Connect how it is. No answer is no news: the polls tell.
    async fn look_at_health(&mut self) {
        self.next_health =
            Instant::now() + self.health_interval.mul_f64(rand::random_range(0.9..1.1));
        let connect = self.client.health().await.ok().map(Arc::new);
        let before = self.current();
        if connect != before.connect {
            self.publish(View { connect, ..before });
        }
        // Also where it says the same: what the token says of itself may be about to end.
        (self.on_news)(News::Connect);
    }

    pub(super) fn current(&self) -> View {
        View::clone(&self.view.borrow())
    }

    pub(super) fn publish(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }
}

fn names(snapshot: &Snapshot) -> Vec<(Arc<str>, Arc<str>)> {
    snapshot.vaults().map(|v| (v.id.clone(), v.name.clone())).collect()
}
