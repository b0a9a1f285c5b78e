use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use portcullis_test_support::Bed;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::kube::api::{ListParams, PostParams};
use portcullis_test_support::portcullis::api::CredentialRequest;
use serde_json::json;

/// How many requests are applied at the same time: the API server of the bench takes no more.
const AT_ONCE: usize = 16;

/// Requests, each for an item of its own, over vaults.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) vaults: usize,
    keys: usize,
}

impl Load {
    pub(crate) fn new(requests: usize, vaults: usize, keys: usize) -> Self {
        let requests = requests.max(1);
        Self { requests, vaults: vaults.clamp(1, requests), keys: keys.max(1) }
    }

    /// How long all of it may take on a slow machine.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(60) + Duration::from_millis(100) * self.requests as u32
    }

    /// The vault of a request's item.
    pub(crate) fn vault(&self, number: usize) -> String {
        format!("vault-{}", number % self.vaults)
    }

    /// Fills the vaults.
    pub(crate) fn fill(&self, bed: &Bed) -> anyhow::Result<()> {
        for vault in 0..self.vaults {
            bed.connect.add_vault(&format!("vault-{vault}"))?;
        }
        for number in 0..self.requests {
            self.fill_item(bed, &self.vault(number), &format!("item-{number}"))?;
        }
        Ok(())
    }

    /// Adds an item to a vault.
    pub(crate) fn fill_item(&self, bed: &Bed, vault: &str, title: &str) -> anyhow::Result<()> {
        let fields = (0..self.keys).fold(ItemSpec::new(title), |item, key| {
            item.field(&format!("field-{key}"), &format!("{}-{title}-{key}", bed.canary()))
        });
        bed.connect.add_item(vault, fields)?;
        Ok(())
    }

    /// Creates a request for an item.
    pub(crate) async fn create(
        &self,
        bed: &Bed,
        name: &str,
        vault: &str,
        item: &str,
    ) -> anyhow::Result<()> {
        let data: Vec<_> = (0..self.keys)
            .map(|key| json!({"key": format!("key-{key}"), "ref": format!("op://{vault}/{item}/field-{key}")}))
            .collect();
        let request: CredentialRequest = serde_json::from_value(json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
            "metadata": {"name": name},
            "spec": {"serverRef": {"name": bed.server}, "purpose": "to be measured", "data": data},
        }))?;
        bed.requests()
            .create(&PostParams::default(), &request)
            .await
            .with_context(|| format!("request {name} was refused"))?;
        Ok(())
    }

    /// Creates all requests.
    pub(crate) async fn create_all(&self, bed: &Bed) -> anyhow::Result<()> {
        let all = (0..self.requests).map(|number| async move {
            let (name, item) = (format!("request-{number}"), format!("item-{number}"));
            self.create(bed, &name, &self.vault(number), &item).await
        });
        at_once(all).await
    }
}

/// Does all of it, a few at the same time.
pub(crate) async fn at_once(
    all: impl Iterator<Item = impl Future<Output = anyhow::Result<()>>>,
) -> anyhow::Result<()> {
    stream::iter(all).buffer_unordered(AT_ONCE).try_collect().await
}

/// Waits until so many requests are ready.
pub(crate) async fn all_ready(bed: &Bed, count: usize, patience: Duration) -> anyhow::Result<()> {
    until(&format!("{count} ready requests"), patience, async || {
        let requests = bed.requests().list(&ListParams::default()).await?;
        Ok(requests.iter().filter(|r| is_ready(r)).count() >= count)
    })
    .await
}

fn is_ready(request: &CredentialRequest) -> bool {
    let conditions = request.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Looks every now and then until something holds: seldom, so that the looks are not what is measured.
pub(crate) async fn until(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "no {what} within {patience:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
