//! The links of the chain, in their order, and the switch of each.

use std::time::Duration;

use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, CredentialRequest, Reason, Source};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

use super::{
    SPARE, begin_outage, from_spare, operator_with, request, source, spare, stand_in, wait_nothing,
    wait_source,
};

const DB: &[(&str, &str)] = &[("password", "op://services/orders-db/password")];
const API: &[(&str, &str)] = &[("password", "op://services/orders-api/password")];

/// Both items are mapped to a variable `SPARE`, and the Secret `spare` is for the request `one`.
async fn furnish(bed: &Bed) {
    let entries = ["op://services/orders-db/password", "op://services/orders-api/password"]
        .map(|of| json!({"ref": of, "variable": "SPARE"}));
    bed.patch_server(json!({"spec": {"fallback": {"environment": entries}}})).await;
    spare(bed, "Opaque", Some("one"), &[("password", &stand_in(bed, "secret"))]).await;
}

/// Makes the request `one` anew, and waits for what its Secret is made of. Whether it stays ready is another
/// matter: with `0s` no Secret is good in an outage for long.
async fn once(bed: &Bed, data: &[(&str, &str)], fallback: serde_json::Value, expected: Source) {
    request(bed, "one", data, fallback).await;
    bed.wait_request("one", &format!("to be made of {expected:?}"), |r| {
        source(r) == Some(expected)
    })
    .await;
    let value = match expected {
        Source::FallbackSecret => stand_in(bed, "secret"),
        Source::Environment => stand_in(bed, "variable"),
        _ if data == DB => bed.value("orders-db", "password"),
        _ => bed.value("orders-api", "password"),
    };
    bed.wait_value("one", "password", &value).await;
    bed.delete_request("one").await;
    // Garbage collection may have been first.
    let _ = bed.secrets().delete("one", &DeleteParams::default()).await;
    bed.wait_no_secret("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_link_serves_where_those_before_it_do_not() {
    let bed = Bed::new("fall-links").await;
    let second = bed.connect.replica().unwrap();
    let tokens: Api<Secret> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
    let hosts = [bed.connect.url(), second.url()];
    let allowed = json!({"metadata": {"annotations": {ALLOWED_HOSTS_ANNOTATION: hosts.join(",")}}});
    tokens.patch("connect-token", &PatchParams::default(), &Patch::Merge(allowed)).await.unwrap();
    bed.patch_server(json!({"spec": {"hosts": hosts.map(|url| json!({"url": url}))}})).await;
    furnish(&bed).await;
    let operator = operator_with(&bed, &[("SPARE", &stand_in(&bed, "variable"))]).await;
    bed.wait_server_reason("Ready", Reason::Connected).await;

    bed.connect.stop();
    once(&bed, DB, from_spare(), Source::Connect).await;
    second.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    once(&bed, DB, from_spare(), Source::Cache).await;
    once(&bed, API, from_spare(), Source::FallbackSecret).await;
    once(&bed, API, json!({}), Source::Environment).await;
    bed.patch_server(json!({"spec": {"fallback": {"environment": []}}})).await;
    wait::until("the ConnectServer to be read anew", wait::WAIT, async || {
        let server = bed.get_server().await;
        let observed = server.status.and_then(|status| status.observed_generation);
        if observed == server.metadata.generation { Ok(()) } else { Err(format!("{observed:?}")) }
    })
    .await;
    request(&bed, "one", API, json!({})).await;
    wait_nothing(&bed, "one").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_link_can_be_switched_off_without_the_others() {
    let bed = Bed::new("fall-switch").await;
    furnish(&bed).await;
    let operator = operator_with(&bed, &[("SPARE", &stand_in(&bed, "variable"))]).await;
    begin_outage(&bed).await;
    once(&bed, DB, from_spare(), Source::Cache).await;
    // By the request alone.
    let off = json!({"maxStaleness": "0s"});
    once(
        &bed,
        DB,
        json!({"maxStaleness": "0s", "secretRef": {"name": SPARE}}),
        Source::FallbackSecret,
    )
    .await;
    once(&bed, DB, off.clone(), Source::Environment).await;
    once(&bed, DB, json!({}), Source::Cache).await;
    // By the class alone.
    let classes = json!([{"name": "integrations", "ttl": "15m", "maxStaleness": "0s"}]);
    bed.patch_server(json!({"spec": {"classes": classes}})).await;
    once(&bed, DB, from_spare(), Source::FallbackSecret).await;
    once(&bed, DB, json!({}), Source::Environment).await;
    bed.patch_server(json!({"spec": {"classes": []}})).await;
    once(&bed, DB, json!({}), Source::Cache).await;
    // By the server alone.
    bed.patch_server(json!({"spec": {"fallback": off}})).await;
    once(&bed, DB, from_spare(), Source::FallbackSecret).await;
    bed.patch_server(json!({"spec": {"fallback": {"environment": []}}})).await;
    once(&bed, DB, from_spare(), Source::FallbackSecret).await;
    request(&bed, "one", DB, json!({})).await;
    wait_nothing(&bed, "one").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_bears_less_staleness_than_its_server_stops_being_ready_before_the_others() {
    let bed = Bed::new("fall-shorter").await;
    let operator = operator_with(&bed, &[]).await;
    request(&bed, "short", DB, json!({"maxStaleness": "3s"})).await;
    // The server's is less than what this one would bear.
    request(&bed, "long", DB, json!({"maxStaleness": "160h"})).await;
    bed.wait_ready("short").await;
    bed.wait_ready("long").await;
    let secrets = (bed.secret("short").await, bed.secret("long").await);
    begin_outage(&bed).await;
    let is_ready = |r: &CredentialRequest, status: &str| {
        condition(r, "Ready")
            .is_some_and(|c| c.status == status && c.reason == Reason::ConnectUnavailable.as_str())
    };
    bed.wait_request("short", "to be too old", |r| is_ready(r, "False")).await;
    wait::throughout("readiness of the others", Duration::from_millis(500), async || {
        let all = [bed.get_request("long").await, bed.get_request("good").await];
        if all.iter().all(|r| is_ready(r, "True")) { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "1s"}}})).await;
    for name in ["long", "good"] {
        bed.wait_request(name, "to be too old", |r| is_ready(r, "False")).await;
    }
    assert_eq!((bed.secret("short").await, bed.secret("long").await), secrets);
    bed.connect.restart().unwrap();
    for name in ["short", "long", "good"] {
        wait_source(&bed, name, Source::Connect).await;
    }
    assert_eq!((bed.secret("short").await, bed.secret("long").await), secrets);
    operator.stop().await;
}
