//! The process is killed around a deletion of a Secret: what is gone names no intent, so that status does.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;

use futures::TryStreamExt as _;
use portcullis::api::{CredentialRequest, Reason};
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::kube::runtime::watcher::{self, Event, watcher};
use portcullis_test_support::kube::{Api, ResourceExt as _};
use portcullis_test_support::{Bed, Seen, wait};
use serde_json::{Value, json};

use super::kills::records;
use super::{Folder, verified};
use crate::program::Program;

/// What a deletion is called: one of a moment ago is taken back.
const DELETIONS: [&str; 2] = ["deleted", "taken back"];

fn id(record: &Value) -> String {
    format!("{}-{}", record["stream"].as_str().unwrap(), record["sequence"])
}

/// The records of a kind whose change is one of these.
fn of(records: &[Value], kind: &str, changes: &[&str]) -> Vec<Value> {
    let is = |r: &&Value| {
        r["kind"] == kind && changes.iter().any(|change| r["secret"]["change"] == *change)
    };
    records.iter().filter(is).cloned().collect()
}

async fn start(bed: &Bed, path: &Path) -> Program {
    let kubeconfig = bed.service_account_kubeconfig().await;
    let program = Program::spawn(bed, &kubeconfig, &["--audit-file", path.to_str().unwrap()]);
    program.ready().await;
    program
}

fn denying() -> Value {
    let rule = json!({
        "name": "end", "when": "refs.size() > 0", "effect": "Deny", "message": "it is over",
    });
    json!({"onDenied": "Delete", "rules": [rule]})
}

/// Waits until status tells of no deletion under way.
async fn wait_settled(bed: &Bed) {
    let is_settled = |r: &CredentialRequest| r.status.as_ref().is_none_or(|s| s.deleting.is_none());
    bed.wait_request("orders", "to tell of no deletion", is_settled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_end_was_not_recorded_is_closed_at_the_next_start() {
    let (bed, folder) = (Bed::new("erased-end").await, Folder::new());
    let path = folder.file("audit.log");
    let program = start(&bed, &path).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let synced = bed.get_request("orders").await.status.unwrap();
    let noted = tokio::spawn(first_note(bed.requests()));
    bed.policy("end", denying()).await;
    bed.wait_no_secret("orders").await;
    wait_settled(&bed).await;
    let note = noted.await.unwrap();
    wait::until("the deletion to be recorded", wait::WAIT, async || {
        let deleted = of(&records(&path), "write", &DELETIONS);
        if deleted.len() == 1 { Ok(()) } else { Err(format!("{deleted:?}")) }
    })
    .await;
    program.kill().await;
    // As if it had been killed before it recorded the end: the file ends with the intent, and status tells of it.
    let all = records(&path);
    let intent = of(&all, "intent", &DELETIONS).pop().unwrap();
    let mut status = json!(synced);
    status["deleting"] = json!(note);
    let patch = json!([{"op": "replace", "path": "/status", "value": status}]);
    let patch = Patch::<Value>::Json(serde_json::from_value(patch).unwrap());
    bed.requests().patch_status("orders", &PatchParams::default(), &patch).await.unwrap();

    let mut program = start(&bed, &path).await;
    wait_settled(&bed).await;
    let request = bed.wait_reason("orders", Reason::Denied).await;
    program.terminate().await;
    let gone = of(&records(&path), "write", &["gone"]);
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!(gone[0]["closes"], id(&intent));
    assert_eq!(gone[0]["secret"]["name"], "orders");
    assert_eq!(gone[0]["request"]["uid"], request.uid().unwrap());
    let (code, said) = verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");
    // Nothing that somebody else writes there closes anything, be it another seal of the operator's.
    let before = records(&path).len();
    let seal = note.split_once('/').unwrap().1;
    for forged in [format!("{}/{seal}", bed.class), seal.to_owned(), "forged/x-1.v1.k.x".to_owned()]
    {
        let forged = json!([{"op": "add", "path": "/status/deleting", "value": forged}]);
        let patch = Patch::<Value>::Json(serde_json::from_value(forged).unwrap());
        bed.requests().patch_status("orders", &PatchParams::default(), &patch).await.unwrap();
        let mut program = start(&bed, &path).await;
        wait_settled(&bed).await;
        program.terminate().await;
        assert_eq!(records(&path).len(), before);
    }
}

/// The first note of a deletion that the status of a request has.
async fn first_note(requests: Api<CredentialRequest>) -> String {
    let mut events = pin!(watcher(requests, watcher::Config::default()));
    while let Some(event) = events.try_next().await.unwrap() {
        if let Event::Apply(request) | Event::InitApply(request) = event
            && let Some(note) = request.status.and_then(|s| s.deleting)
        {
            return note;
        }
    }
    unreachable!("a watch does not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_around_a_deletion_leave_a_closed_record_for_each() {
    let (bed, folder) = (Bed::new("erased-often").await, Folder::new());
    let path = folder.file("audit.log");
    let history = bed.observe_secrets().await;
    let mut program = start(&bed, &path).await;
    bed.request("orders", |_| {}).await;
    for round in 0..6 {
        bed.wait_ready("orders").await;
        let intents = of(&records(&path), "intent", &DELETIONS).len();
        // Watched for, since it is gone in a moment.
        let noted = tokio::spawn(first_note(bed.requests()));
        bed.policy("end", denying()).await;
        match round % 3 {
            0 => {
                wait::until("an intent to delete", wait::WAIT, async || {
                    let found = of(&records(&path), "intent", &DELETIONS).len();
                    if found > intents { Ok(()) } else { Err(format!("{found}")) }
                })
                .await;
            }
            1 => drop(tokio::time::timeout(wait::WAIT, noted).await.unwrap()),
            _ => bed.wait_no_secret("orders").await,
        }
        program.kill().await;
        program = start(&bed, &path).await;
        bed.wait_no_secret("orders").await;
        bed.wait_reason("orders", Reason::Denied).await;
        wait_settled(&bed).await;
        let all = records(&path);
        let ends = of(&all, "write", &["deleted", "taken back", "gone"]);
        let deleted = |seen: &&Seen| matches!(seen, Seen::Deleted(_));
        let deletions = history.of("orders").iter().filter(deleted).count();
        let closed: BTreeSet<String> =
            ends.iter().map(|r| r["closes"].as_str().unwrap().to_owned()).collect();
        let begun: Vec<String> = of(&all, "intent", &DELETIONS).iter().map(id).collect();
        assert_eq!(closed.len(), deletions, "{ends:?}");
        // A kill after the end and before the status makes one more, of the same intent.
        let again = ends.len() - closed.len();
        let gone = ends.iter().filter(|r| r["secret"]["change"] == "gone").count();
        assert!(again <= gone, "{ends:?}");
        assert!(closed.iter().all(|id| begun.contains(id)), "{closed:?} of {begun:?}");
        bed.policy("end", json!({"rules": []})).await;
    }
    bed.wait_ready("orders").await;
    program.terminate().await;
    let (code, said) = verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");
}
