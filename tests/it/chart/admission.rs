//! What the API server refuses by the chart's admission policies to somebody who has every right by RBAC on the objects
//! that they are about.

use portcullis::api::Reason;
use portcullis_test_support::{Bed, Cluster, OperatorOptions, helm_template, wait};
use serde_json::json;

/// The user; not an operator, and not a master of the cluster.
const MIA: [&str; 1] = ["--as=mia"];

async fn furnish(bed: &Bed) {
    let policies = helm_template(&["--show-only", "templates/admission.yaml"], "").await.ok();
    let _ = bed.kubectl_with(&["apply", "-f", "-"], &policies).await.ok();
    let all = ["get", "list", "create", "patch", "update", "delete"];
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "mia"},
        "rules": [
            {"apiGroups": ["portcullis.dev"], "resources": ["credentialrequests", "credentialrequests/status", "accessprofiles"], "verbs": all},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": all},
            {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": all},
        ],
    }))
    .await;
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "mia"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mia"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mia"}],
    }))
    .await;
}

/// A request that says who asked, or does not.
fn request(bed: &Bed, name: &str, asked: Option<&str>, purpose: &str) -> String {
    let mut annotations = json!({});
    if let Some(asked) = asked {
        annotations["portcullis.dev/requested-by"] = json!(asked);
    }
    json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "serverRef": {"name": bed.server}, "purpose": purpose,
            "data": [{"key": "password", "ref": "op://services/orders-db/password"}],
        },
    })
    .to_string()
}

async fn mia(bed: &Bed, args: &[&str], input: &str) -> portcullis_test_support::Ran {
    bed.kubectl_with(&[&MIA[..], args].concat(), input).await
}

/// Waits until something is refused: admission policies take a moment to be in force.
async fn wait_refused(bed: &Bed, args: &[&str], input: &str) -> String {
    let what = format!("kubectl {} to be refused", args.join(" "));
    wait::until(&what, wait::WAIT, async || {
        let dry = [args, &["--dry-run=server"]].concat();
        let ran = mia(bed, &dry, input).await;
        if ran.success { Err("it was not".to_owned()) } else { Ok(ran.stderr) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_who_asked_for_it_and_nobody_else() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-asked").await;
    furnish(&bed).await;
    let known = json!({
        "name": "known", "when": "!requester.verified", "effect": "Deny", "message": "who asked?",
    });
    bed.policy("known", json!({"rules": [known]})).await;
    let options = OperatorOptions {
        requested_by_policy: Some("portcullis-requested-by".to_owned()),
        delegates: vec!["system:*".to_owned()],
        ..OperatorOptions::default()
    };
    let operator = bed.operator_of(options).await;
    let apply = ["apply", "-f", "-"];
    let told = wait_refused(&bed, &apply, &request(&bed, "lie", Some("noah"), "a test")).await;
    assert!(told.contains("portcullis.dev/requested-by=mia | kubectl apply -f -"), "{told}");
    wait::until("the policy to vouch", wait::WAIT, async || {
        let guard = operator.metric("portcullis_requester_guard", &[]);
        if guard == 1.0 { Ok(()) } else { Err(guard.to_string()) }
    })
    .await;

    let _ = mia(&bed, &apply, &request(&bed, "told", Some("mia"), "a test")).await.ok();
    bed.wait_ready("told").await;
    let _ = mia(&bed, &apply, &request(&bed, "untold", None, "a test")).await.ok();
    bed.wait_reason("untold", Reason::Denied).await;

    // Another who changes the spec has to say so, in the same write.
    let edit = ["apply", "--as=system:admin", "--as-group=system:masters", "-f", "-"];
    let edited = request(&bed, "told", Some("mia"), "another");
    let _ = bed.kubectl_with(&edit, &edited).await.err();
    let edited = request(&bed, "told", Some("system:admin"), "another");
    let _ = bed.kubectl_with(&edit, &edited).await.ok();
    // Who writes on behalf of others is nobody that a policy could know.
    bed.wait_reason("told", Reason::Denied).await;
    let takes =
        ["annotate", "--overwrite", "credentialrequest", "told", "portcullis.dev/requested-by=mia"];
    let told = mia(&bed, &takes, "").await.err();
    assert!(told.contains("changes with the spec alone"), "{told}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_portcullis_says_and_what_policies_rest_on_is_not_for_everybody_to_write() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-guarded").await;
    furnish(&bed).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;

    let status = json!({"status": {"observedGeneration": 7}}).to_string();
    let status = [
        "patch",
        "credentialrequest",
        "orders",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    let told = wait_refused(&bed, &status, "").await;
    assert!(told.contains("nobody else writes its status"), "{told}");
    let profile = wait::until("an AccessProfile", wait::WAIT, async || {
        let listed = bed.kubectl(&["get", "accessprofiles", "-A", "-o", "name"]).await.ok();
        let first = listed.lines().next().map(str::to_owned);
        first.ok_or_else(|| "none".to_owned())
    })
    .await;
    let delete = ["delete", &profile, "--namespace", &bed.operator_namespace];
    let told = wait_refused(&bed, &delete, "").await;
    assert!(told.contains("deletes AccessProfiles"), "{told}");
    let label = ["label", "namespace", &bed.namespace, "portcullis.dev/environment=production"];
    let told = wait_refused(&bed, &label, "").await;
    assert!(told.contains("the verb label"), "{told}");
    let other = ["label", "namespace", &bed.namespace, "team=orders"];
    let _ = mia(&bed, &other, "").await.ok();
    let crd = "accessprofiles.portcullis.dev";
    let told = wait_refused(&bed, &["delete", "crd", crd], "").await;
    let confirm = format!("kubectl annotate crd {crd} portcullis.dev/confirm-deletion={crd}");
    assert!(told.contains(&confirm), "{told}");

    // The operator goes on.
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("orders", "password", "rotated").await;
    bed.wait_ready("orders").await;
    // With the word, it goes.
    let annotate = ["annotate", "crd", crd, &format!("portcullis.dev/confirm-deletion={crd}")];
    let _ = mia(&bed, &annotate, "").await.ok();
    let _ = mia(&bed, &["delete", "crd", crd, "--dry-run=server"], "").await.ok();
    operator.stop().await;
}
