//! Status: what the operator may write, and that nothing else fits.

use portcullis::api::{ConnectServer, CredentialPolicy, CredentialRequest};
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::kube::{self, Api};
use portcullis_test_support::{Cluster, manifests};
use serde_json::{Value, json};

const TIME: &str = "2030-01-02T03:04:05Z";

fn condition() -> Value {
    json!({"type": "Ready", "status": "True", "reason": "Synced", "message": "", "lastTransitionTime": TIME})
}

fn record() -> Value {
    json!({"time": TIME, "outcome": "Allowed", "riskScore": 30, "reason": "Synced", "source": "Connect", "record": "r-1"})
}

fn full() -> Value {
    json!({
        "observedGeneration": 1,
        "conditions": [condition()],
        "decision": {
            "outcome": "Alerted", "riskScore": 50, "factorCount": 1, "digest": "d".repeat(64), "decidedAt": TIME,
            "factors": [{"policy": "p", "rule": "r", "score": 0, "effect": "Alert", "message": "m"}],
            "recommendations": ["do"],
        },
        "sync": {
            "secretName": "s", "source": "Connect", "itemCount": 1, "contentRevision": 1, "lastChangeTime": TIME,
            "receipt": "v1", "items": [{"vault": "v", "item": "i", "version": 3}], "keys": ["k"], "staleSince": TIME,
        },
        "history": vec![record(); 10],
    })
}

async fn refused(api: &Api<CredentialRequest>, change: fn(&mut Value)) -> String {
    let mut status = full();
    change(&mut status);
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status("status", &PatchParams::default().dry_run(), &patch).await {
        Ok(_) => "accepted".to_owned(),
        Err(kube::Error::Api(status)) => status.message,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_request_has_room_for_what_is_said_and_no_more() {
    let client = Cluster::shared().await.admin();
    let object = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": {"name": "status", "namespace": "default"},
        "spec": {"purpose": "p", "data": [{"key": "k", "ref": "op://v/i/f"}]},
    });
    manifests::apply(&client, &object).await.unwrap();
    let api: Api<CredentialRequest> = Api::namespaced(client, "default");

    let patch = Patch::Merge(json!({"status": full()}));
    let written = api.patch_status("status", &PatchParams::default(), &patch).await.unwrap();
    // What was written reads as what the operator's types say, and nothing of it was pruned.
    assert_eq!(serde_json::to_value(written.status.unwrap()).unwrap(), full());

    for (change, expected) in [
        (
            (|s| s["decision"]["outcome"] = json!("Maybe")) as fn(&mut Value),
            "status.decision.outcome: Unsupported value",
        ),
        (|s| s["decision"]["riskScore"] = json!(101), "status.decision.riskScore"),
        (
            |s| s["decision"]["factors"] = json!(vec![s["decision"]["factors"][0].clone(); 33]),
            "status.decision.factors: Too many",
        ),
        (
            |s| s["decision"]["recommendations"] = json!(vec!["r"; 9]),
            "status.decision.recommendations: Too many",
        ),
        (|s| s["decision"]["digest"] = json!("d".repeat(65)), "status.decision.digest: Too long"),
        (|s| s["sync"]["source"] = json!("Rumour"), "status.sync.source: Unsupported value"),
        (
            |s| s["sync"]["items"] = json!(vec![s["sync"]["items"][0].clone(); 65]),
            "status.sync.items: Too many",
        ),
        (|s| s["sync"]["keys"] = json!(vec!["k"; 257]), "status.sync.keys: Too many"),
        (|s| s["sync"]["lastChangeTime"] = json!("yesterday"), "status.sync.lastChangeTime"),
        (|s| s["history"] = json!(vec![record(); 11]), "status.history: Too many"),
        (
            |s| s["conditions"] = json!([condition(), condition()]),
            "status.conditions[1]: Duplicate value",
        ),
    ] {
        let said = refused(&api, change).await;
        assert!(said.contains(expected), "no `{expected}` in: {said}");
    }
}

#[tokio::test]
async fn servers_and_policies_have_conditions() {
    let client = Cluster::shared().await.admin();
    let server = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "ConnectServer", "metadata": {"name": "schema-status"},
        "spec": {"controllerClass": "schema-status", "hosts": [{"url": "https://h"}], "tokenSecretRef": {"name": "t"}, "access": []},
    });
    let policy = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialPolicy", "metadata": {"name": "schema-status"},
        "spec": {"controllerClass": "schema-status"},
    });
    manifests::apply(&client, &server).await.unwrap();
    manifests::apply(&client, &policy).await.unwrap();

    let status = json!({"observedGeneration": 1, "conditions": [condition()]});
    let patch = Patch::Merge(json!({"status": status}));
    let policies: Api<CredentialPolicy> = Api::all(client.clone());
    let written =
        policies.patch_status("schema-status", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(serde_json::to_value(written.status.unwrap()).unwrap(), status);

    let status = json!({"observedGeneration": 1, "conditions": [condition()], "vaultCount": 4});
    let patch = Patch::Merge(json!({"status": status}));
    let servers: Api<ConnectServer> = Api::all(client);
    let written =
        servers.patch_status("schema-status", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(serde_json::to_value(written.status.unwrap()).unwrap(), status);
}
