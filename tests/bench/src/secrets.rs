use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use portcullis_test_support::Bed;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The Secrets of a bed's tenant as a watch tells of them, and when it did.
pub(crate) struct Secrets {
    seen: watch::Receiver<HashMap<String, Seen>>,
    task: JoinHandle<()>,
}

/// The last of a Secret.
pub(crate) struct Seen {
    /// When the watch told of it.
    pub(crate) at: Instant,
    /// The value of `key-0`.
    value: Vec<u8>,
}

impl Seen {
    /// Whether `key-0` has a value.
    pub(crate) fn has(&self, value: &str) -> bool {
        self.value == value.as_bytes()
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secrets {
    /// Starts to watch.
    pub(crate) fn watch(bed: &Bed) -> Self {
        let (told, seen) = watch::channel(HashMap::new());
        let secrets = watcher(bed.secrets(), watcher::Config::default()).applied_objects();
        let task = tokio::spawn(async move {
            let mut secrets = std::pin::pin!(secrets.filter_map(async |secret| secret.ok()));
            while let Some(secret) = secrets.next().await {
                told.send_modify(|seen| note(seen, secret));
            }
        });
        Self { seen, task }
    }

    /// Waits until everything seen so far is as `is` says; what that gives.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut is: impl FnMut(&HashMap<String, Seen>) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut found = None;
        let mut seen = self.seen.clone();
        let wait = seen.wait_for(|seen| {
            found = is(seen);
            found.is_some()
        });
        tokio::time::timeout(patience, wait)
            .await
            .with_context(|| format!("no {what} within {patience:?}"))?
            .context("the watch of Secrets ended")?;
        found.context("nothing was found")
    }
}

fn note(seen: &mut HashMap<String, Seen>, secret: Secret) {
    let Some(name) = secret.metadata.name else { return };
    let value = secret.data.and_then(|mut data| data.remove("key-0")).unwrap_or_default().0;
    let seen_now = Seen { at: Instant::now(), value };
    // A write that leaves the value as it is does not make it a newer one.
    match seen.get(&name) {
        Some(before) if before.value == seen_now.value => {}
        _ => {
            seen.insert(name, seen_now);
        }
    }
}
