//! The ConnectServers of the operator's class: their clients, their actors and their status.

mod connection;
mod observed;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client as KubeClient;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use serde::Deserialize as _;

use super::watch::Latch;
use crate::api::{ConnectServer, ConnectServerSpec, ConnectServerStatus, Reason};
use crate::connect::{Client, ClientConfig};
use crate::index::{Index, Raw};
use crate::kube_io::KubeIo;
use crate::settings::Settings;
use crate::telemetry::Metrics;
use crate::vaults::{ActorConfig, News, Server};
use connection::{Failure, fingerprint, unbuilt};
use status::status;

/// The ConnectServers of the operator's class, and whether they can be used.
#[derive(Clone, Default)]
pub(super) struct Servers {
    slots: Arc<RwLock<HashMap<String, Slot>>>,
}

/// A ConnectServer.
#[derive(Clone)]
pub(super) enum Slot {
    /// Of another class: its requests are somebody else's.
    Elsewhere,
    /// Of our class.
    Ours { spec: Arc<ConnectServerSpec>, state: SlotState },
}

/// Whether a server of ours can be used.
#[derive(Clone)]
pub(super) enum SlotState {
    /// Not looked at yet.
    New,
    /// Its token or authority is missing or refused: why, and the command that mends it.
    Broken(Broken),
    /// It is being polled.
    Running(Arc<Server>),
}

/// Why a server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Servers {
    pub(super) fn get(&self, name: &str) -> Option<Slot> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &str, slot: Slot) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), slot);
    }

    fn remove(&self, name: &str) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// What the task that keeps [`Servers`] is told.
pub(super) enum Message {
    /// A ConnectServer changed.
    Server(Box<Event<Raw<ConnectServer>>>),
    /// A Secret of the operator's namespace changed: its metadata, or that it is gone.
    Secret(String, Option<Box<ObjectMeta>>),
    /// A ConfigMap of the operator's namespace changed.
    ConfigMap(String),
    /// All Secrets, or all ConfigMaps, of the operator's namespace have been told of.
    Listed,
    /// What the status of a server says may have changed.
    Status(String),
    /// A server is to be looked at again.
    Retry(String),
}

/// Takes the news of a server, by name. Must not block.
pub(super) type OnNews = Arc<dyn Fn(&str, News) + Send + Sync>;

/// Keeps [`Servers`]: builds clients, starts and ends actors, writes status.
pub(super) struct ServerTask {
    pub(super) servers: Servers,
    pub(super) class: String,
    pub(super) namespace: String,
    pub(super) client: KubeClient,
    pub(super) io: KubeIo,
    pub(super) index: Index,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
    /// Sends messages to the task itself.
    pub(super) mailbox: tokio::sync::mpsc::UnboundedSender<Message>,
    /// Told which servers' requests are to be looked at, and what changed.
    pub(super) on_news: OnNews,
    pub(super) known: HashMap<String, KnownServer>,
    /// Servers of other classes, with the epoch of the list that told of them.
    pub(super) elsewhere: HashMap<String, u64>,
    pub(super) secrets: BTreeMap<String, ObjectMeta>,
    pub(super) epoch: u64,
    /// How many of the two lists of the operator's namespace are still to come: before that, a token that
    /// was not told of yet is not missing.
    pub(super) lists_to_come: u8,
    /// Held until all servers are known: before that, a server that was not told of yet is not missing.
    pub(super) latch: Latch,
}

pub(super) struct KnownServer {
    spec: Arc<ConnectServerSpec>,
    generation: i64,
    epoch: u64,
    status: ConnectServerStatus,
    fingerprint: Option<[u8; 32]>,
}

impl ServerTask {
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
                    self.forget(&name);
                }
                self.latch.done();
            }
            Event::Delete(server) => {
                if let Some(name) = server.metadata.name {
                    self.forget(&name);
                }
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.servers.remove(name);
        self.known.remove(name);
        self.elsewhere.remove(name);
        self.metrics.forget_server(name);
        (self.on_news)(name, News::Health);
    }

    async fn put(&mut self, server: &Raw<ConnectServer>) {
        let Some(name) = server.metadata.name.clone() else {
            return;
        };
        let class = server.spec.get("controllerClass").and_then(|c| c.as_str()).unwrap_or_default();
        if class != self.class {
            self.known.remove(&name);
            self.elsewhere.insert(name.clone(), self.epoch);
            self.servers.set(&name, Slot::Elsewhere);
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
            return;
        }
        // Rows and facts never meet the connection of another host, token or authority.
        let (fingerprint, state) = match (self.known.get(&name), self.servers.get(&name)) {
            (Some(known), Some(Slot::Ours { state, .. })) if connects_alike(&known.spec, &spec) => {
                (known.fingerprint, state)
            }
            _ => (None, SlotState::New),
        };
        self.known.insert(
            name.clone(),
            KnownServer {
                spec: spec.clone(),
                generation: server.metadata.generation.unwrap_or(0),
                epoch,
                status: ConnectServerStatus::deserialize(&server.status).unwrap_or_default(),
                fingerprint,
            },
        );
        self.servers.set(&name, Slot::Ours { spec, state });
        self.refresh(&name).await;
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
                match self.servers.get(name) {
                    Some(Slot::Ours { state: SlotState::Running(server), .. }) if is_same => {
                        SlotState::Running(server)
                    }
                    _ => self.start(name, &spec, config, fingerprint),
                }
            }
            Err(Failure::Broken(broken)) => {
                if let Some(known) = self.known.get_mut(name) {
                    known.fingerprint = None;
                }
                self.metrics.forget_breakers(name);
                SlotState::Broken(broken)
            }
            Err(Failure::Api(error)) => {
                tracing::warn!(server = name, %error, "the token or authority could not be read; trying again");
                self.later(Message::Retry(name.to_owned()));
                // What worked goes on working; what never did says why.
                let Some(Slot::Ours { state: SlotState::New | SlotState::Broken(_), .. }) =
                    self.servers.get(name)
                else {
                    return;
                };
                SlotState::Broken(Broken {
                    reason: Reason::TokenNotFound,
                    message: format!("the token or the authority cannot be read: {error}"),
                })
            }
        };
        self.servers.set(name, Slot::Ours { spec, state });
        (self.on_news)(name, News::Health);
        self.write_status(name).await;
    }

    fn start(
        &mut self,
        name: &str,
        spec: &ConnectServerSpec,
        config: ClientConfig,
        fingerprint: [u8; 32],
    ) -> SlotState {
        let concurrency = config.concurrency;
        // The breakers of the client before are no more, and nor may be its hosts.
        self.metrics.forget_breakers(name);
        let client = match Client::new(config) {
            Ok(client) => client,
            Err(error) => return SlotState::Broken(unbuilt(error, spec)),
        };
        if let Some(known) = self.known.get_mut(name) {
            known.fingerprint = Some(fingerprint);
        }
        let server_name: Arc<str> = name.into();
        let (index, vault_server) = (self.index.clone(), server_name.clone());
        let (mailbox, on_news, news_server) =
            (self.mailbox.clone(), self.on_news.clone(), name.to_owned());
        SlotState::Running(Arc::new(Server::start(ActorConfig {
            name: server_name,
            client,
            concurrency,
            poll_interval: spec.poll_interval().unwrap_or(self.settings.poll_interval),
            retry_first: self.settings.retry_first,
            look_interval: self.settings.look_interval,
            in_use: Box::new(move |vault| {
                index.is_vault_in_use(&(vault_server.clone(), vault.clone()))
            }),
            on_news: Box::new(move |news| {
                let concerns_status = !matches!(news, News::Vault(_));
                on_news(&news_server, news);
                if concerns_status {
                    let _ = mailbox.send(Message::Status(news_server.clone()));
                }
            }),
            metrics: self.metrics.clone(),
        })))
    }

    /// Sends the task a message after a while.
    fn later(&self, message: Message) {
        let (mailbox, pause) = (self.mailbox.clone(), self.settings.retry_first);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // Nobody listens any more when the operator stops.
            let _ = mailbox.send(message);
        });
    }

    async fn write_status(&mut self, name: &str) {
        let Some(Slot::Ours { state, .. }) = self.servers.get(name) else {
            return;
        };
        let Some(known) = self.known.get_mut(name) else {
            return;
        };
        let Some(next) = status(&known.status, &state, known.generation) else {
            return;
        };
        if next == known.status {
            return;
        }
        match self.io.merge_status::<ConnectServer, _>("ConnectServer", name, &next).await {
            Ok(()) => known.status = next,
            Err(error) => {
                tracing::warn!(server = name, %error, "the status of a server was not written; trying again");
                self.later(Message::Status(name.to_owned()));
            }
        }
    }
}

/// Whether two specs connect to the same server in the same way.
fn connects_alike(a: &ConnectServerSpec, b: &ConnectServerSpec) -> bool {
    a.hosts == b.hosts && a.token_secret_ref == b.token_secret_ref && a.ca == b.ca
}

/// What an event of the Secrets of the operator's namespace says.
pub(super) fn secret_message(event: Event<PartialObjectMeta<Secret>>) -> Option<Message> {
    match event {
        Event::InitApply(secret) | Event::Apply(secret) => {
            let name = secret.metadata.name.clone()?;
            Some(Message::Secret(name, Some(Box::new(secret.metadata))))
        }
        Event::Delete(secret) => Some(Message::Secret(secret.metadata.name?, None)),
        Event::InitDone => Some(Message::Listed),
        Event::Init => None,
    }
}

/// What an event of the ConfigMaps of the operator's namespace says.
pub(super) fn config_map_message(event: Event<PartialObjectMeta<ConfigMap>>) -> Option<Message> {
    match event {
        Event::InitApply(map) | Event::Apply(map) | Event::Delete(map) => {
            Some(Message::ConfigMap(map.metadata.name?))
        }
        Event::InitDone => Some(Message::Listed),
        Event::Init => None,
    }
}
