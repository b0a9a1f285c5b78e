//! The ConnectServers of the operator's class: their clients, their actors and their status.

mod connection;
mod message;
mod observed;
mod persist;
mod slots;
mod start;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client as KubeClient;
use kube::runtime::watcher::Event;
use serde::Deserialize as _;
use serde_json::json;
use tokio::task::JoinHandle;

use super::watch::Latch;
use crate::api::{CacheEpoch, ConnectServer, ConnectServerSpec, ConnectServerStatus, Reason};
use crate::cache::Cache;
use crate::connect::Proxy;
use crate::fetch::{Staleness, class_of};
use crate::index::{Index, Raw, refresh_requested};
use crate::kube_io::KubeIo;
use crate::settings::Settings;
use crate::telemetry::Metrics;
use crate::vaults::News;
use connection::{Failure, fingerprint};
pub(super) use message::{Message, config_map_message, secret_message};
use persist::Kept;
pub(super) use slots::{Broken, Servers, Slot, SlotState};
use status::status;

/// Takes the news of a server, by name. Must not block.
pub(super) type OnNews = Arc<dyn Fn(&str, News) + Send + Sync>;

/// What a [`ServerTask`] works with.
pub(super) struct ServerTaskConfig {
    pub(super) servers: Servers,
    pub(super) class: String,
    pub(super) namespace: String,
    pub(super) client: KubeClient,
    pub(super) io: KubeIo,
    pub(super) index: Index,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
    /// What stands between the operator and Connect.
    pub(super) proxy: Proxy,
    /// What is kept of all servers.
    pub(super) cache: Cache,
    /// Whether the keys of the cache outlive the process, or why not.
    pub(super) lasting: Result<(), String>,
}

/// Keeps [`Servers`]: builds clients, starts and ends actors, writes status.
pub(super) struct ServerTask {
    config: ServerTaskConfig,
    /// Sends messages to the task itself.
    mailbox: tokio::sync::mpsc::UnboundedSender<Message>,
    /// Told which servers' requests are to be looked at, and what changed.
    on_news: OnNews,
    known: HashMap<String, KnownServer>,
    /// Servers of other classes, with the epoch of the list that told of them.
    elsewhere: HashMap<String, u64>,
    secrets: BTreeMap<String, ObjectMeta>,
    /// The keepers of the records of servers whose cache survives a restart.
    keepers: HashMap<String, JoinHandle<()>>,
    epoch: u64,
    /// How many of the two lists of the operator's namespace are still to come: before that, a token that
    /// was not told of yet is not missing.
    lists_to_come: u8,
    /// Whether records of servers that are no more were looked for.
    orphans_gone: bool,
    /// Whether all ConnectServers are known.
    servers_listed: bool,
    /// Held until all servers are known: before that, a server that was not told of yet is not missing.
    latch: Latch,
}

/// A ConnectServer of our class.
pub(super) struct KnownServer {
    spec: Arc<ConnectServerSpec>,
    generation: i64,
    epoch: u64,
    status: ConnectServerStatus,
    fingerprint: Option<[u8; 32]>,
    /// The request for a refresh that was acted on last.
    refreshed: Option<String>,
    /// How the cache was kept, and the epochs of its records, where it is to survive a restart.
    kept: Option<(Kept, Vec<CacheEpoch>)>,
}

impl ServerTask {
    pub(super) fn new(
        config: ServerTaskConfig,
        mailbox: tokio::sync::mpsc::UnboundedSender<Message>,
        on_news: OnNews,
        latch: Latch,
    ) -> Self {
        Self {
            config,
            mailbox,
            on_news,
            known: HashMap::new(),
            elsewhere: HashMap::new(),
            secrets: BTreeMap::new(),
            keepers: HashMap::new(),
            epoch: 0,
            lists_to_come: 2,
            orphans_gone: false,
            servers_listed: false,
            latch,
        }
    }

    pub(super) async fn handle(&mut self, message: Message) {
        match message {
            Message::Server(event) => self.fold(*event).await,
            Message::Secret(name, metadata) => {
                match metadata {
                    Some(metadata) => self.secrets.insert(name.clone(), *metadata),
                    None => self.secrets.remove(&name),
                };
                self.refresh_where(|spec| {
                    let ca = spec.ca.as_ref().and_then(|ca| ca.secret_ref.as_ref());
                    spec.token_secret_ref.name == name || ca.is_some_and(|r| r.name == name)
                })
                .await;
            }
            Message::Listed => {
                self.lists_to_come = self.lists_to_come.saturating_sub(1);
                self.refresh_where(|_| true).await;
                self.drop_orphans().await;
            }
            Message::ConfigMap(name) => {
                self.refresh_where(|spec| {
                    let ca = spec.ca.as_ref().and_then(|ca| ca.config_map_ref.as_ref());
                    ca.is_some_and(|r| r.name == name)
                })
                .await;
            }
            Message::Status(name) => self.write_status(&name).await,
            Message::Retry(name) => self.refresh(&name).await,
            Message::Kept(name, epochs, kept) => {
                if let Some(known) = self.known.get_mut(&name) {
                    known.kept = Some((kept, epochs));
                    self.write_status(&name).await;
                }
            }
        }
    }

    async fn fold(&mut self, event: Event<Raw<ConnectServer>>) {
        match event {
            Event::Init => self.epoch += 1,
            Event::InitApply(server) | Event::Apply(server) => self.put(&server).await,
            Event::InitDone => {
                let ours = self.known.iter().map(|(name, known)| (name, known.epoch));
                let elsewhere = self.elsewhere.iter().map(|(name, epoch)| (name, *epoch));
                let gone: Vec<String> = ours
                    .chain(elsewhere)
                    .filter(|(_, epoch)| *epoch < self.epoch)
                    .map(|(name, _)| name.clone())
                    .collect();
                for name in gone {
                    self.deleted(&name).await;
                }
                self.servers_listed = true;
                self.drop_orphans().await;
                self.latch.done();
            }
            Event::Delete(server) => {
                if let Some(name) = server.metadata.name {
                    self.deleted(&name).await;
                }
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.config.servers.remove(name);
        self.known.remove(name);
        self.elsewhere.remove(name);
        self.config.metrics.forget_server(name);
        self.config.metrics.cache.token_ends(name, None);
        (self.on_news)(name, News::Health);
    }

    async fn put(&mut self, server: &Raw<ConnectServer>) {
        let Some(name) = server.metadata.name.clone() else {
            return;
        };
        let class = server.spec.get("controllerClass").and_then(|c| c.as_str()).unwrap_or_default();
        if class != self.config.class {
            self.known.remove(&name);
            self.elsewhere.insert(name.clone(), self.epoch);
            self.config.servers.set(&name, Slot::Elsewhere);
            return;
        }
        self.elsewhere.remove(&name);
        let spec = match ConnectServerSpec::deserialize(&server.spec) {
            Ok(spec) => Arc::new(spec),
            Err(_) => {
                tracing::warn!(
                    server = name,
                    "a ConnectServer cannot be read by this version, and counts as missing"
                );
                self.forget(&name);
                return;
            }
        };
        let epoch = self.epoch;
        if let Some(known) = self.known.get_mut(&name)
            && known.spec == spec
        {
            known.epoch = epoch;
            known.generation = server.metadata.generation.unwrap_or(0);
            self.refresh_if_asked(&name, refresh_requested(&server.metadata)).await;
            return;
        }
        // Rows and facts never meet the connection of another host, token or authority.
        let (fingerprint, state) = match (self.known.get(&name), self.config.servers.get(&name)) {
            (Some(known), Some(Slot::Ours { state, .. })) if connects_alike(&known.spec, &spec) => {
                (known.fingerprint, state)
            }
            _ => (None, SlotState::New),
        };
        let before = self.known.remove(&name);
        let told = || ConnectServerStatus::deserialize(&server.status).unwrap_or_default();
        let asked = refresh_requested(&server.metadata);
        // A server that is new is asked anyway.
        let handled = || asked.map(str::to_owned);
        let (status, kept, refreshed) =
            before.map_or_else(|| (told(), None, handled()), |k| (k.status, k.kept, k.refreshed));
        self.known.insert(
            name.clone(),
            KnownServer {
                spec: spec.clone(),
                generation: server.metadata.generation.unwrap_or(0),
                epoch,
                status,
                fingerprint,
                refreshed,
                kept,
            },
        );
        self.config.servers.set(&name, Slot::Ours { spec, state });
        self.refresh(&name).await;
        self.reclass(&name);
        self.refresh_if_asked(&name, asked).await;
        // Access rows and facts about vaults count at once, whatever the connection does.
        (self.on_news)(&name, News::Vaults);
    }

    async fn refresh_where(&mut self, concerns: impl Fn(&ConnectServerSpec) -> bool) {
        let names: Vec<String> = self
            .known
            .iter()
            .filter(|(_, k)| concerns(&k.spec))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.refresh(&name).await;
        }
    }

    /// Reads token and authority, and replaces the actor if anything about the connection changed.
    async fn refresh(&mut self, name: &str) {
        if self.lists_to_come > 0 {
            return;
        }
        let Some(spec) = self.known.get(name).map(|k| k.spec.clone()) else {
            return;
        };
        let state = match self.connection(name, &spec).await {
            Ok(config) => {
                let fingerprint = fingerprint(&spec, &config);
                let is_same =
                    self.known.get(name).is_some_and(|k| k.fingerprint == Some(fingerprint));
                match self.config.servers.get(name) {
                    Some(Slot::Ours { state: SlotState::Running(server), .. }) if is_same => {
                        SlotState::Running(server)
                    }
                    _ => self.start(name, &spec, config, fingerprint).await,
                }
            }
            Err(Failure::Broken(broken)) => {
                if let Some(known) = self.known.get_mut(name) {
                    known.fingerprint = None;
                }
                self.config.metrics.forget_breakers(name);
                SlotState::Broken(broken)
            }
            Err(Failure::Api(error)) => {
                tracing::warn!(server = name, %error, "the token or authority could not be read; trying again");
                self.later(Message::Retry(name.to_owned()));
                // What worked goes on working; what never did says why.
                let Some(Slot::Ours { state: SlotState::New | SlotState::Broken(_), .. }) =
                    self.config.servers.get(name)
                else {
                    return;
                };
                SlotState::Broken(Broken {
                    reason: Reason::TokenNotFound,
                    message: format!("the token or the authority cannot be read: {error}"),
                })
            }
        };
        self.config.servers.set(name, Slot::Ours { spec, state });
        // What a record brought back may be of a class from before the restart.
        self.reclass(name);
        (self.on_news)(name, News::Health);
        self.write_status(name).await;
    }

    /// Sends the task a message after a while.
    fn later(&self, message: Message) {
        let (mailbox, pause) = (self.mailbox.clone(), self.config.settings.retry_first);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // Nobody listens any more when the operator stops.
            let _ = mailbox.send(message);
        });
    }

    /// Drops values that are kept under a class which their vault has not any more, and keeps the others for as long as
    /// their class says now.
    fn reclass(&self, name: &str) {
        if let Some(Slot::Ours { spec, state: SlotState::Running(server) }) =
            self.config.servers.get(name)
        {
            let limit = spec.max_staleness().unwrap_or(self.config.settings.max_staleness);
            for vault in server.view().snapshot.vaults() {
                let class = class_of(&spec, &vault.name, Staleness::new(limit, None));
                server.scope().reclass(&vault.id, &class);
            }
        }
    }

    /// Has 1Password asked anew where somebody asked for that and it was not done yet.
    async fn refresh_if_asked(&mut self, name: &str, asked: Option<&str>) {
        let Some(known) = self.known.get_mut(name) else { return };
        if asked.is_none() || known.refreshed.as_deref() == asked {
            return;
        }
        if let Some(Slot::Ours { state: SlotState::Running(server), .. }) =
            self.config.servers.get(name)
        {
            known.refreshed = asked.map(str::to_owned);
            server.refresh();
            self.write_status(name).await;
        }
    }

    async fn write_status(&mut self, name: &str) {
        let Some(Slot::Ours { state, .. }) = self.config.servers.get(name) else {
            return;
        };
        let Some(known) = self.known.get_mut(name) else {
            return;
        };
        let Some(next) = status(known, &state, &self.config.lasting) else {
            return;
        };
        if next == known.status {
            return;
        }
        let patch = replacing(&known.status, &next);
        match self.config.io.merge_status::<ConnectServer, _>("ConnectServer", name, &patch).await {
            Ok(()) => known.status = next,
            Err(error) => {
                tracing::warn!(server = name, %error, "the status of a server was not written; trying again");
                self.later(Message::Status(name.to_owned()));
            }
        }
    }
}

/// A merge patch that leaves nothing of the status before.
fn replacing(before: &ConnectServerStatus, next: &ConnectServerStatus) -> serde_json::Value {
    let (mut patch, before) = (json!(next), json!(before));
    if let (Some(patch), Some(before)) = (patch.as_object_mut(), before.as_object()) {
        for field in before.keys() {
            patch.entry(field).or_insert(serde_json::Value::Null);
        }
    }
    patch
}

/// Whether two specs connect to the same server in the same way.
fn connects_alike(a: &ConnectServerSpec, b: &ConnectServerSpec) -> bool {
    a.hosts == b.hosts && a.token_secret_ref == b.token_secret_ref && a.ca == b.ca
}
