use std::sync::Arc;

use anyhow::Context as _;
use portcullis_test_support::kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_test_support::kube::{Client, Config};
use portcullis_test_support::portcullis::audit::AuditSink;
use portcullis_test_support::portcullis::connect::Proxy;
use portcullis_test_support::portcullis::controller::{CacheKeys, Operator, OperatorConfig};
use portcullis_test_support::portcullis::settings::Settings;
use portcullis_test_support::portcullis::telemetry::Metrics;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Runs an operator with the settings of production, as the first line of stdin says, until stdin closes. A process of its own, so that
/// its memory is its own.
pub(crate) async fn run() -> anyhow::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line).await?;
    let config: Value = serde_json::from_str(&line)?;
    let text = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
    let kubeconfig =
        Kubeconfig::from_yaml(&text("kubeconfig")).context("the kubeconfig cannot be read")?;
    let kube = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let metrics = Arc::new(Metrics::new());
    let operator = Operator::start(OperatorConfig {
        client: Client::try_from(kube)?,
        controller_class: text("class"),
        namespaces: vec![text("namespace")],
        operator_namespace: text("operatorNamespace"),
        proxy: Proxy::None,
        cache_keys: CacheKeys::Ephemeral,
        environment: Arc::new(|_| None),
        settings: Settings::default(),
        audit: AuditSink::new(Box::new(std::io::sink()), metrics.clone()),
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
