use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::audit::AuditFlags;
use crate::api::parse_duration;
use crate::connect::Proxy;
use crate::controller::{BesideCache, CacheKeys, Operator, OperatorConfig};
use crate::index::ObjectKey;
use crate::leader::{Candidate, CandidateConfig, Leader, Leadership};
use crate::server::{self, Stage};
use crate::settings::Settings;
use crate::telemetry::{LogFormat, Metrics, init_logs};

/// Serve requests for credentials until stopped.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Serve the ConnectServers and CredentialPolicies of this class.
    #[arg(long, env = "PORTCULLIS_CONTROLLER_CLASS", default_value = "")]
    controller_class: String,
    /// Serve the requests of these namespaces alone, separated by commas; of all when absent.
    #[arg(long, env = "PORTCULLIS_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// The operator's own namespace, which holds its keys and the Connect tokens.
    #[arg(long, env = "PORTCULLIS_OPERATOR_NAMESPACE", default_value = "portcullis")]
    operator_namespace: String,
    /// A folder with the keys that seal the cache where it survives a restart, one a file of 32 bytes or more; the
    /// one whose name sorts last seals.
    #[arg(long, env = "PORTCULLIS_CACHE_KEYS_DIR", conflicts_with = "cache_keys_secret")]
    cache_keys_dir: Option<PathBuf>,
    /// The same as entries of a Secret, NAMESPACE/NAME.
    #[arg(long, env = "PORTCULLIS_CACHE_KEYS_SECRET", value_parser = object_key)]
    cache_keys_secret: Option<ObjectKey>,
    /// Use that Secret also where it lies in the operator's own namespace, where the cache lies: who may read
    /// Secrets there then has both.
    #[arg(long, env = "PORTCULLIS_CACHE_KEYS_BESIDE_CACHE", requires = "cache_keys_secret")]
    cache_keys_beside_cache: bool,
    /// Reach Connect by the proxies that HTTPS_PROXY, NO_PROXY and so on name; directly when absent.
    #[arg(long, env = "PORTCULLIS_CONNECT_PROXY_FROM_ENVIRONMENT")]
    connect_proxy_from_environment: bool,
    /// Those who write requests on behalf of others, separated by commas, such as the ServiceAccount of Argo CD or
    /// Flux: user names, in which * stands for any run of characters. A request that one of them wrote counts as of
    /// somebody unknown.
    #[arg(long, env = "PORTCULLIS_DELEGATES", value_delimiter = ',')]
    delegates: Vec<String>,
    /// The ValidatingAdmissionPolicy, and binding of the same name, by which the API server vouches for who wrote a
    /// request. Without it, or while it is not in force, nobody counts as verified.
    #[arg(long, env = "PORTCULLIS_REQUESTED_BY_POLICY")]
    requested_by_policy: Option<String>,
    /// The ValidatingAdmissionPolicies, each with a binding of the same name, that keep others from writing what is the
    /// operator's to write, separated by commas. It says when one is not in force.
    #[arg(long, env = "PORTCULLIS_ADMISSION_POLICIES", value_delimiter = ',')]
    admission_policies: Vec<String>,
    /// How long after the installation it learns what is usual, such as 336h. What is unusual alerts by then, and
    /// neither denies nor defers.
    #[arg(long, env = "PORTCULLIS_LEARNING_PERIOD", default_value = "336h", value_parser = duration)]
    learning_period: Duration,
    /// The Lease, in the operator's own namespace, that one of several replicas holds: that one works, and the others stand
    /// by. Without it no other operator of the class may run.
    #[arg(long, env = "PORTCULLIS_LEASE")]
    lease: Option<String>,
    /// A name that no other replica has, such as that of its pod with the pod's UID. A process that starts under the name
    /// of the holder takes the Lease at once. The host's name and a random number when absent.
    #[arg(long, env = "PORTCULLIS_REPLICA", requires = "lease")]
    replica: Option<String>,
    #[command(flatten)]
    audit: AuditFlags,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "PORTCULLIS_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The form of the log on stderr.
    #[arg(long, env = "PORTCULLIS_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged, such as info,portcullis=debug.
    #[arg(long, env = "PORTCULLIS_LOG", default_value = "info")]
    log: String,
}

/// Why the operator does not run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Log(#[from] crate::telemetry::LogError),
    #[error("no Kubernetes to talk to: neither a kubeconfig nor a ServiceAccount was found")]
    Config(#[from] kube::config::InferConfigError),
    #[error("no client for Kubernetes can be made of this configuration")]
    Client(#[from] kube::Error),
    #[error("{0} cannot be listened on: {1}")]
    Listen(SocketAddr, io::Error),
    #[error(transparent)]
    Start(#[from] crate::controller::StartError),
    #[error("a part of the operator ended by itself; its log says why. It must be started again")]
    Ended,
    #[error("the Lease was lost, and another replica may work. It must be started again")]
    LeaseLost,
    #[error("the process cannot be set up: {0}")]
    Process(#[from] io::Error),
}

/// Reads NAMESPACE/NAME.
fn object_key(text: &str) -> Result<ObjectKey, &'static str> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(ObjectKey::new(namespace, name))
        }
        Some(_) | None => Err("it must be NAMESPACE/NAME"),
    }
}

/// Reads a duration as Kubernetes spells it.
fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("it must be a duration such as 336h or 1h30m")
}

impl Run {
    pub(super) fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let result =
            runtime.map_err(RunError::from).and_then(|runtime| runtime.block_on(self.serve()));
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }

    async fn serve(self) -> Result<(), RunError> {
        init_logs(self.log_format, &self.log)?;
        // The text of a panic may hold anything, a value too: only its place is told.
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panicked");
        }));
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let metrics = Arc::new(Metrics::new());
        let mut config = Config::infer().await?;
        // A write that is sent again later would be sent under a grant that was not looked at again.
        config.default_retry = false;
        let client = Client::try_from(config.clone())?;
        let listener =
            TcpListener::bind(self.listen).await.map_err(|e| RunError::Listen(self.listen, e))?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            class = self.controller_class,
            namespaces = if self.namespaces.is_empty() { "all".to_owned() } else { self.namespaces.join(",") },
            listen = %self.listen,
            "portcullis starts"
        );
        let settings = Settings { learning: self.learning_period, ..Settings::default() };
        let audit = self.audit.config()?;
        let (stage, staged) = watch::channel(Stage::Starting);
        let mut serving = tokio::spawn(server::serve(listener, staged, metrics.clone()));
        let leader = match self.lease {
            Some(lease) => {
                let candidate = Candidate::new(CandidateConfig {
                    client: Client::try_from(config)?,
                    namespace: self.operator_namespace.clone(),
                    lease,
                    replica: self.replica.unwrap_or_else(some_name),
                    timing: settings.lease,
                    metrics: metrics.clone(),
                });
                tokio::select! {
                    leader = candidate.campaign(|| {
                        stage.send_replace(Stage::StandingBy);
                    }) => Some(leader),
                    _ = terminate.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                    _ = &mut serving => return Err(RunError::Ended),
                }
            }
            None => None,
        };
        stage.send_replace(Stage::Starting);
        let mut operator = Operator::start(OperatorConfig {
            client,
            controller_class: self.controller_class,
            namespaces: self.namespaces.into_iter().filter(|n| !n.is_empty()).collect(),
            operator_namespace: self.operator_namespace,
            requested_by_policy: self.requested_by_policy,
            admission_policies: self.admission_policies,
            delegates: self.delegates.into_iter().filter(|d| !d.is_empty()).collect(),
            proxy: if self.connect_proxy_from_environment {
                Proxy::Environment
            } else {
                Proxy::None
            },
            cache_keys: match (self.cache_keys_dir, self.cache_keys_secret) {
                (Some(folder), _) => CacheKeys::Files(folder),
                (None, Some(secret)) if self.cache_keys_beside_cache => {
                    CacheKeys::Secret { secret, beside: BesideCache::Allowed }
                }
                (None, Some(secret)) => CacheKeys::Secret { secret, beside: BesideCache::Refused },
                (None, None) => CacheKeys::Ephemeral,
            },
            environment: Arc::new(|variable| std::env::var(variable).ok()),
            settings,
            audit,
            leadership: leader.as_ref().map_or_else(Leadership::alone, Leader::leadership),
            metrics: metrics.clone(),
        })
        .await?;
        stage.send_replace(Stage::Working(operator.readiness()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = lost(leader.as_ref()) => return Err(RunError::LeaseLost),
            () = operator.failed() => return Err(RunError::Ended),
            _ = &mut serving => return Err(RunError::Ended),
        }
        tracing::info!("portcullis stops");
        operator.shutdown().await;
        if let Some(leader) = leader {
            leader.release().await;
        }
        serving.abort();
        Ok(())
    }
}

/// Waits until the Lease is lost, which never happens where there is none.
async fn lost(leader: Option<&Leader>) {
    match leader {
        Some(leader) => leader.lost().await,
        None => std::future::pending().await,
    }
}

/// A name that no other replica has.
fn some_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:016x}", host.trim(), rand::random::<u64>())
}
