//! The operator: watches fill the index, the index fills the queue, and each request in it takes the path
//! of `reconcile`.

mod cache_keys;
mod dispatch;
mod examine;
mod outcome;
mod policies;
mod queue;
mod reconcile;
mod record;
mod servers;
mod subject;
mod warm;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{ConnectServer, CredentialPolicy, MANAGED_LABEL};
use crate::audit::AuditSink;
use crate::cache::Cache;
use crate::connect::Proxy;
use crate::fetch::{Environment, Fetcher};
use crate::index::{Change, Index, Raw, RequestEntry, RequestView};
use crate::kube_io::KubeIo;
use crate::secret::{KeyError, SecretWriter, load_or_create_keys};
use crate::settings::Settings;
use crate::status::{StatusWriter, event_queue};
use crate::telemetry::Metrics;
use crate::vaults::News;
pub use cache_keys::{BesideCache, CacheKeyError, CacheKeys};
use cache_keys::{LoadedKeys, load_cache_keys};
use examine::Knowledge;
use policies::{Policies, whole_seconds};
use queue::{Lane, ParkKey, Queue, QueueConfig};
use reconcile::Reconciler;
use servers::{Message, OnNews, ServerTask, ServerTaskConfig, Servers};
use warm::Warmer;
use watch::{Gate, follow};

/// What an operator serves, and with what.
pub struct OperatorConfig {
    /// Talks to the API server with the operator's rights.
    pub client: Client,
    /// The class of servers and policies that it serves; empty by default.
    pub controller_class: String,
    /// The namespaces whose requests it serves; all when empty.
    pub namespaces: Vec<String>,
    /// The namespace of its keys and of Connect tokens.
    pub operator_namespace: String,
    /// What stands between the operator and Connect.
    pub proxy: Proxy,
    /// Where the keys of the cache come from.
    pub cache_keys: CacheKeys,
    /// Reads a variable of the operator's environment, for servers that map fields to variables.
    pub environment: Environment,
    /// Intervals and limits.
    pub settings: Settings,
    /// Where decisions and changes are recorded.
    pub audit: AuditSink,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// Why an operator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There are no keys to prove by which Secrets are its own.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// There are no keys for the cache.
    #[error(transparent)]
    CacheKeys(#[from] CacheKeyError),
}

/// A running operator.
pub struct Operator {
    gate: Gate,
    queue: Queue<crate::index::ObjectKey>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    dispatcher: tokio::task::JoinHandle<()>,
    fetcher: Arc<Fetcher>,
    settings: Settings,
}

/// Tells whether an operator is ready.
#[derive(Clone)]
pub struct Readiness {
    gate: Gate,
}

impl Readiness {
    /// Whether every watch has delivered its first list.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gate.is_open()
    }

    /// Waits until it is.
    pub async fn ready(&self) {
        self.gate.opened().await;
    }
}

impl Operator {
    /// Starts an operator: reads or makes the keys, then watches and reconciles until
    /// [`Operator::shutdown`].
    ///
    /// # Errors
    /// When there are no keys to work with.
    pub async fn start(config: OperatorConfig) -> Result<Self, StartError> {
        let OperatorConfig {
            client,
            controller_class,
            namespaces,
            operator_namespace,
            proxy,
            cache_keys,
            environment,
            settings,
            audit,
            metrics,
        } = config;
        let io = KubeIo::new(
            client.clone(),
            settings.write_concurrency,
            settings.write_timeout,
            metrics.clone(),
        );
        let keys = load_or_create_keys(&io, &operator_namespace).await?;
        let LoadedKeys { keyring, lasting } =
            load_cache_keys(&cache_keys, &io, &operator_namespace).await?;
        let cache = Cache::new(keyring, settings.cache_bytes);
        let fetcher = Arc::new(Fetcher::new(
            io.clone(),
            environment,
            (settings.failed_for, settings.look_interval),
            metrics.clone(),
        ));
        let (warmer, warm_task) =
            Warmer::new(fetcher.clone(), settings.look_interval / 10, metrics.clone());
        let queue = Queue::new(&QueueConfig {
            workers: settings.workers,
            interactive_workers: settings.interactive_workers,
            flow_workers: settings.flow_workers,
            object_burst: settings.object_burst,
            object_interval: settings.object_interval,
            retry_first: settings.retry_first,
            retry_max: settings.retry_max,
        });
        let (events, event_task) = event_queue(io.clone(), settings.event_queue, metrics.clone());
        let index = Index::default();
        let reconciler = Arc::new(Reconciler {
            knowledge: Knowledge {
                index: index.clone(),
                servers: Servers::default(),
                policies: Policies::new(controller_class.clone(), settings.policy_settle),
                settings: settings.clone(),
                answers_for_missing_servers: !namespaces.is_empty() || controller_class.is_empty(),
            },
            keys,
            io: io.clone(),
            fetcher: fetcher.clone(),
            warmer,
            secrets: SecretWriter::new(io.clone(), index.clone()),
            statuses: StatusWriter::new(io.clone(), index.clone()),
            audit,
            events,
            metrics: metrics.clone(),
            memory: Mutex::new(HashMap::new()),
        });
        let mut starting =
            Starting { client, index, queue, gate: Gate::new(), tasks: JoinSet::new(), reconciler };
        starting.tasks.spawn(event_task);
        starting.tasks.spawn(warm_task);
        starting.tasks.spawn(tend(cache.clone(), settings.clone(), metrics.clone()));
        starting.watch_requests(&namespaces);
        starting.watch_namespaces();
        starting.watch_policies(io.clone());
        starting.watch_servers(ServerTaskConfig {
            servers: starting.reconciler.knowledge.servers.clone(),
            class: controller_class,
            namespace: operator_namespace,
            client: starting.client.clone(),
            io,
            index: starting.index.clone(),
            settings: settings.clone(),
            metrics,
            proxy,
            cache,
            lasting,
        });
        let stop = CancellationToken::new();
        let dispatcher = tokio::spawn(dispatch::run(
            starting.queue.clone(),
            starting.reconciler.clone(),
            starting.gate.clone(),
            stop.clone(),
        ));
        Ok(Self {
            gate: starting.gate,
            queue: starting.queue,
            stop,
            tasks: starting.tasks,
            dispatcher,
            fetcher,
            settings,
        })
    }

    /// Whether it is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness { gate: self.gate.clone() }
    }

    /// Waits until a part of the operator ends by itself, which none should: what remains would serve
    /// without it, and nobody would know.
    pub async fn failed(&mut self) {
        tokio::select! {
            _ = self.tasks.join_next() => {}
            _ = &mut self.dispatcher => {}
        }
    }

    /// Takes on nothing new, waits for what is under way as long as the settings allow, and ends.
    pub async fn shutdown(mut self) {
        self.queue.close();
        self.stop.cancel();
        self.fetcher.stop();
        let grace = self.settings.shutdown_grace;
        if tokio::time::timeout(grace, &mut self.dispatcher).await.is_err() {
            tracing::warn!("reconciles did not end in time and are abandoned");
            self.dispatcher.abort();
        }
        self.tasks.shutdown().await;
    }
}

/// The parts of an operator while its tasks are being started.
struct Starting {
    client: Client,
    index: Index,
    queue: Queue<crate::index::ObjectKey>,
    gate: Gate,
    tasks: JoinSet<()>,
    reconciler: Arc<Reconciler>,
}

impl Starting {
    /// The request watch and the Secret watch of each namespace, or of all.
    fn watch_requests(&mut self, namespaces: &[String]) {
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        for scope in scopes {
            let (requests, secrets): (Api<RequestView>, Api<PartialObjectMeta<Secret>>) =
                match &scope {
                    Some(namespace) => (
                        Api::namespaced(self.client.clone(), namespace),
                        Api::namespaced(self.client.clone(), namespace),
                    ),
                    None => (Api::all(self.client.clone()), Api::all(self.client.clone())),
                };
            let (index, queue, gate, scoped) =
                (self.index.clone(), self.queue.clone(), self.gate.clone(), scope.clone());
            self.tasks.spawn(follow(requests, None, self.gate.add(), move |event| {
                for (key, change) in index.fold_request(scoped.as_deref(), event) {
                    if let Some(lane) = lane_of(&change, gate.is_open()) {
                        queue.add(key, lane);
                    }
                }
            }));
            let (index, queue) = (self.index.clone(), self.queue.clone());
            let selector = format!("{MANAGED_LABEL}=true");
            let latch = self.gate.add();
            self.tasks.spawn(async move {
                follow(secrets, Some(&selector), latch, move |event| {
                    for (secret, _) in index.fold_secret(scope.as_deref(), event) {
                        for request in index.requests_of_secret(&secret) {
                            queue.add(request, Lane::Interactive);
                        }
                    }
                })
                .await;
            });
        }
    }

    fn watch_namespaces(&mut self) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let (index, queue) = (self.index.clone(), self.queue.clone());
        self.tasks.spawn(follow(api, None, self.gate.add(), move |event| {
            for (namespace, change) in index.fold_namespace(event) {
                let relabelled = matches!(&change, Change::Updated(before, after) if before.labels != after.labels);
                if relabelled || matches!(change, Change::Added(_)) {
                    for request in index.requests_in_namespace(&namespace) {
                        queue.add(request, Lane::Changed);
                    }
                }
            }
        }));
    }

    fn watch_policies(&mut self, io: KubeIo) {
        let api: Api<Raw<CredentialPolicy>> = Api::all(self.client.clone());
        let (reconciler, index, queue) =
            (self.reconciler.clone(), self.index.clone(), self.queue.clone());
        let (news, mut inbox) = mpsc::unbounded_channel();
        let (folding, writing, again) = (reconciler.clone(), reconciler.clone(), news.clone());
        let wake = Arc::new(tokio::sync::Notify::new());
        let woken = wake.clone();
        self.tasks.spawn(follow(api, None, self.gate.add(), move |event| {
            let (changed, verdict) = folding.knowledge.policies.fold(event);
            if changed {
                requeue_all(&index, &queue);
            }
            if let Some(verdict) = verdict {
                // The other end is a task beside this one.
                let _ = news.send(verdict);
            }
            woken.notify_one();
        }));
        self.tasks.spawn(async move {
            while let Some(verdict) = inbox.recv().await {
                if !writing.knowledge.policies.is_current(&verdict) {
                    continue;
                }
                if let Err(error) = verdict.write(&io).await {
                    tracing::warn!(policy = verdict.name(), %error, "the status of a policy was not written; trying again");
                    let (again, pause) = (again.clone(), writing.knowledge.settings.retry_first);
                    tokio::spawn(async move {
                        tokio::time::sleep(pause).await;
                        let _ = again.send(verdict);
                    });
                }
            }
        });
        let (index, queue) = (self.index.clone(), self.queue.clone());
        self.tasks.spawn(async move {
            loop {
                match reconciler.knowledge.policies.next_expiry() {
                    Some(at) => tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = wake.notified() => {}
                    },
                    None => wake.notified().await,
                }
                if reconciler.knowledge.policies.expire() {
                    requeue_all(&index, &queue);
                }
            }
        });
    }

    fn watch_servers(&mut self, config: ServerTaskConfig) {
        let namespace = config.namespace.clone();
        let (mailbox, mut inbox) = mpsc::unbounded_channel();
        let secrets: Api<PartialObjectMeta<Secret>> =
            Api::namespaced(self.client.clone(), &namespace);
        let config_maps: Api<PartialObjectMeta<ConfigMap>> =
            Api::namespaced(self.client.clone(), &namespace);
        let servers: Api<Raw<ConnectServer>> = Api::all(self.client.clone());
        let send = mailbox.clone();
        self.tasks.spawn(follow(secrets, None, self.gate.add(), move |event| {
            if let Some(message) = servers::secret_message(event) {
                let _ = send.send(message);
            }
        }));
        let send = mailbox.clone();
        self.tasks.spawn(follow(config_maps, None, self.gate.add(), move |event| {
            if let Some(message) = servers::config_map_message(event) {
                let _ = send.send(message);
            }
        }));
        let send = mailbox.clone();
        self.tasks.spawn(follow(servers, None, self.gate.add(), move |event| {
            let _ = send.send(Message::Server(Box::new(event)));
        }));
        let (index, queue) = (self.index.clone(), self.queue.clone());
        let on_news: OnNews = Arc::new(move |server, news| {
            let requests = match news {
                News::Vault(vault) => index.requests_of_vault(&(server.into(), vault)),
                News::Vaults | News::Health => index.requests_of_server(server),
                News::Connect => return,
            };
            for request in requests {
                queue.add(request, Lane::Changed);
            }
            queue.unpark_all(&ParkKey::new(server));
        });
        let mut task = ServerTask::new(config, mailbox, on_news, self.gate.add());
        self.tasks.spawn(async move {
            while let Some(message) = inbox.recv().await {
                task.handle(message).await;
            }
        });
    }
}

fn requeue_all(index: &Index, queue: &Queue<crate::index::ObjectKey>) {
    for request in index.requests() {
        queue.add(request, Lane::Changed);
    }
}

/// How urgent a change of a request is; none when only its status or its labels changed.
fn lane_of(change: &Change<RequestEntry>, is_started: bool) -> Option<Lane> {
    match change {
        Change::Added(_) if is_started => Some(Lane::Interactive),
        Change::Added(_) => Some(Lane::Sweep),
        Change::Updated(before, after) => {
            let same = before.generation == after.generation
                && before.uid == after.uid
                && before.refresh_requested == after.refresh_requested
                && before.is_deleting == after.is_deleting;
            (!same).then_some(Lane::Interactive)
        }
        Change::Removed(_) => Some(Lane::Interactive),
    }
}

/// Wipes cached values that are of no use any more, and tells what is kept, for as long as the operator runs.
async fn tend(cache: Cache, settings: Settings, metrics: Arc<Metrics>) {
    let mut due = tokio::time::interval(settings.cache_sweep);
    loop {
        due.tick().await;
        cache.sweep(settings.refusal_confirm);
        let (classes, oldest) = cache.figures();
        let classes = classes.iter().map(|(name, f)| (&**name, f.bytes, f.entries));
        metrics.cache.kept(classes, oldest, cache.evicted());
    }
}

/// The time, in the resolution in which Kubernetes keeps it.
fn now() -> Time {
    whole_seconds(SystemTime::now())
}
