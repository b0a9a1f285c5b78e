//! What the API server refuses by the chart's admission policies to somebody who has every right by RBAC on the objects
//! that they are about.

use portcullis::api::Reason;
use portcullis_test_support::{
    Bed, Cluster, OperatorOptions, Ran, TestOperator, helm_template, wait,
};
use serde_json::{Value, json};

use super::SERVED;

/// Gives a cluster of one's own the policies that the chart renders with more arguments, and the users mia and noah,
/// who are no operators and no masters of the cluster.
async fn furnish(bed: &Bed, more: &[&str]) {
    let args = [&["--show-only", "templates/admission.yaml"], more].concat();
    let policies = helm_template(&args, "").await.ok();
    let _ = bed.kubectl_with(&["apply", "-f", "-"], &policies).await.ok();
    let all = ["get", "list", "create", "patch", "update", "delete"];
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "people"},
        "rules": [
            {"apiGroups": ["portcullis.dev"], "resources": [
                "credentialrequests", "credentialrequests/status", "accessprofiles", "connectservers", "connectservers/status",
                "credentialpolicies", "credentialpolicies/status",
            ], "verbs": all},
            {"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": all},
            {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": all},
        ],
    }))
    .await;
    let user =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "people"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "people"},
        "subjects": [user("mia"), user("noah")],
    }))
    .await;
}

/// A request that says who asked, or does not.
fn request(bed: &Bed, name: &str, asked: Option<&str>, purpose: &str) -> String {
    let mut metadata = json!({"name": name});
    if let Some(asked) = asked {
        metadata["annotations"] = json!({"portcullis.dev/requested-by": asked});
    }
    json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": metadata,
        "spec": {
            "serverRef": {"name": bed.server}, "purpose": purpose,
            "data": [{"key": "password", "ref": "op://services/orders-db/password"}],
        },
    })
    .to_string()
}

async fn mia(bed: &Bed, args: &[&str], input: &str) -> Ran {
    bed.kubectl_with(&[&["--as=mia"], args].concat(), input).await
}

async fn noah(bed: &Bed, args: &[&str], input: &str) -> Ran {
    bed.kubectl_with(&[&["--as=noah"], args].concat(), input).await
}

/// Who asked for a request, as it says; nothing where it does not.
async fn asked(bed: &Bed, name: &str) -> String {
    let path = r"jsonpath={.metadata.annotations.portcullis\.dev/requested-by}";
    bed.kubectl(&["get", "credentialrequest", name, "-o", path]).await.ok()
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

/// Waits until the operator knows that the API server vouches for who asked.
async fn wait_vouched(operator: &TestOperator) {
    wait::until("the policy to vouch", wait::WAIT, async || {
        let guard = operator.metric("portcullis_requester_guard", &[]);
        if guard == 1.0 { Ok(()) } else { Err(guard.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_who_asked_for_it_and_nobody_else() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-asked").await;
    furnish(&bed, &[]).await;
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
    wait_vouched(&operator).await;

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

/// Waits until the operator says of each of these policies whether it is in force.
async fn wait_in_force(operator: &TestOperator, expected: &[(&str, f64)]) {
    wait::until(&format!("{expected:?} in force"), wait::WAIT, async || {
        let says = |policy: &str| {
            operator.metric("portcullis_admission_policy_in_force", &[("policy", policy)])
        };
        let found: Vec<_> = expected.iter().map(|(policy, _)| (*policy, says(policy))).collect();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_when_an_admission_policy_is_missing_or_does_not_deny() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-guards").await;
    furnish(&bed, &[]).await;
    let names = [
        "portcullis-requested-by",
        "portcullis-status",
        "portcullis-profiles",
        "portcullis-namespaces",
        "portcullis-definitions",
    ];
    // As the chart names them to the operator, all that it makes.
    let deployment = helm_template(&["--show-only", "templates/deployment.yaml"], "").await.ok();
    assert!(
        deployment.contains(&format!("--admission-policies={}\n", names.join(","))),
        "{deployment}"
    );
    let options = OperatorOptions {
        admission_policies: names.map(str::to_owned).into(),
        ..OperatorOptions::default()
    };
    let operator = bed.operator_of(options).await;
    let mut expected = names.map(|name| (name, 1.0));
    wait_in_force(&operator, &expected).await;
    let binding = "validatingadmissionpolicybinding";
    let _ = bed.kubectl(&["delete", binding, "portcullis-status"]).await.ok();
    let _ = bed.kubectl(&["delete", "validatingadmissionpolicy", "portcullis-profiles"]).await.ok();
    let warns = r#"{"spec": {"validationActions": ["Warn"]}}"#;
    let patch = ["patch", binding, "portcullis-namespaces", "--type=merge", "--patch", warns];
    let _ = bed.kubectl(&patch).await.ok();
    for (name, is) in &mut expected {
        if matches!(*name, "portcullis-status" | "portcullis-profiles" | "portcullis-namespaces") {
            *is = 0.0;
        }
    }
    wait_in_force(&operator, &expected).await;
    furnish(&bed, &[]).await;
    wait_in_force(&operator, &names.map(|name| (name, 1.0))).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_stamped_with_who_wrote_its_spec_where_it_names_nobody_new() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-stamped").await;
    furnish(&bed, &SERVED).await;
    let known = json!({
        "name": "mias", "when": "!requester.verified || requester.name != 'mia'", "effect": "Deny",
        "message": "not of mia",
    });
    bed.policy("mias", json!({"rules": [known]})).await;
    let options = OperatorOptions {
        requested_by_policy: Some("portcullis-requested-by".to_owned()),
        ..OperatorOptions::default()
    };
    let operator = bed.operator_of(options).await;
    wait_vouched(&operator).await;
    let (create, apply) = (["create", "-f", "-"], ["apply", "-f", "-"]);
    let lie = request(&bed, "lie", Some("noah"), "a test");
    let _ = wait_refused(&bed, &create, &lie).await;
    // It stamps some seconds after the kind is there; until then nothing happens, or the API server says to wait.
    let untold = request(&bed, "untold", None, "a test");
    let dry = [&create[..], &["--dry-run=server", "-o", "yaml"]].concat();
    wait::until("the stamp", wait::WAIT, async || {
        let tried = mia(&bed, &dry, &untold).await;
        let stamped = tried.stdout.contains("portcullis.dev/requested-by: mia\n");
        if stamped { Ok(()) } else { Err(tried.stdout + &tried.stderr) }
    })
    .await;

    // With annotations and without any.
    let _ = mia(&bed, &create, &untold).await.ok();
    let _ = mia(&bed, &apply, &request(&bed, "applied", None, "a test")).await.ok();
    for name in ["untold", "applied"] {
        assert_eq!(asked(&bed, name).await, "mia", "{name}");
        bed.wait_ready(name).await;
    }
    // What leaves the spec alone changes nobody.
    let label = ["label", "credentialrequest", "untold", "team=orders"];
    let _ = noah(&bed, &label, "").await.ok();
    assert_eq!(asked(&bed, "untold").await, "mia");
    // Who changes the spec takes the place of who wrote it before, also by a file in which that one stands.
    for (name, who) in [("untold", Some("mia")), ("applied", None)] {
        let _ = noah(&bed, &apply, &request(&bed, name, who, "another")).await.ok();
        assert_eq!(asked(&bed, name).await, "noah", "{name}");
        bed.wait_reason(name, Reason::Denied).await;
    }
    // A name that somebody set is theirs to answer for.
    for name in ["lie", "untold"] {
        let told = mia(&bed, &apply, &request(&bed, name, Some("olga"), "a third")).await.err();
        assert!(told.contains("says olga, and it is mia who changes the spec"), "{told}");
    }
    let takes = [
        "annotate",
        "--overwrite",
        "credentialrequest",
        "untold",
        "portcullis.dev/requested-by=mia",
    ];
    let told = mia(&bed, &takes, "").await.err();
    assert!(told.contains("changes with the spec alone"), "{told}");
    assert_eq!(asked(&bed, "untold").await, "noah");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_require_use_rbac_says_who_may_write_requests_of_a_server() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-use").await;
    furnish(&bed, &["--set=admission.requireUse=true"]).await;
    let (create, apply) = (["create", "-f", "-"], ["apply", "-f", "-"]);
    let orders = request(&bed, "orders", None, "a test");
    let told = wait_refused(&bed, &create, &orders).await;
    let (server, user) = (&bed.server, "mia may not use the ConnectServer");
    assert!(told.contains(&format!("{user} {server}; ask for")), "{told}");
    assert!(told.contains(&format!("resourceNames: [{server}], verbs: [use]")), "{told}");

    let group = "rbac.authorization.k8s.io";
    bed.apply(json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "use"},
        "rules": [{
            "apiGroups": ["portcullis.dev"], "resources": ["connectservers"],
            "resourceNames": [server], "verbs": ["use"],
        }],
    }))
    .await;
    bed.apply(json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "use"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "use"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "mia"}],
    }))
    .await;
    wait::until("the right to use the server", wait::WAIT, async || {
        let tried = mia(&bed, &create, &orders).await;
        if tried.success { Ok(()) } else { Err(tried.stderr) }
    })
    .await;

    // Of no other server, and of the one that is meant where none is named.
    let mut elsewhere: Value = serde_json::from_str(&orders).unwrap();
    for (server_ref, meant) in [(json!({"name": "other"}), "other"), (Value::Null, "default")] {
        elsewhere["spec"]["serverRef"] = server_ref;
        for name in ["orders", "second"] {
            elsewhere["metadata"]["name"] = json!(name);
            let told = mia(&bed, &apply, &elsewhere.to_string()).await.err();
            assert!(told.contains(&format!("{user} {meant};")), "{told}");
        }
    }
    // Who may not use the server may write what is not the spec.
    let label = ["label", "credentialrequest", "orders", "team=orders"];
    let _ = noah(&bed, &label, "").await.ok();
    let another = request(&bed, "orders", None, "another");
    let told = noah(&bed, &apply, &another).await.err();
    assert!(told.contains("noah may not use"), "{told}");
    let _ = mia(&bed, &apply, &another).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_portcullis_says_and_what_policies_rest_on_is_not_for_everybody_to_write() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "admission-guarded").await;
    furnish(&bed, &[]).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;

    let policy = bed.policy("some", json!({"rules": []})).await;
    let status = json!({"status": {"observedGeneration": 7}}).to_string();
    for (kind, name) in [
        ("credentialrequest", "orders"),
        ("connectserver", &bed.server),
        ("credentialpolicy", &policy),
    ] {
        let patch =
            ["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &status];
        let told = wait_refused(&bed, &patch, "").await;
        assert!(told.contains("nobody else writes its status"), "{kind}: {told}");
    }
    let profile = wait::until("an AccessProfile", wait::WAIT, async || {
        let listed = bed.kubectl(&["get", "accessprofiles", "-A", "-o", "name"]).await.ok();
        let first = listed.lines().next().map(str::to_owned);
        first.ok_or_else(|| "none".to_owned())
    })
    .await;
    let delete = ["delete", &profile, "--namespace", &bed.operator_namespace];
    let told = wait_refused(&bed, &delete, "").await;
    assert!(told.contains("deletes AccessProfiles"), "{told}");
    let change = json!({"spec": {"grants": 7}}).to_string();
    let change = ["patch", &profile, "--type=merge", "--patch", &change];
    let change = [&change[..], &["--namespace", &bed.operator_namespace]].concat();
    let told = wait_refused(&bed, &change, "").await;
    assert!(told.contains("nobody else writes or deletes AccessProfiles"), "{told}");
    let made = bed.kubectl(&["get", &profile, "-o", "json", "-n", &bed.operator_namespace]).await;
    let mut made: Value = serde_json::from_str(&made.ok()).unwrap();
    made["metadata"] = json!({"name": "made-up", "namespace": bed.operator_namespace});
    let create = ["create", "--namespace", &bed.operator_namespace, "-f", "-"];
    let told = wait_refused(&bed, &create, &made.to_string()).await;
    assert!(told.contains("nobody else writes or deletes AccessProfiles"), "{told}");
    let label = ["label", "namespace", &bed.namespace, "portcullis.dev/environment=production"];
    let told = wait_refused(&bed, &label, "").await;
    assert!(told.contains("the verb label"), "{told}");
    let patch =
        json!({"metadata": {"labels": {"portcullis.dev/environment": "staging"}}}).to_string();
    let by_status = ["patch", "namespace", &bed.namespace, "--subresource=status", "--type=merge"];
    let by_status = [&by_status[..], &["-p", &patch]].concat();
    let told = wait_refused(&bed, &by_status, "").await;
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
