//! What stands in while 1Password cannot be asked: in which order, for whom, how it is told of, and how it ends.

mod environment;
mod links;
mod outlived;
mod refused;
mod secret;
mod told;

use portcullis::api::Reason;
use portcullis::api::{CredentialRequest, Source};
use portcullis::settings::Settings;
use portcullis_test_support::k8s_openapi::api::events::v1::Event;
use portcullis_test_support::{Bed, OperatorOptions, TestOperator, condition, wait};
use serde_json::{Value, json};

const ITEM_ROUTE: &str = "GET /v1/vaults/{v}/items/{i}";
const FALLBACKS: &str = "portcullis_fallbacks_total";
/// The name of the fallback Secret.
const SPARE: &str = "spare";

/// What a stand-in for a field holds.
fn stand_in(bed: &Bed, of: &str) -> String {
    format!("{}-stands-in-for-{of}", bed.canary())
}

/// An operator with these variables in its environment.
async fn operator_with(bed: &Bed, variables: &[(&str, &str)]) -> TestOperator {
    let environment = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    bed.operator_of(OperatorOptions {
        settings: Settings::for_tests(),
        environment,
        ..OperatorOptions::default()
    })
    .await
}

/// Delivers `good`, made of `orders-db`, and has Connect go: the vault is listed then, and nothing of `orders-api`
/// is kept.
async fn begin_outage(bed: &Bed) {
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
}

/// Waits for an Event of a reason; its type.
async fn wait_event(bed: &Bed, name: &str, reason: Reason, message: &str) -> String {
    wait::until(&format!("an Event {reason} of {name}"), wait::WAIT, async || {
        let events = bed.events(name).await;
        let said = |e: &&Event| {
            e.reason.as_deref() == Some(reason.as_str())
                && e.note.as_deref().is_some_and(|note| note.contains(message))
        };
        let found = events.iter().find(said).and_then(|e| e.type_.clone());
        found.ok_or_else(|| format!("{:?}", events.iter().map(|e| &e.note).collect::<Vec<_>>()))
    })
    .await
}

/// Makes a Secret `spare` that allows a request, if any.
async fn spare(bed: &Bed, type_: &str, allows: Option<&str>, values: &[(&str, &str)]) {
    let values: std::collections::BTreeMap<_, _> = values.iter().copied().collect();
    let annotations = allows.map(|request| json!({"portcullis.dev/allow-request": request}));
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "type": type_, "stringData": values,
        "metadata": {"name": SPARE, "namespace": bed.namespace, "annotations": annotations.unwrap_or_default()},
    }))
    .await;
}

/// Makes a request of these keys and references with a fallback.
async fn request(bed: &Bed, name: &str, data: &[(&str, &str)], fallback: Value) {
    let data: Vec<_> = data.iter().map(|(key, of)| json!({"key": key, "ref": of})).collect();
    let spec = json!({"purpose": "a test", "data": data, "fallback": fallback});
    bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
}

fn from_spare() -> Value {
    json!({"secretRef": {"name": SPARE}})
}

fn source(request: &CredentialRequest) -> Option<Source> {
    request.status.as_ref().and_then(|s| s.sync.as_ref()).map(|s| s.source)
}

/// Waits for a request to be ready with a Secret that was made of a source.
async fn wait_source(bed: &Bed, name: &str, expected: Source) -> CredentialRequest {
    let reason = match expected {
        Source::Connect => Reason::Synced,
        Source::Cache => Reason::ServedFromCache,
        Source::FallbackSecret => Reason::ServedFromFallbackSecret,
        Source::Environment => Reason::ServedFromEnvironment,
    };
    let is = |r: &CredentialRequest| {
        let says = |type_, status| {
            condition(r, type_).is_some_and(|c| c.status == status && c.reason == reason.as_str())
        };
        let is_synced = if expected == Source::Connect { "True" } else { "False" };
        source(r) == Some(expected) && says("Ready", "True") && says("Synced", is_synced)
    };
    let request = bed.wait_request(name, &format!("to be made of {expected:?}"), is).await;
    let since = &request.status.as_ref().unwrap().sync.as_ref().unwrap().stale_since;
    assert_eq!(since.is_some(), expected != Source::Connect, "{since:?}");
    request
}

/// Waits for a request that is not ready because Connect is away; what it says.
async fn wait_nothing(bed: &Bed, name: &str) -> String {
    let is = |r: &CredentialRequest| {
        condition(r, "Ready")
            .is_some_and(|c| c.status == "False" && c.reason == Reason::ConnectUnavailable.as_str())
    };
    let request = bed.wait_request(name, "to have nothing", is).await;
    assert!(bed.secret(name).await.is_none());
    condition(&request, "Synced").unwrap().message.clone()
}
