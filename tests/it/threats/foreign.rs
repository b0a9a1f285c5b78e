//! Threat 5: a tenant who may write requests, and nothing else, aims one at a Secret that somebody else made.
//! Whatever it tries, that Secret's resourceVersion does not move, and nothing tells what is in it.

use portcullis::api::{CredentialRequest, MANAGED_LABEL, Reason};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams,
};
use portcullis_test_support::kube::{Api, Client, ResourceExt as _};
use portcullis_test_support::{Bed, TestOperator, condition, wait};
use serde_json::{Value, json};

/// A user with every right on requests in the tenant's namespace and no other right anywhere.
async fn tenant(bed: &Bed) -> Client {
    let user = format!("tenant-{}", bed.class);
    let metadata = json!({"name": "tenant", "namespace": bed.namespace});
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": [{"apiGroups": ["portcullis.dev"], "resources": ["credentialrequests", "credentialrequests/status"], "verbs": ["*"]}],
    }))
    .await;
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }))
    .await;
    let client = bed.cluster.client_as(&user, &["tenants"]);
    let requests: Api<CredentialRequest> = Api::namespaced(client.clone(), &bed.namespace);
    wait::until("the tenant's rights", wait::WAIT, async || {
        let list = requests.list(&ListParams::default()).await;
        list.map(|_| ()).map_err(|e| e.to_string())
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &bed.namespace);
    assert!(secrets.list(&ListParams::default()).await.is_err());
    client
}

/// Makes a request as the tenant.
async fn ask(bed: &Bed, tenant: &Client, name: &str, target: Option<&str>) -> CredentialRequest {
    let mut spec = bed.spec();
    if let Some(target) = target {
        spec.target = serde_json::from_value(json!({"name": target})).unwrap();
    }
    let api: Api<CredentialRequest> = Api::namespaced(tenant.clone(), &bed.namespace);
    let request = CredentialRequest::new(name, spec);
    api.create(&PostParams::default(), &request).await.unwrap()
}

async fn withdraw(bed: &Bed, tenant: &Client, name: &str) {
    let api: Api<CredentialRequest> = Api::namespaced(tenant.clone(), &bed.namespace);
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

/// Waits until the operator has refused so many more times.
async fn wait_tries(operator: &TestOperator, more: f64) {
    let tries = || {
        operator
            .metric("portcullis_reconciles_total", &[("reason", Reason::SecretNotOwned.as_str())])
    };
    let before = tries();
    wait::until("more tries", wait::WAIT, async || {
        let now = tries();
        if now >= before + more { Ok(()) } else { Err(format!("{now} tries")) }
    })
    .await;
}

async fn version(bed: &Bed, secret: &str) -> String {
    bed.secret(secret).await.expect("the foreign Secret stays").resource_version().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_neither_overwrites_nor_adopts_nor_deletes_a_foreign_secret() {
    let bed = Bed::new("foreign").await;
    let operator = bed.operator().await;
    let tenant = tenant(&bed).await;
    let theirs = bed.create_secret("db-root", &[("password", "theirs")]).await;
    ask(&bed, &tenant, "db-root", None).await;
    let request = bed.wait_reason("db-root", Reason::SecretNotOwned).await;
    assert_eq!(condition(&request, "Ready").unwrap().status, "False");
    assert_eq!(condition(&request, "Stalled").unwrap().status, "True");
    let message = &condition(&request, "Synced").unwrap().message;
    assert!(message.contains("kubectl delete secret"), "{message}");
    wait_tries(&operator, 3.0).await;
    assert_eq!(Some(version(&bed, "db-root").await), theirs.resource_version());

    withdraw(&bed, &tenant, "db-root").await;
    // What comes by the watch after the deletion is done after it.
    bed.request("later", |_| {}).await;
    bed.wait_ready("later").await;
    assert_eq!(bed.secret("db-root").await, Some(theirs));
    for verb in ["patch", "update", "delete"] {
        assert_eq!(bed.operator_calls_on_secret(verb, "db-root").await, 0, "{verb}");
    }
    operator.stop().await;
}

/// All that the tenant can read of a request, without what differs between any two.
fn answer(request: &CredentialRequest) -> Value {
    let mut status = serde_json::to_value(request.status.as_ref().unwrap()).unwrap();
    for condition in status["conditions"].as_array_mut().unwrap() {
        condition["lastTransitionTime"] = Value::Null;
    }
    status["decision"]["decidedAt"] = Value::Null;
    status["decision"]["digest"] = Value::Null;
    // The namespace's own past, which the first of two requests adds to.
    status["decision"]["anomalies"] = Value::Null;
    for record in status["history"].as_array_mut().unwrap() {
        record["time"] = Value::Null;
        record["record"] = Value::Null;
    }
    let text = status.to_string().replace(&request.name_any(), "<name>");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn right_and_wrong_guesses_of_a_foreign_value_look_alike() {
    let bed = Bed::new("guesses").await;
    let operator = bed.operator().await;
    let tenant = tenant(&bed).await;
    let value = bed.value("orders-db", "password");
    let right = bed.create_secret("right", &[("password", &value)]).await;
    let wrong = bed.create_secret("wrong", &[("password", "another")]).await;
    let mut answers = Vec::new();
    for name in ["right", "wrong"] {
        ask(&bed, &tenant, name, None).await;
        let request = bed.wait_reason(name, Reason::SecretNotOwned).await;
        let events = wait::until("an Event", wait::WAIT, async || {
            let events = bed.events(name).await;
            if events.is_empty() { Err("none".to_owned()) } else { Ok(events) }
        })
        .await;
        let note = events[0].note.clone().unwrap_or_default().replace(name, "<name>");
        answers.push((answer(&request), events[0].reason.clone(), events[0].action.clone(), note));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(Some(version(&bed, "right").await), right.resource_version());
    assert_eq!(Some(version(&bed, "wrong").await), wrong.resource_version());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_label_a_forged_owner_and_copied_tags_do_not_make_a_secret_ours() {
    let bed = Bed::new("forged").await;
    let operator = bed.operator().await;
    bed.request("genuine", |_| {}).await;
    bed.wait_ready("genuine").await;
    let genuine = bed.secret("genuine").await.unwrap();
    let copied = genuine.annotations().clone();
    let tag = &copied["portcullis.dev/owner-tag"];
    let key_id = tag.split('.').nth(1).unwrap();

    bed.create_secret("victim", &[("password", &bed.value("orders-db", "password"))]).await;
    let request = bed.request("victim", |_| {}).await;
    bed.wait_reason("victim", Reason::SecretNotOwned).await;
    let owner = json!([{"apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest", "name": "victim",
                        "uid": request.uid().unwrap(), "controller": true}]);
    let mut made_up = copied.clone();
    made_up
        .insert("portcullis.dev/owner-tag".to_owned(), format!("v1.{key_id}.{}", "A".repeat(43)));
    for annotations in [copied, made_up] {
        let forged = json!({"metadata": {"labels": {MANAGED_LABEL: "true"}, "annotations": annotations,
                                         "ownerReferences": owner}});
        let forged = bed.patch_secret("victim", forged).await;
        wait_tries(&operator, 2.0).await;
        bed.wait_reason("victim", Reason::SecretNotOwned).await;
        assert_eq!(Some(version(&bed, "victim").await), forged.resource_version());
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_the_tenant_wrote_does_not_make_a_secret_ours() {
    let bed = Bed::new("forged-status").await;
    let operator = bed.operator().await;
    let tenant = tenant(&bed).await;
    bed.request("genuine", |_| {}).await;
    let genuine = bed.wait_ready("genuine").await.status.unwrap();
    let victim = bed.create_secret("victim", &[("password", "theirs")]).await;
    ask(&bed, &tenant, "victim", None).await;
    bed.wait_reason("victim", Reason::SecretNotOwned).await;
    let requests: Api<CredentialRequest> = Api::namespaced(tenant, &bed.namespace);
    let mut sync = genuine.sync.unwrap();
    let genuine_uid = bed.secret("genuine").await.unwrap().uid().unwrap();
    // As it is, and as if it had been given for the victim.
    let moved = sync.receipt.replace(&genuine_uid, &victim.uid().unwrap());
    for receipt in [sync.receipt.clone(), moved] {
        sync.receipt = receipt;
        sync.secret_name = "victim".to_owned();
        let forged = Patch::Merge(json!({"status": {"sync": sync, "decision": genuine.decision}}));
        requests.patch_status("victim", &PatchParams::default(), &forged).await.unwrap();
        wait_tries(&operator, 2.0).await;
        let request = bed.wait_reason("victim", Reason::SecretNotOwned).await;
        assert_eq!(condition(&request, "Ready").unwrap().status, "False");
        assert_eq!(Some(version(&bed, "victim").await), victim.resource_version());
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_another_request_is_not_taken() {
    let bed = Bed::new("thief").await;
    let operator = bed.operator().await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    let first = bed.secret("first").await;
    let tenant = tenant(&bed).await;
    ask(&bed, &tenant, "thief", Some("first")).await;
    bed.wait_reason("thief", Reason::SecretNotOwned).await;
    wait_tries(&operator, 2.0).await;
    assert_eq!(bed.secret("first").await, first);
    withdraw(&bed, &tenant, "thief").await;
    bed.request("later", |_| {}).await;
    bed.wait_ready("later").await;
    assert_eq!(bed.secret("first").await, first);
    bed.wait_ready("first").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_written_once_the_foreign_one_is_gone() {
    let bed = Bed::new("vacated").await;
    let operator = bed.operator().await;
    let theirs = bed.create_secret("orders", &[("password", "theirs")]).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", Reason::SecretNotOwned).await;
    bed.delete_secret("orders").await;
    let ours = bed.wait_value("orders", "password", &bed.value("orders-db", "password")).await;
    assert_ne!(ours.uid(), theirs.uid());
    let request = bed.wait_ready("orders").await;
    assert!(condition(&request, "Stalled").is_none());
    operator.stop().await;
}
