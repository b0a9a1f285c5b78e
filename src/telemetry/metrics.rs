use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{AuditMetrics, CacheMetrics, DecisionMetrics, LeaderMetrics};
use crate::api::Reason;

/// Every metric of the operator. Labels come from closed sets, or name a ConnectServer, a CredentialPolicy or a rule of one.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReasonLabel, Counter>,
    reconcile_seconds: Histogram,
    secret_changes: Family<ChangeLabel, Counter>,
    api_writes: Family<WriteLabels, Counter>,
    connect_requests: Family<CallLabels, Counter>,
    connect_seconds: Family<OperationLabel, Histogram>,
    connect_breaker_open: Family<HostLabels, Gauge>,
    /// The hosts with a series of the family before, by server.
    connect_hosts: Mutex<BTreeMap<String, BTreeSet<String>>>,
    poll_timestamp: Family<ServerLabel, Gauge<f64, AtomicU64>>,
    queue: Family<LaneLabel, Gauge>,
    requests: Gauge,
    stale_requests: Gauge,
    oldest_stale: Gauge<f64, AtomicU64>,
    oldest_wait: Gauge<f64, AtomicU64>,
    panics: Counter,
    requester_guard: Gauge,
    admission_policies: Family<GuardLabels, Gauge>,
    events_dropped: Counter,
    /// Decisions, and what they are weighed by.
    pub decisions: DecisionMetrics,
    /// The audit stream.
    pub audit: AuditMetrics,
    /// What is fetched and kept.
    pub cache: CacheMetrics,
    /// The Lease.
    pub leader: LeaderMetrics,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChangeLabel {
    change: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    verb: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    server: String,
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HostLabels {
    server: String,
    host: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GuardLabels {
    policy: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LaneLabel {
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A set of metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("portcullis"),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
            secret_changes: Family::default(),
            api_writes: Family::default(),
            connect_requests: Family::default(),
            connect_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 14))
            }),
            connect_breaker_open: Family::default(),
            connect_hosts: Mutex::default(),
            poll_timestamp: Family::default(),
            queue: Family::default(),
            requests: Gauge::default(),
            stale_requests: Gauge::default(),
            oldest_stale: Gauge::default(),
            oldest_wait: Gauge::default(),
            panics: Counter::default(),
            requester_guard: Gauge::default(),
            admission_policies: Family::default(),
            events_dropped: Counter::default(),
            decisions: DecisionMetrics::new(),
            audit: AuditMetrics::new(),
            cache: CacheMetrics::new(),
            leader: LeaderMetrics::new(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "reconciles",
            "Reconciles by the reason of Ready afterwards",
            self.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciles take",
            Unit::Seconds,
            self.reconcile_seconds.clone(),
        );
        registry.register("secret_changes", "Changes made to Secrets", self.secret_changes.clone());
        registry.register("api_writes", "Writes to the API server", self.api_writes.clone());
        registry.register(
            "connect_requests",
            "Requests to Connect by what came of them",
            self.connect_requests.clone(),
        );
        registry.register_with_unit(
            "connect_request_duration",
            "How long requests to Connect take",
            Unit::Seconds,
            self.connect_seconds.clone(),
        );
        registry.register(
            "connect_breaker_open",
            "1 while a host of Connect is left alone because it seems to be down",
            self.connect_breaker_open.clone(),
        );
        registry.register_with_unit(
            "last_poll_timestamp",
            "When a server last answered a poll, as a Unix time",
            Unit::Seconds,
            self.poll_timestamp.clone(),
        );
        registry.register("queue", "Requests by where they are in the queue", self.queue.clone());
        registry.register_with_unit(
            "queue_oldest_wait",
            "How long the request that waits longest has been queued",
            Unit::Seconds,
            self.oldest_wait.clone(),
        );
        registry.register("requests", "Requests that are known", self.requests.clone());
        registry.register(
            "stale_requests",
            "Requests whose Secret is not confirmed by 1Password at present",
            self.stale_requests.clone(),
        );
        registry.register_with_unit(
            "oldest_stale",
            "How long the Secret that is unconfirmed longest has been so",
            Unit::Seconds,
            self.oldest_stale.clone(),
        );
        registry.register(
            "requester_guard",
            "1 while the admission policy is in force that vouches for requesters",
            self.requester_guard.clone(),
        );
        registry.register(
            "admission_policy_in_force",
            "1 while the admission policy and its binding are there and deny",
            self.admission_policies.clone(),
        );
        registry.register("reconcile_panics", "Reconciles that panicked", self.panics.clone());
        registry.register(
            "events_dropped",
            "Kubernetes Events that were not sent",
            self.events_dropped.clone(),
        );
        self.decisions.register(registry);
        self.audit.register(registry);
        self.leader.register(registry);
        self.cache.register(registry);
    }

    /// The metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// A reconcile has come to something.
    pub fn reconciled(&self, reason: Reason) {
        self.reconciles.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// A reconcile has taken a time.
    pub fn reconcile_took(&self, took: Duration) {
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// A reconcile has panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A Secret was changed.
    pub fn secret_changed(&self, change: &'static str) {
        self.secret_changes.get_or_create(&ChangeLabel { change }).inc();
    }

    /// A write to the API server has ended.
    pub fn wrote(&self, kind: &'static str, verb: &'static str, result: &'static str) {
        self.api_writes.get_or_create(&WriteLabels { kind, verb, result }).inc();
    }

    /// A request to Connect has ended.
    pub fn connect_called(
        &self,
        server: &str,
        operation: &'static str,
        code: &'static str,
        took: Duration,
    ) {
        let labels = CallLabels { server: server.to_owned(), operation, code };
        self.connect_requests.get_or_create(&labels).inc();
        self.connect_seconds
            .get_or_create(&OperationLabel { operation })
            .observe(took.as_secs_f64());
    }

    /// A host of a server is asked.
    pub fn breaker_closed(&self, server: &str, host: &str) {
        self.set_breaker(server, host, 0);
    }

    /// A host of a server is left alone, since it seems to be down.
    pub fn breaker_opened(&self, server: &str, host: &str) {
        self.set_breaker(server, host, 1);
    }

    fn set_breaker(&self, server: &str, host: &str, value: i64) {
        let mut hosts = self.connect_hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(server.to_owned()).or_default().insert(host.to_owned());
        let labels = HostLabels { server: server.to_owned(), host: host.to_owned() };
        self.connect_breaker_open.get_or_create(&labels).set(value);
    }

    /// A server has other hosts from now on: so are its series.
    pub fn forget_breakers(&self, server: &str) {
        let mut hosts = self.connect_hosts.lock().unwrap_or_else(PoisonError::into_inner);
        for host in hosts.remove(server).unwrap_or_default() {
            let labels = HostLabels { server: server.to_owned(), host };
            self.connect_breaker_open.remove(&labels);
        }
    }

    /// A server has answered a poll, at a Unix time.
    pub fn polled(&self, server: &str, unix_seconds: f64) {
        self.poll_timestamp
            .get_or_create(&ServerLabel { server: server.to_owned() })
            .set(unix_seconds);
    }

    /// A server is gone: so is its series.
    pub fn forget_server(&self, server: &str) {
        self.forget_breakers(server);
        self.poll_timestamp.remove(&ServerLabel { server: server.to_owned() });
    }

    /// How many requests are in a state of the queue.
    pub fn queued(&self, state: &'static str, count: usize) {
        self.queue
            .get_or_create(&LaneLabel { state })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How long the request that waits longest has been queued.
    pub fn oldest_waits(&self, wait: Duration) {
        self.oldest_wait.set(wait.as_secs_f64());
    }

    /// How many requests are known.
    pub fn known_requests(&self, count: usize) {
        self.requests.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many requests have a Secret that is not confirmed at present, and for how long the first of them.
    pub fn stale_requests(&self, count: usize, oldest: Duration) {
        self.stale_requests.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.oldest_stale.set(oldest.as_secs_f64());
    }

    /// Whether an admission policy is in force.
    pub fn admission_policy(&self, policy: &str, is_in_force: bool) {
        let labels = GuardLabels { policy: policy.to_owned() };
        self.admission_policies.get_or_create(&labels).set(i64::from(is_in_force));
    }

    /// Whether the admission policy is in force that vouches for requesters.
    pub fn requester_guarded(&self, is_guarded: bool) {
        self.requester_guard.set(i64::from(is_guarded));
    }

    /// An Event was dropped.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_breakers_of_a_server_are_told_and_its_breakers_forgotten() {
        let metrics = Metrics::new();
        metrics.connect_called("default", "vaults", "2xx", Duration::from_millis(3));
        metrics.breaker_closed("default", "https://a");
        metrics.breaker_opened("default", "https://b");
        metrics.breaker_opened("other", "https://b");
        let text = metrics.encode();
        for line in [
            r#"portcullis_connect_requests_total{server="default",operation="vaults",code="2xx"} 1"#,
            r#"portcullis_connect_request_duration_seconds_count{operation="vaults"} 1"#,
            r#"portcullis_connect_breaker_open{server="default",host="https://a"} 0"#,
            r#"portcullis_connect_breaker_open{server="default",host="https://b"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
        metrics.forget_server("default");
        let text = metrics.encode();
        assert!(!text.contains(r#"breaker_open{server="default""#), "{text}");
        assert!(text.contains(r#"breaker_open{server="other",host="https://b"} 1"#), "{text}");
    }
}
