//! Threat 7: the process is killed at each step of a write. Every change that the API server did is a record that is
//! closed, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, SecretHistory, Seen, wait};
use serde_json::{Value, json};

use super::{Folder, verified};
use crate::program::Program;
use crate::proxy::Proxy;

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

pub(super) fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn of<'r>(records: &'r [Value], kind: &str) -> Vec<&'r Value> {
    records.iter().filter(|r| r["kind"] == kind).collect()
}

async fn wait_records(path: &Path, what: &str, count: usize) {
    wait::until(&format!("{count} records of {what}"), wait::WAIT, async || {
        let found = of(&records(path), what).len();
        if found >= count { Ok(()) } else { Err(format!("{found}")) }
    })
    .await;
}

/// How often the Secret was changed, which the operator alone does. A watch tells: of a call whose client is gone the
/// API server's own log does not say what became.
fn changes(history: &SecretHistory, secret: &str) -> usize {
    history.of(secret).iter().filter(|seen| !matches!(seen, Seen::Deleted(_))).count()
}

/// Waits until the records tell of every change that the API server did, and of no other, and holds the file
/// against keys and checkpoint.
async fn settle(history: &SecretHistory, path: &Path, secret: &str) -> Vec<Value> {
    let all = wait::until("as many closed records as changes", wait::WAIT, async || {
        let all = records(path);
        let closed: BTreeSet<String> = of(&all, "write")
            .iter()
            .filter_map(|r| r["closes"].as_str().map(str::to_owned))
            .collect();
        let changes = changes(history, secret);
        if closed.len() == changes {
            Ok(all)
        } else {
            Err(format!("{changes} changes, closed {closed:?}"))
        }
    })
    .await;
    let ids: BTreeSet<String> = of(&all, "intent")
        .iter()
        .map(|r| format!("{}-{}", r["stream"].as_str().unwrap(), r["sequence"]))
        .collect();
    for record in all.iter().filter(|r| !r["closes"].is_null()) {
        assert!(ids.contains(record["closes"].as_str().unwrap()), "{record} closes nothing");
    }
    all
}

/// A program that asks Connect for an item and waits for the answer, with its wire, for a request `orders`.
async fn asking(bed: &Bed, path: &Path) -> (Program, Proxy) {
    let proxy = Proxy::start(bed).await;
    let file = path.to_str().unwrap();
    let program = Program::spawn(bed, &proxy.kubeconfig(bed).await, &["--audit-file", file]);
    program.ready().await;
    let before = bed.connect.requests().route(ITEM);
    let slow = FaultKind::Latency(Duration::from_millis(1500));
    bed.connect.fault(FaultSpec::new(slow).on(ITEM));
    bed.request("orders", |_| {}).await;
    wait::until("the item to be asked for", wait::WAIT, async || {
        let asked = bed.connect.requests().route(ITEM);
        if asked > before { Ok(()) } else { Err(format!("{asked}")) }
    })
    .await;
    (program, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_intent_and_write_leaves_an_intent_that_nothing_came_of() {
    let (bed, folder) = (Bed::new("kill-intent").await, Folder::new());
    let path = folder.file("audit.log");
    let history = bed.observe_secrets().await;
    let (program, proxy) = asking(&bed, &path).await;
    proxy.hold_requests();
    wait_records(&path, "intent", 1).await;
    assert!(bed.secret("orders").await.is_none());
    program.kill().await;
    assert!(of(&records(&path), "write").is_empty());

    let kubeconfig = bed.service_account_kubeconfig().await;
    let mut program = Program::spawn(&bed, &kubeconfig, &["--audit-file", path.to_str().unwrap()]);
    bed.wait_ready("orders").await;
    let all = settle(&history, &path, "orders").await;
    assert_eq!((of(&all, "intent").len(), of(&all, "write").len()), (2, 1));
    assert_eq!(of(&all, "write")[0]["secret"]["change"], "created");
    program.terminate().await;
    let (code, said) = verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_never_came_is_found_at_the_next_start_and_closed() {
    let (bed, folder) = (Bed::new("kill-answer").await, Folder::new());
    let path = folder.file("audit.log");
    let history = bed.observe_secrets().await;
    let (program, proxy) = asking(&bed, &path).await;
    proxy.hold_answers();
    bed.wait_secret("orders", |_| true).await;
    program.kill().await;
    assert!(of(&records(&path), "write").is_empty());

    let kubeconfig = bed.service_account_kubeconfig().await;
    let mut program = Program::spawn(&bed, &kubeconfig, &["--audit-file", path.to_str().unwrap()]);
    bed.wait_ready("orders").await;
    let all = settle(&history, &path, "orders").await;
    let writes = of(&all, "write");
    let found = writes.iter().find(|r| r["secret"]["change"] == "found").unwrap();
    let intent = of(&all, "intent")[0];
    let id = format!("{}-{}", intent["stream"].as_str().unwrap(), intent["sequence"]);
    assert_eq!(found["closes"], id);
    assert_eq!(found["items"][0]["item"], bed.item_id("orders-db"));
    assert_eq!(changes(&history, "orders"), 1, "nothing is written twice");
    program.terminate().await;
    let (code, said) = verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");

    // Once closed it stays so: a start that finds nothing new says nothing.
    let before = records(&path).len();
    let mut program = Program::spawn(&bed, &kubeconfig, &["--audit-file", path.to_str().unwrap()]);
    program.ready().await;
    bed.request_data("next", &[("k", "op://services/orders-api/password")]).await;
    bed.wait_ready("next").await;
    let after = records(&path);
    assert!(
        after[before..].iter().all(|r| r["request"]["name"] == "next"),
        "{:?}",
        &after[before..]
    );
    program.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_every_moment_leave_a_closed_record_for_each_change() {
    let (bed, folder) = (Bed::new("kill-often").await, Folder::new());
    let path = folder.file("audit.log");
    let history = bed.observe_secrets().await;
    let file = path.to_str().unwrap();
    let kubeconfig = bed.service_account_kubeconfig().await;
    let mut program = Program::spawn(&bed, &kubeconfig, &["--audit-file", file]);
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    for round in 0..8 {
        program.ready().await;
        let known = bed.get_request("orders").await;
        let all = records(&path);
        let (intents, writes) = (of(&all, "intent").len(), of(&all, "write").len());
        let value = format!("{}-{round}", bed.canary());
        bed.connect.set_field("services", "orders-db", "password", &value).unwrap();
        match round % 4 {
            0 => wait_records(&path, "intent", intents + 1).await,
            1 => drop(bed.wait_value("orders", "password", &value).await),
            2 => wait_records(&path, "write", writes + 1).await,
            _ => {
                bed.wait_value("orders", "password", &value).await;
                wait_records(&path, "write", writes + 1).await;
            }
        }
        program.kill().await;
        if round % 4 == 3 {
            // As if it had not come to the status.
            let status = json!([{"op": "replace", "path": "/status", "value": known.status}]);
            let patch: json_patch::Patch = serde_json::from_value(status).unwrap();
            let patch = Patch::<Value>::Json(patch);
            bed.requests().patch_status("orders", &PatchParams::default(), &patch).await.unwrap();
        }
        program = Program::spawn(&bed, &kubeconfig, &["--audit-file", file]);
        bed.wait_value("orders", "password", &value).await;
        settle(&history, &path, "orders").await;
    }
    program.ready().await;
    program.terminate().await;
    let all = settle(&history, &path, "orders").await;
    assert!(changes(&history, "orders") >= 9, "{all:?}");
    let (code, said) = verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");
}
