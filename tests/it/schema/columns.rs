//! Names, columns and selectable fields, as kubectl shows them.

use chrono::DateTime;
use portcullis::behavior::Profile;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Access, Cluster, manifests};
use serde_json::{Value, json};

async fn columns(access: &Access, args: &[&str]) -> Vec<String> {
    let args = [&["get"], args].concat();
    let table = access.run_kubectl("columns", &args, "").await.ok();
    table.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn kubectl_shows_the_columns_by_short_names() {
    let access = Cluster::shared().await;
    furnish(access).await;

    let shown = columns(access, &["credreq"]).await;
    assert_eq!(shown, ["NAME", "READY", "REASON", "DECISION", "RISK", "SOURCE", "SECRET", "AGE"]);
    let shown = columns(access, &["credreq", "-o", "wide"]).await;
    assert_eq!(shown[8..], ["SERVER", "STALE-SINCE", "MESSAGE"]);
    let shown = columns(access, &["connsrv"]).await;
    assert_eq!(
        shown,
        ["NAME", "HOST", "READY", "REASON", "VERSION", "VAULTS", "TOKEN-EXPIRES", "AGE"]
    );
    let shown = columns(access, &["credpol"]).await;
    assert_eq!(shown, ["NAME", "VALID", "MODE", "ALLOWED", "ALERTED", "DENIED", "AGE"]);

    let shown = columns(access, &["accprof"]).await;
    assert_eq!(shown, ["NAME", "GRANTS", "DENIALS", "ANOMALIES", "LAST-GRANT", "AGE"]);

    let all = access.run_kubectl("columns", &["get", "portcullis", "-o", "name"], "").await.ok();
    for name in [
        "credentialrequest.portcullis.dev/one",
        "connectserver.portcullis.dev/columns",
        "credentialpolicy.portcullis.dev/columns",
        "accessprofile.portcullis.dev/columns",
    ] {
        assert!(all.lines().any(|line| line == name), "no {name} in the category: {all}");
    }
}

#[tokio::test]
async fn requests_are_selected_by_field() {
    let access = Cluster::shared().await;
    furnish(access).await;
    for (selector, expected) in [
        ("spec.serverRef.name=other", "two"),
        ("spec.target.name=secret-two", "two"),
        ("spec.suspend=true", "two"),
        ("status.decision.outcome=Denied", "one"),
        ("status.sync.source=Connect", "one"),
    ] {
        let args = ["get", "credreq", "--field-selector", selector, "-o", "name"];
        let found = access.run_kubectl("columns", &args, "").await.ok();
        assert_eq!(
            found.trim(),
            format!("credentialrequest.portcullis.dev/{expected}"),
            "{selector}"
        );
    }
}

/// A profile as the operator would write it.
fn profile() -> Value {
    let known = Profile::new(DateTime::UNIX_EPOCH).seal("columns", |_| "tag".to_owned());
    json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "AccessProfile",
        "metadata": {"name": "columns", "namespace": "columns"}, "spec": known})
}

/// Two requests, a server, a policy and a profile; the same whichever test comes first.
async fn furnish(access: &Access) {
    let client = access.admin();
    let group = "portcullis.dev/v1alpha1";
    let data = json!([{"key": "k", "ref": "op://v/i/f"}]);
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "columns"}}),
        json!({"apiVersion": group, "kind": "CredentialRequest", "metadata": {"name": "one", "namespace": "columns"},
            "spec": {"purpose": "p", "data": data}}),
        json!({"apiVersion": group, "kind": "CredentialRequest", "metadata": {"name": "two", "namespace": "columns"},
            "spec": {"purpose": "p", "data": data, "serverRef": {"name": "other"}, "target": {"name": "secret-two"}, "suspend": true}}),
        json!({"apiVersion": group, "kind": "ConnectServer", "metadata": {"name": "columns"},
            "spec": {"controllerClass": "columns", "hosts": [{"url": "https://h"}], "tokenSecretRef": {"name": "t"}, "access": []}}),
        json!({"apiVersion": group, "kind": "CredentialPolicy", "metadata": {"name": "columns"}, "spec": {"controllerClass": "columns"}}),
        profile(),
    ] {
        manifests::apply(&client, &object).await.unwrap();
    }
    let time = "2030-01-02T03:04:05Z";
    let status = json!({"status": {
        "decision": {"outcome": "Denied", "riskScore": 70, "factorCount": 0, "digest": "d", "decidedAt": time},
        "sync": {"secretName": "s", "source": "Connect", "itemCount": 0, "contentRevision": 0, "lastChangeTime": time, "receipt": ""},
    }});
    let api: Api<portcullis::api::CredentialRequest> = Api::namespaced(client, "columns");
    api.patch_status("one", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}
