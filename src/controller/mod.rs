//! The operator: watches fill the index, the index fills the queue, and each request in it takes the path
//! of `reconcile`.

mod audited;
mod cache_keys;
mod circumstances;
mod deletions;
mod dispatch;
mod examine;
mod guards;
mod looks;
mod outcome;
mod policies;
mod profiles;
mod queue;
mod reconcile;
mod record;
mod refuse;
mod requesters;
mod servers;
mod subject;
mod tally;
mod warm;
mod watch;
mod watches;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::RequestCounts;
use crate::audit::checkpoint::{self, Keeper};
use crate::audit::{Audit, AuditConfig, AuditLimits, Beginning};
use crate::behavior::Installation;
use crate::cache::Cache;
use crate::connect::Proxy;
use crate::fetch::{Environment, Fetcher};
use crate::index::{Index, ObjectKey};
use crate::kube_io::{ApiError, KubeIo};
use crate::leader::Leadership;
use crate::secret::{KeyError, SecretWriter, load_or_create_keys};
use crate::settings::Settings;
use crate::status::{StatusWriter, event_queue};
use crate::telemetry::Metrics;
pub use cache_keys::{BesideCache, CacheKeyError, CacheKeys};
use cache_keys::{LoadedKeys, load_cache_keys};
use examine::Knowledge;
use looks::Looks;
use policies::{Policies, whole_seconds};
use profiles::{Place, Profiles};
use queue::{ParkKey, Queue, QueueConfig};
use reconcile::Reconciler;
use requesters::Requesters;
use servers::{ServerTaskConfig, Servers};
use tally::Tally;
use warm::Warmer;
use watch::Gate;
use watches::Starting;
use watches::requeue_all;

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
    /// Names of those who write requests on behalf of others, or patterns of such names.
    pub delegates: Vec<String>,
    /// The admission policy by which the API server vouches for who wrote a request; without one nobody is known.
    pub requested_by_policy: Option<String>,
    /// The admission policies that stand guard; the operator says when one is not in force.
    pub admission_policies: Vec<String>,
    /// What stands between the operator and Connect.
    pub proxy: Proxy,
    /// Where the keys of the cache come from.
    pub cache_keys: CacheKeys,
    /// Reads a variable of the operator's environment, for servers that map fields to variables.
    pub environment: Environment,
    /// Intervals and limits.
    pub settings: Settings,
    /// Where decisions and changes are recorded.
    pub audit: AuditConfig,
    /// That it may work.
    pub leadership: Leadership,
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
    /// The checkpoint of the audit stream cannot be read, so that nothing would hold the stream to the one before.
    #[error(
        "the ConfigMap portcullis-audit with the heads of the audit stream cannot be read: {0}"
    )]
    Checkpoint(#[from] ApiError),
    /// The audit stream cannot be begun.
    #[error("the audit stream cannot be begun: {}", .0.kind())]
    Audit(std::io::Error),
}

/// A running operator.
pub struct Operator {
    gate: Gate,
    queue: Queue<ObjectKey>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    dispatcher: tokio::task::JoinHandle<()>,
    fetcher: Arc<Fetcher>,
    keeper: Arc<Keeper>,
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
            delegates,
            requested_by_policy,
            admission_policies,
            proxy,
            cache_keys,
            environment,
            settings,
            audit,
            leadership,
            metrics,
        } = config;
        let io = KubeIo::new(
            client.clone(),
            settings.write_concurrency,
            settings.write_timeout,
            leadership.fence,
            metrics.clone(),
        );
        let loaded = load_or_create_keys(&io, &operator_namespace).await?;
        let keys = loaded.keys;
        let streams = checkpoint::read(&io, &operator_namespace, &controller_class).await?;
        let limits = AuditLimits {
            room: settings.audit_room,
            denial_room: settings.audit_denial_room,
            wait: settings.audit_wait,
            retry: settings.audit_retry,
        };
        let beginning = Beginning { term: leadership.term, after: checkpoint::latest(streams) };
        let audit = Audit::start(audit, keys.audit_signer(), beginning, limits, metrics.clone())
            .map_err(StartError::Audit)?;
        let keeper = Arc::new(Keeper {
            io: io.clone(),
            namespace: operator_namespace.clone(),
            class: controller_class.clone(),
            audit: audit.clone(),
            interval: settings.audit_checkpoint,
            metrics: metrics.clone(),
            written: tokio::sync::Mutex::default(),
        });
        let LoadedKeys { keyring, lasting } =
            load_cache_keys(&cache_keys, &io, &operator_namespace).await?;
        let cache = Cache::new(keyring, settings.cache_bytes);
        let fetcher = Arc::new(Fetcher::new(
            io.clone(),
            environment,
            (settings.failed_for, settings.look_interval),
            metrics.clone(),
        ));
        let queue = Queue::new(&QueueConfig {
            workers: settings.workers,
            interactive_workers: settings.interactive_workers,
            flow_workers: settings.flow_workers,
            object_burst: settings.object_burst,
            object_interval: settings.object_interval,
            retry_first: settings.retry_first,
            retry_max: settings.retry_max,
        });
        let freed = queue.clone();
        let on_free = Box::new(move |server: &str| freed.unpark_one(&ParkKey::new(server)));
        let warmer =
            Warmer::new(fetcher.clone(), settings.look_interval / 10, on_free, metrics.clone());
        let (events, event_task) = event_queue(io.clone(), settings.event_queue, metrics.clone());
        let index = Index::default();
        let profiles = Arc::new(Profiles::new(
            Place {
                namespace: operator_namespace.clone(),
                class: controller_class.clone(),
                serves: namespaces.clone(),
            },
            keys.clone(),
            io.clone(),
            Installation { installed_at: loaded.since.into(), learning: settings.learning },
            &settings,
            events.clone(),
            metrics.clone(),
        ));
        let reconciler = Arc::new(Reconciler {
            knowledge: Knowledge {
                index: index.clone(),
                servers: Servers::default(),
                policies: Policies::new(controller_class.clone(), settings.policy_settle),
                looks: Looks::new(settings.look_burst, settings.look_interval),
                requesters: Requesters::new(delegates),
                profiles: profiles.clone(),
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
            tally: Arc::new(Tally::default()),
        });
        let mut starting =
            Starting { client, index, queue, gate: Gate::new(), tasks: JoinSet::new(), reconciler };
        starting.tasks.spawn(event_task);
        let kept = keeper.clone();
        starting.tasks.spawn(async move { kept.run().await });
        starting.tasks.spawn(tend(cache.clone(), settings.clone(), metrics.clone()));
        starting.watch_requests(&namespaces);
        starting.watch_namespaces();
        let (index, queue) = (starting.index.clone(), starting.queue.clone());
        starting.tasks.spawn(starting.reconciler.knowledge.requesters.watch(
            requested_by_policy,
            io.clone(),
            settings.guard_interval,
            metrics.clone(),
            starting.gate.add(),
            move || requeue_all(&index, &queue),
        ));
        starting.tasks.spawn(guards::watch(
            admission_policies,
            io.clone(),
            settings.guard_interval,
            metrics.clone(),
        ));
        starting.watch_profiles(&operator_namespace, &profiles);
        let namespaces_of = starting.index.clone();
        starting.tasks.spawn(profiles::keep(profiles, settings.profile_interval, move |name| {
            namespaces_of.namespace_labels(name).is_some()
        }));
        starting.watch_policies(io.clone());
        starting.tasks.spawn(tally::publish(
            starting.reconciler.tally.clone(),
            CountedKnowledge(starting.reconciler.clone()),
            io.clone(),
            settings.tally_interval,
        ));
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
            keeper,
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
            () = self.keeper.audit.ended() => {}
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
        self.keeper.finish().await;
        self.tasks.shutdown().await;
    }
}

/// What the counts of policies are held against.
struct CountedKnowledge(Arc<Reconciler>);

impl tally::Counted for CountedKnowledge {
    fn policies(&self) -> Vec<(Arc<str>, Option<RequestCounts>)> {
        self.0.knowledge.policies.counted()
    }

    fn requests(&self) -> usize {
        self.0.knowledge.index.request_count()
    }
}

/// Wipes cached values that are of no use any more, and tells what is kept, for as long as the operator runs.
async fn tend(cache: Cache, settings: Settings, metrics: Arc<Metrics>) {
    let mut due = tokio::time::interval(settings.cache_sweep);
    loop {
        due.tick().await;
        cache.sweep(settings.refusal_confirm);
        let classes = cache.figures();
        let classes = classes.iter().map(|(name, f)| (&**name, f.bytes, f.entries));
        metrics.cache.kept(classes, cache.evicted());
    }
}

/// The time, in the resolution in which Kubernetes keeps it.
fn now() -> Time {
    whole_seconds(SystemTime::now())
}
