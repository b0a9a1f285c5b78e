//! An operator in the test's own process, with the rights that `deploy/` gives.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis::audit::{AuditConfig, OnFailure, Sink, StreamSink};
use portcullis::connect::Proxy;
use portcullis::controller::{CacheKeys, Operator, OperatorConfig};
use portcullis::leader::Leadership;
use portcullis::settings::Settings;
use portcullis::telemetry::Metrics;
use serde_json::Value;

use crate::bed::Bed;

/// What an operator is told.
pub struct OperatorOptions {
    /// Intervals and limits.
    pub settings: Settings,
    /// Where the keys of the cache come from.
    pub cache_keys: CacheKeys,
    /// The namespaces that it serves besides the bed's own.
    pub namespaces: Vec<String>,
    /// Those who write requests on behalf of others.
    pub delegates: Vec<String>,
    /// The admission policy that vouches for who wrote a request.
    pub requested_by_policy: Option<String>,
    /// The admission policies that stand guard.
    pub admission_policies: Vec<String>,
    /// The variables of its environment.
    pub environment: BTreeMap<String, String>,
    /// Where its audit records go, if not to [`TestOperator::audit`].
    pub audit: Option<Box<dyn Sink>>,
    /// What happens when they cannot be written.
    pub on_audit_failure: OnFailure,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self {
            settings: Settings::for_tests(),
            cache_keys: CacheKeys::Ephemeral,
            delegates: Vec::new(),
            requested_by_policy: None,
            admission_policies: Vec::new(),
            namespaces: Vec::new(),
            environment: BTreeMap::new(),
            audit: None,
            on_audit_failure: OnFailure::Block,
        }
    }
}

/// A running operator, and what it recorded.
pub struct TestOperator {
    operator: Operator,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// Its audit lines.
    pub audit: AuditLines,
}

/// The audit lines of an operator, as far as they have been written.
#[derive(Clone, Default)]
pub struct AuditLines(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>);

impl Write for AuditLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AuditLines {
    /// Has every line fail from now on, or none.
    pub fn set_broken(&self, state: bool) {
        self.1.store(state, Ordering::SeqCst);
    }

    /// The lines as text.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of one kind, `decision`, `intent` or `write`, about a request.
    #[must_use]
    pub fn of(&self, kind: &str, request: &str) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).expect("an audit line is JSON"))
            .filter(|line: &Value| line["kind"] == kind && line["request"]["name"] == request)
            .collect()
    }
}

impl Bed {
    /// Starts the bed's operator at the tests' scale of time, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn operator(&self) -> TestOperator {
        self.operator_with(Settings::for_tests()).await
    }

    /// The same with other settings.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn operator_with(&self, settings: Settings) -> TestOperator {
        Box::pin(self.operator_of(OperatorOptions { settings, ..OperatorOptions::default() })).await
    }

    /// The same with everything that an operator can be told.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn operator_of(&self, options: OperatorOptions) -> TestOperator {
        let metrics = Arc::new(Metrics::new());
        let audit = AuditLines::default();
        let sink =
            options.audit.unwrap_or_else(|| Box::new(StreamSink::new(Box::new(audit.clone()))));
        let start = Operator::start(OperatorConfig {
            client: self.service_account_client().await,
            controller_class: self.class.clone(),
            namespaces: [vec![self.namespace.clone()], options.namespaces].concat(),
            operator_namespace: self.operator_namespace.clone(),
            delegates: options.delegates,
            requested_by_policy: options.requested_by_policy,
            admission_policies: options.admission_policies,
            proxy: Proxy::None,
            cache_keys: options.cache_keys,
            environment: Arc::new(move |name| options.environment.get(name).cloned()),
            settings: options.settings,
            audit: AuditConfig { sink, on_failure: options.on_audit_failure },
            leadership: Leadership::alone(),
            metrics: metrics.clone(),
        });
        // Futures of tests hold many of these.
        let operator = Box::pin(start).await.expect("the operator starts");
        let ready = operator.readiness();
        tokio::time::timeout(Duration::from_secs(30), ready.ready())
            .await
            .expect("the operator becomes ready");
        TestOperator { operator, metrics, audit }
    }
}

impl TestOperator {
    /// Stops the operator in order.
    pub async fn stop(self) {
        self.operator.shutdown().await;
    }

    /// The value of a metric, summed over the series whose labels hold all of `labels`; 0 when there is none.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.metrics.encode();
        text.lines()
            .filter(|line| {
                line.split(['{', ' ']).next() == Some(name)
                    && labels
                        .iter()
                        .all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}
