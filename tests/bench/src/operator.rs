//! The operator that is measured, in a process of its own, so that its memory is its own.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use portcullis_test_support::Bed;
use portcullis_test_support::kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_test_support::kube::{Client, Config};
use portcullis_test_support::portcullis::audit::{AuditConfig, OnFailure, StreamSink};
use portcullis_test_support::portcullis::connect::Proxy;
use portcullis_test_support::portcullis::controller::{CacheKeys, Operator, OperatorConfig};
use portcullis_test_support::portcullis::leader::Leadership;
use portcullis_test_support::portcullis::settings::Settings;
use portcullis_test_support::portcullis::telemetry::Metrics;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The second process, seen from the first.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a bed's operator with the settings of production, and waits until it is ready.
    pub(crate) async fn start(bed: &Bed) -> anyhow::Result<Self> {
        Self::start_faster(bed, 1).await
    }

    /// The same with time that passes so many times faster.
    pub(crate) async fn start_faster(bed: &Bed, times: u32) -> anyhow::Result<Self> {
        let config = json!({
            "kubeconfig": bed.service_account_kubeconfig().await,
            "class": bed.class,
            "namespace": bed.namespace,
            "operatorNamespace": bed.operator_namespace,
            "faster": times,
        });
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--operator")
            // glibc keeps a heap for each thread otherwise; the image has no glibc.
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the operator does not start")?;
        let input = child.stdin.as_mut().context("the operator has no input")?;
        input.write_all(format!("{config}\n").as_bytes()).await?;
        let out = child.stdout.take().context("the operator has no output")?;
        let line =
            tokio::time::timeout(PATIENCE, BufReader::new(out).lines().next_line()).await??;
        ensure!(line.as_deref() == Some("ready"), "the operator did not become ready");
        Ok(Self(child))
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.0.wait()).await??;
        ensure!(ended.success(), "the operator ended badly");
        Ok(())
    }

    /// A figure of its memory in MiB: `VmRSS`, what it holds now, or `VmHWM`, the most that it ever held.
    pub(crate) fn memory_mib(&self, figure: &str) -> anyhow::Result<f64> {
        let id = self.0.id().context("the operator has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(figure)?.strip_prefix(':'))
            .with_context(|| format!("no {figure}"))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

/// Runs an operator as the first line of stdin says, until stdin closes.
pub(crate) async fn run() -> anyhow::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line).await?;
    let config: Value = serde_json::from_str(&line)?;
    let text = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
    let kubeconfig =
        Kubeconfig::from_yaml(&text("kubeconfig")).context("the kubeconfig cannot be read")?;
    let kube = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let faster = u32::try_from(config["faster"].as_u64().unwrap_or(1))?;
    let metrics = Arc::new(Metrics::new());
    let operator = Operator::start(OperatorConfig {
        client: Client::try_from(kube)?,
        controller_class: text("class"),
        namespaces: vec![text("namespace")],
        operator_namespace: text("operatorNamespace"),
        delegates: Vec::new(),
        requested_by_policy: None,
        admission_policies: Vec::new(),
        proxy: Proxy::None,
        cache_keys: CacheKeys::Ephemeral,
        environment: Arc::new(|_| None),
        settings: settings(faster),
        audit: AuditConfig {
            sink: Box::new(StreamSink::new(Box::new(std::io::sink()))),
            on_failure: OnFailure::Block,
        },
        leadership: Leadership::alone(),
        metrics,
    })
    .await?;
    operator.readiness().ready().await;
    #[expect(clippy::print_stdout, reason = "the process that started this one waits for the line")]
    {
        println!("ready");
    }
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    operator.shutdown().await;
    Ok(())
}

/// The settings of production, with everything that recurs or runs out so many times sooner. What a real
/// part may take to answer, and what follows a failure, stays.
fn settings(faster: u32) -> Settings {
    let full = Settings::default();
    if faster == 1 {
        return full;
    }
    Settings {
        poll_interval: full.poll_interval / faster,
        look_interval: full.look_interval / faster,
        relist_interval: full.relist_interval / faster,
        health_interval: full.health_interval / faster,
        refusal_confirm: full.refusal_confirm / faster,
        max_staleness: full.max_staleness / faster,
        // Each second of an ordinary day would be too often.
        cache_sweep: Duration::from_millis(10),
        ..full
    }
}
