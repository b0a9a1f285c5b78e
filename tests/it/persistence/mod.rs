//! What the cache keeps over a restart of the operator: sealed records in the operator's namespace, which serve
//! in an outage to whoever has the key, and to nobody if they are not just what was written last.

mod faulty;
mod idle;
mod keys;
mod moved;
mod namesakes;
mod partial;
mod restart;
mod tampered;

use std::fs;
use std::path::PathBuf;

use portcullis::api::{CredentialRequest, Reason, Source};
use portcullis::controller::CacheKeys;
use portcullis_test_support::k8s_openapi::ByteString;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{ListParams, Patch, PatchParams};
use portcullis_test_support::kube::{Api, ResourceExt as _};
use portcullis_test_support::{Bed, OperatorOptions, TestOperator, condition, wait};
use serde_json::json;

/// The metric of records that were written, read, or not used.
const PERSISTED: &str = "portcullis_cache_persisted_total";

/// Keys in a folder, one a file, as a mounted Secret has them. It goes with the value.
struct KeyFolder(PathBuf);

impl KeyFolder {
    /// A folder with one key.
    fn new(bed: &Bed) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("portcullis-keys-{}", bed.class)));
        fs::create_dir(&folder.0).unwrap();
        folder.add(bed, "key-0001");
        folder
    }

    fn add(&self, bed: &Bed, name: &str) {
        fs::write(self.0.join(name), key(bed, name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }

    fn keys(&self) -> CacheKeys {
        CacheKeys::Files(self.0.clone())
    }

    /// The bed's operator, with these keys.
    async fn operator(&self, bed: &Bed) -> TestOperator {
        operator_with(bed, self.keys()).await
    }
}

impl Drop for KeyFolder {
    fn drop(&mut self) {
        // It is in the folder for what is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What passes for a key.
fn key(bed: &Bed, name: &str) -> String {
    format!("{}-{name}-this-is-no-real-key", bed.canary())
}

async fn operator_with(bed: &Bed, cache_keys: CacheKeys) -> TestOperator {
    bed.operator_of(OperatorOptions { cache_keys, ..OperatorOptions::default() }).await
}

/// A bed whose server keeps its cache in Secrets.
async fn keeping(name: &str) -> Bed {
    let bed = Bed::new(name).await;
    bed.patch_server(json!({"spec": {"cache": {"persistence": "Secret"}}})).await;
    bed
}

fn operator_secrets(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), &bed.operator_namespace)
}

/// The records of the bed's server.
async fn records(bed: &Bed) -> Vec<Secret> {
    let labelled = ListParams::default().labels("portcullis.dev/purpose=cache");
    operator_secrets(bed).list(&labelled).await.unwrap().items
}

/// The record of a vault, if there is one.
async fn record_of(bed: &Bed, vault: &str) -> Option<Secret> {
    let id = bed.connect.vault_id(vault).unwrap();
    records(bed).await.into_iter().find(|secret| secret.name_any().ends_with(&id))
}

fn bytes(record: &Secret) -> Vec<u8> {
    record.data.as_ref().unwrap()["record"].0.clone()
}

/// Puts other bytes into a record.
async fn overwrite(bed: &Bed, name: &str, bytes: Vec<u8>) {
    let patch = json!({"data": {"record": ByteString(bytes)}});
    operator_secrets(bed).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The number of the last record of a vault as the server's status has it; 0 when there was none.
async fn epoch(bed: &Bed, vault: &str) -> i64 {
    let id = bed.connect.vault_id(vault).unwrap();
    let epochs = bed.get_server().await.status.unwrap_or_default().cache_epochs;
    epochs.iter().find(|e| e.vault == id).map_or(0, |e| e.epoch)
}

/// Waits until status tells of a record of a vault after one of a number; the record.
async fn wait_record(bed: &Bed, vault: &str, after: i64) -> Secret {
    wait::until(&format!("a record of {vault} after {after}"), wait::WAIT, async || {
        let now = epoch(bed, vault).await;
        let record = record_of(bed, vault).await.filter(|_| now > after);
        record.ok_or_else(|| format!("the last one is {now}"))
    })
    .await
}

/// Waits until a number of records had a result.
async fn wait_persisted(operator: &TestOperator, result: &str, times: f64) {
    wait::until(&format!("{times} records to be {result}"), wait::WAIT, async || {
        let seen = operator.metric(PERSISTED, &[("result", result)]);
        if seen >= times { Ok(()) } else { Err(format!("{seen}")) }
    })
    .await;
}

/// An operator delivers `orders`, keeps its value, and ends; then Connect is gone. The record.
async fn ended_in_an_outage(bed: &Bed, folder: &KeyFolder) -> Secret {
    let operator = folder.operator(bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let record = wait_record(bed, "services", 0).await;
    operator.stop().await;
    bed.connect.stop();
    record
}

/// Waits for a request to be served from the cache.
async fn wait_served(bed: &Bed, name: &str) -> CredentialRequest {
    let served = |r: &CredentialRequest| {
        let is_ready = condition(r, "Ready")
            .is_some_and(|c| c.status == "True" && c.reason == Reason::ServedFromCache.as_str());
        let sync = r.status.as_ref().and_then(|s| s.sync.as_ref());
        is_ready && sync.is_some_and(|s| s.source == Source::Cache)
    };
    bed.wait_request(name, "to be served from the cache", served).await
}

/// Has a new request find nothing that may serve it: it is not ready, and has no Secret.
async fn assert_nothing_serves(bed: &Bed, name: &str) {
    bed.request(name, |_| {}).await;
    let request = bed.wait_reason(name, Reason::ConnectUnavailable).await;
    assert_eq!(condition(&request, "Ready").unwrap().status, "False");
    assert!(bed.secret(name).await.is_none());
}

/// Has Connect back, and a request brought to what it holds.
async fn assert_heals(bed: &Bed, name: &str, password: &str) {
    bed.connect.reset_requests();
    bed.connect.restart().unwrap();
    wait_synced(bed, name).await;
    bed.wait_value(name, "password", password).await;
    // It takes the item at most, a list of each of two vaults, and the polls.
    let asked = bed.connect.requests();
    let route = |route| asked.route(route);
    let items = route("GET /v1/vaults/{v}/items/{i}");
    let (lists, polls) = (route("GET /v1/vaults/{v}/items"), route("GET /v1/vaults"));
    assert!(items <= 2 && lists <= 2 * polls, "{:?}", asked.by_route);
}

async fn wait_synced(bed: &Bed, name: &str) -> CredentialRequest {
    let synced = |r: &CredentialRequest| {
        let sync = r.status.as_ref().and_then(|s| s.sync.as_ref());
        let is_from_connect =
            sync.is_some_and(|s| s.source == Source::Connect && s.stale_since.is_none());
        is_from_connect && condition(r, "Synced").is_some_and(|c| c.status == "True")
    };
    bed.wait_request(name, "to be synced from Connect", synced).await
}
