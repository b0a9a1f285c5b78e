//! One bad object does not hold up the others, and instances keep to what is theirs: the requests of their class's
//! servers in their namespaces.

use std::sync::Arc;
use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis::audit::{AuditConfig, OnFailure, StreamSink};
use portcullis::connect::Proxy;
use portcullis::controller::{CacheKeys, Operator, OperatorConfig};
use portcullis::leader::Leadership;
use portcullis::settings::Settings;
use portcullis::telemetry::Metrics;
use portcullis_test_support::connect_dev::{ConnectDev, FaultKind, FaultSpec, ItemSpec, StateSpec};
use portcullis_test_support::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{Patch, PatchParams, PostParams};
use portcullis_test_support::{Bed, Cluster, manifests, wait};
use serde_json::{Value, json};

const ITEM_ROUTE: &str = "GET /v1/vaults/{v}/items/{i}";

/// An operator of a bed's class and rights that serves these namespaces.
pub(crate) async fn operator_in(bed: &Bed, namespaces: &[&str]) -> Operator {
    operator_in_with(bed, namespaces, Settings::for_tests()).await
}

/// The same with other settings.
pub(crate) async fn operator_in_with(
    bed: &Bed,
    namespaces: &[&str],
    settings: Settings,
) -> Operator {
    let metrics = Arc::new(Metrics::new());
    let config = OperatorConfig {
        delegates: Vec::new(),
        requested_by_policy: None,
        admission_policies: Vec::new(),
        proxy: Proxy::None,
        cache_keys: CacheKeys::Ephemeral,
        environment: Arc::new(|_| None),
        client: bed.service_account_client().await,
        controller_class: bed.class.clone(),
        namespaces: namespaces.iter().map(|&n| n.to_owned()).collect(),
        operator_namespace: bed.operator_namespace.clone(),
        settings,
        audit: AuditConfig {
            sink: Box::new(StreamSink::new(Box::new(std::io::sink()))),
            on_failure: OnFailure::Block,
        },
        leadership: Leadership::alone(),
        metrics,
    };
    let operator = Operator::start(config).await.expect("the operator starts");
    operator.readiness().ready().await;
    operator
}

/// Whether the bed's operator has written anything about an object of a name.
async fn has_written(bed: &Bed, name: &str) -> bool {
    let calls = bed.operator_calls().await;
    calls.iter().any(|call| {
        call["objectRef"]["name"] == name
            && ["create", "patch", "delete"].iter().any(|verb| call["verb"] == *verb)
    })
}

/// Lets the cluster take types of Secrets that this version does not know, as the CRD of a later one would.
async fn loosen_types(bed: &Bed) {
    let crds: Api<CustomResourceDefinition> = Api::all(bed.client.clone());
    let name = "credentialrequests.portcullis.dev";
    let pointer = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/target/properties/type/enum";
    let patch: Patch<()> =
        Patch::Json(serde_json::from_value(json!([{"op": "remove", "path": pointer}])).unwrap());
    crds.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn reason_of(bed: &Bed, request: &Value) -> Result<String, String> {
    let api = manifests::api(&bed.client, request).map_err(|e| e.to_string())?;
    let found =
        api.get(request["metadata"]["name"].as_str().unwrap()).await.map_err(|e| e.to_string())?;
    let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|c| c["type"] == "Ready").ok_or("no condition")?;
    Ok(format!("{} {}", ready["reason"].as_str().unwrap(), ready["message"].as_str().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_this_version_cannot_read_says_so_and_the_others_go_on() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "unreadable").await;
    let stranger = Bed::on(&cluster, "stranger").await;
    loosen_types(&bed).await;
    let operator = bed.operator().await;
    let strange = operator_in(&stranger, &[&bed.namespace]).await;
    bed.request("before", |_| {}).await;
    bed.wait_ready("before").await;
    let mut odd = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": {"name": "odd", "namespace": bed.namespace},
        "spec": {"serverRef": {"name": bed.server}, "purpose": "a test", "target": {"type": "example.com/later"},
                 "data": [{"key": "password", "ref": "op://services/orders-db/password"}]},
    });
    wait::until("the loosened CRD", wait::WAIT, async || {
        manifests::apply(&bed.client, &odd).await.map(|_| ()).map_err(|e| format!("{e:#}"))
    })
    .await;
    let says_so = async || match reason_of(&bed, &odd).await? {
        reason if reason.starts_with("InvalidSpec ") => Ok(reason),
        other => Err(other),
    };
    let message = wait::until("InvalidSpec", wait::WAIT, says_so).await;
    assert!(!message.contains("example.com/later"), "quotes nothing: {message}");
    bed.request("after", |_| {}).await;
    bed.wait_ready("after").await;
    bed.delete_secret("before").await;
    bed.wait_value("before", "password", &bed.value("orders-db", "password")).await;
    assert!(
        !has_written(&stranger, "odd").await,
        "an instance of another class may be of another version"
    );

    // An operator that starts with it there is not held up, either.
    operator.stop().await;
    let operator = bed.operator().await;
    bed.request("later", |_| {}).await;
    bed.wait_ready("later").await;
    odd["spec"]["target"]["type"] = json!("Opaque");
    manifests::apply(&bed.client, &odd).await.unwrap();
    bed.wait_ready("odd").await;
    strange.shutdown().await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_two_classes_share_a_namespace_without_touching_each_others_requests() {
    let (one, two) = (Bed::new("class-one").await, Bed::new("class-two").await);
    let both = [one.namespace.as_str(), two.namespace.as_str()];
    let second = operator_in(&two, &both).await;
    // Only the other instance runs: it leaves these alone, whatever they are.
    one.request("plain", |_| {}).await;
    one.request("suspended", |spec| spec.suspend = Some(true)).await;
    one.request("others", |spec| {
        spec.server_ref = serde_json::from_value(json!({"name": two.server})).unwrap();
    })
    .await;
    one.wait_reason("others", Reason::VaultNotAllowed).await;
    for name in ["plain", "suspended"] {
        assert!(one.get_request(name).await.status.is_none(), "{name}");
    }
    let first = operator_in(&one, &both).await;
    one.wait_ready("plain").await;
    one.wait_reason("suspended", Reason::Suspended).await;
    two.request("theirs", |_| {}).await;
    two.wait_ready("theirs").await;
    // Drift is the owner's affair as well.
    one.delete_secret("plain").await;
    one.wait_value("plain", "password", &one.value("orders-db", "password")).await;
    for name in ["plain", "suspended"] {
        assert!(!has_written(&two, name).await, "{name}");
    }
    assert!(!has_written(&one, "others").await);
    assert!(!has_written(&one, "theirs").await);
    assert!(!has_written(&one, &two.server).await);
    assert!(!has_written(&one, &two.policy).await);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_an_unlisted_namespace_is_left_alone() {
    let bed = Bed::new("unlisted").await;
    let elsewhere = bed.tenant("other", &[]).await;
    let all =
        json!([{"name": "all", "namespaces": {"all": true}, "vaults": [{"name": "services"}]}]);
    bed.set_access(all).await;
    let operator = bed.operator().await;
    let requests: Api<CredentialRequest> = Api::namespaced(bed.client.clone(), &elsewhere);
    let request = CredentialRequest::new("far", bed.spec());
    requests.create(&PostParams::default(), &request).await.unwrap();
    bed.request("near", |_| {}).await;
    bed.wait_ready("near").await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("near", "password", "rotated").await;
    assert!(requests.get("far").await.unwrap().status.is_none());
    assert!(!has_written(&bed, "far").await);
    // An instance that is given that namespace later serves it.
    let wider = operator_in(&bed, &[&elsewhere]).await;
    wait::until("far to be served", wait::WAIT, async || {
        let status = requests.get("far").await.map_err(|e| e.to_string())?.status;
        status.map(|_| ()).ok_or_else(|| "no status".to_owned())
    })
    .await;
    wider.shutdown().await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_does_not_hold_up_the_requests_of_another() {
    let bed = Bed::new("out-two").await;
    // More fetches hang than there are workers, and than a namespace may hold.
    let settings =
        Settings { workers: 2, interactive_workers: 0, flow_workers: 1, ..Settings::for_tests() };
    let other_token = format!("{}-other", bed.token);
    let item = ItemSpec::new("item").field("field", "v1");
    let other = ConnectDev::start(
        StateSpec::default().token(&other_token, &["*"]).vault("services", vec![item]),
    )
    .unwrap();
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "other-token", "namespace": bed.operator_namespace,
                     "labels": {"portcullis.dev/purpose": "connect-token"},
                     "annotations": {"portcullis.dev/allowed-hosts": other.url()}},
        "stringData": {"token": other_token},
    }))
    .await;
    let name = format!("{}-other", bed.class);
    let mut server = bed.server_manifest();
    server["metadata"]["name"] = json!(name);
    server["spec"]["hosts"] = json!([{"url": other.url()}]);
    server["spec"]["tokenSecretRef"] = json!({"name": "other-token"});
    bed.apply(server).await;
    bed.patch_server(json!({"spec": {"limits": {"concurrency": 3}}})).await;
    let operator = bed.operator_with(settings).await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.connect.fault(FaultSpec::new(FaultKind::Hang).on(ITEM_ROUTE));
    for i in 0..12 {
        bed.request(&format!("hung-{i}"), |_| {}).await;
    }
    let data = json!([{"key": "k", "ref": "op://services/item/field"}]);
    let spec = json!({"serverRef": {"name": name}, "purpose": "a test", "data": data});
    bed.apply_request(json!({"metadata": {"name": "well"}, "spec": spec})).await.unwrap();
    bed.wait_value("well", "k", "v1").await;
    for value in ["v2", "v3"] {
        other.set_field("services", "item", "field", value).unwrap();
        let start = std::time::Instant::now();
        bed.wait_value("well", "k", value).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    bed.connect.clear_faults();
    for i in 0..12 {
        bed.wait_ready(&format!("hung-{i}")).await;
    }
    operator.stop().await;
}
