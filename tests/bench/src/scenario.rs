use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{Api, ListParams, PostParams};
use portcullis_test_support::portcullis::api::CredentialRequest;
use portcullis_test_support::{Bed, wait};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::figures::{Figures, percentile};

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";
const WAIT: Duration = Duration::from_secs(60);
/// How long an idle operator is watched, and how many polls that is.
const IDLE: Duration = Duration::from_secs(10);

/// A load, and the order in which it is measured.
pub(crate) struct Scenario {
    requests: usize,
    vaults: usize,
    keys: usize,
}

impl Scenario {
    pub(crate) fn new(requests: usize, vaults: usize, keys: usize) -> Self {
        Self { requests: requests.max(1), vaults: vaults.max(1), keys: keys.max(1) }
    }

    pub(crate) async fn run(&self) -> anyhow::Result<Figures> {
        let bed = Bed::new("bench").await;
        self.fill_vaults(&bed)?;
        bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]))
            .await;
        let mut figures = Figures::default();
        let operator = start(&bed).await?;
        self.unloaded(&bed, &mut figures).await?;
        bed.connect.reset_requests();
        self.burst(&bed, &mut figures).await?;
        self.change(&bed, &mut figures).await;
        self.repair(&bed, &mut figures).await;
        idle(&bed, &mut figures).await?;
        figures.add("rss_mib", rss_mib(&operator)?, "MiB");
        restart(&bed, operator, &mut figures).await?;
        Ok(figures)
    }

    fn vault(&self, request: usize) -> String {
        format!("vault-{}", request % self.vaults)
    }

    fn fill_vaults(&self, bed: &Bed) -> anyhow::Result<()> {
        for vault in 0..self.vaults {
            bed.connect.add_vault(&format!("vault-{vault}"))?;
        }
        // One more than the burst needs: the one that is measured alone.
        for request in 0..=self.requests {
            let mut item = ItemSpec::new(&format!("item-{request}"));
            for key in 0..self.keys {
                item = item.field(&format!("field-{key}"), &format!("value-{request}-{key}"));
            }
            bed.connect.add_item(&self.vault(request), item)?;
        }
        Ok(())
    }

    fn request(&self, number: usize) -> anyhow::Result<CredentialRequest> {
        let vault = self.vault(number);
        let data: Vec<_> = (0..self.keys)
            .map(|key| json!({"key": format!("key-{key}"), "ref": format!("op://{vault}/item-{number}/field-{key}")}))
            .collect();
        Ok(serde_json::from_value(json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
            "metadata": {"name": format!("request-{number}")},
            "spec": {"serverRef": {"name": "bench"}, "purpose": "to be measured", "data": data},
        }))?)
    }

    async fn create(&self, bed: &Bed, number: usize) -> anyhow::Result<()> {
        let mut request = self.request(number)?;
        if let Some(server) = &mut request.spec.server_ref {
            server.name.clone_from(&bed.server);
        }
        bed.requests().create(&PostParams::default(), &request).await?;
        Ok(())
    }

    /// Requests that come one at a time: from the answer to the apply to a Secret that can be read.
    async fn unloaded(&self, bed: &Bed, figures: &mut Figures) -> anyhow::Result<()> {
        const ROUNDS: usize = 50;
        // The first one makes the operator list the vault; it is not an ordinary one.
        self.create(bed, self.requests).await?;
        seen(bed, &format!("request-{}", self.requests)).await;
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let mut request = self.request(self.requests)?;
            request.metadata.name = Some(format!("alone-{round}"));
            if let Some(server) = &mut request.spec.server_ref {
                server.name.clone_from(&bed.server);
            }
            let started = Instant::now();
            bed.requests().create(&PostParams::default(), &request).await?;
            seen(bed, &format!("alone-{round}")).await;
            times.push(started.elapsed());
        }
        times.sort();
        figures.add_ms("apply_to_secret_p50_ms", percentile(&times, 0.5));
        figures.add_ms("apply_to_secret_p99_ms", percentile(&times, 0.99));
        for round in 0..ROUNDS {
            bed.delete_request(&format!("alone-{round}")).await;
        }
        Ok(())
    }

    /// All requests at once.
    async fn burst(&self, bed: &Bed, figures: &mut Figures) -> anyhow::Result<()> {
        let started = Instant::now();
        for number in 0..self.requests {
            self.create(bed, number).await?;
        }
        wait::until("every request to be ready", WAIT, async || {
            let requests =
                bed.requests().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
            let ready = requests.iter().filter(|r| is_ready(r)).count();
            if ready > self.requests { Ok(()) } else { Err(format!("{ready} are")) }
        })
        .await;
        figures.add("first_sync_total_s", started.elapsed().as_secs_f64(), "s");
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        figures.add("first_sync_connect_requests", bed.connect.requests().api() as f64, "requests");
        Ok(())
    }

    async fn change(&self, bed: &Bed, figures: &mut Figures) {
        let started = Instant::now();
        bed.connect
            .set_field("vault-0", "item-0", "field-0", "rotated")
            .expect("the item is there");
        bed.wait_value("request-0", "key-0", "rotated").await;
        figures.add_ms("change_to_secret_ms", started.elapsed());
    }

    async fn repair(&self, bed: &Bed, figures: &mut Figures) {
        bed.patch_secret("request-0", json!({"stringData": {"key-0": "edited"}})).await;
        let started = Instant::now();
        bed.wait_value("request-0", "key-0", "rotated").await;
        figures.add_ms("repair_ms", started.elapsed());
    }
}

fn is_ready(request: &CredentialRequest) -> bool {
    let conditions = request.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Waits for a Secret, asking as fast as the API server answers.
async fn seen(bed: &Bed, name: &str) {
    let secrets: Api<Secret> = bed.secrets();
    let deadline = Instant::now() + WAIT;
    while !matches!(secrets.get_metadata_opt(name).await, Ok(Some(_))) {
        assert!(Instant::now() < deadline, "Secret {name} does not come");
    }
}

/// What an operator does to Connect and to the API server while nothing changes.
async fn idle(bed: &Bed, figures: &mut Figures) -> anyhow::Result<()> {
    let before = (writes(bed).await, bed.connect.requests());
    tokio::time::sleep(IDLE).await;
    let after = (writes(bed).await, bed.connect.requests());
    let polls = after.1.route("GET /v1/vaults") - before.1.route("GET /v1/vaults");
    let calls = after.1.api() - before.1.api();
    ensure!(polls > 0, "the operator did not poll");
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    {
        figures.add("idle_poll_connect_requests", calls as f64 / polls as f64, "requests/poll");
        figures.add("idle_api_writes", (after.0 - before.0) as f64, "writes");
    }
    Ok(())
}

/// How often the operator has written anything, by the API server's audit log.
async fn writes(bed: &Bed) -> usize {
    let calls = bed.operator_calls().await;
    let is_write = |verb: &str| !matches!(verb, "get" | "list" | "watch");
    calls.iter().filter(|call| call["verb"].as_str().is_some_and(is_write)).count()
}

async fn restart(bed: &Bed, operator: Child, figures: &mut Figures) -> anyhow::Result<()> {
    let before = versions(bed).await?;
    stop(operator).await?;
    bed.connect.reset_requests();
    let operator = start(bed).await?;
    wait::until("the vaults to be listed again", WAIT, async || {
        let lists = bed.connect.requests().route("GET /v1/vaults/{v}/items");
        if lists > 0 { Ok(()) } else { Err("no list yet".to_owned()) }
    })
    .await;
    // Long enough for what must not come.
    tokio::time::sleep(Duration::from_secs(3)).await;
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    {
        figures.add(
            "restart_secret_writes",
            changed(&before, &versions(bed).await?) as f64,
            "writes",
        );
        figures.add("restart_item_fetches", bed.connect.requests().route(ITEM) as f64, "requests");
    }
    stop(operator).await
}

/// The resourceVersions of all requests and Secrets: every write moves one.
async fn versions(bed: &Bed) -> anyhow::Result<HashMap<String, String>> {
    let requests = bed.requests().list(&ListParams::default()).await?;
    let secrets = bed.secrets().list(&ListParams::default()).await?;
    let requests = requests.into_iter().map(|r| ("request", r.metadata));
    let secrets = secrets.into_iter().map(|s| ("secret", s.metadata));
    Ok(requests
        .chain(secrets)
        .map(|(kind, m)| {
            (
                format!("{kind}/{}", m.name.unwrap_or_default()),
                m.resource_version.unwrap_or_default(),
            )
        })
        .collect())
}

fn changed(before: &HashMap<String, String>, after: &HashMap<String, String>) -> usize {
    after.iter().filter(|(name, version)| before.get(*name) != Some(version)).count()
}

async fn start(bed: &Bed) -> anyhow::Result<Child> {
    let config = json!({
        "kubeconfig": bed.service_account_kubeconfig().await,
        "class": bed.class, "namespace": bed.namespace, "operatorNamespace": bed.operator_namespace,
    });
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--operator")
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the operator does not start")?;
    let input = child.stdin.as_mut().context("the operator has no input")?;
    input.write_all(format!("{config}\n").as_bytes()).await?;
    let out = child.stdout.take().context("the operator has no output")?;
    let line = tokio::time::timeout(WAIT, BufReader::new(out).lines().next_line()).await??;
    ensure!(line.as_deref() == Some("ready"), "the operator did not become ready");
    Ok(child)
}

async fn stop(mut operator: Child) -> anyhow::Result<()> {
    drop(operator.stdin.take());
    ensure!(
        tokio::time::timeout(WAIT, operator.wait()).await??.success(),
        "the operator ended badly"
    );
    Ok(())
}

fn rss_mib(operator: &Child) -> anyhow::Result<f64> {
    let id = operator.id().context("the operator has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
