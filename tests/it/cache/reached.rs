//! What is kept is of a server as it is reached, of a vault as it is classed, and of nobody in particular.

use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, Reason, Source};
use portcullis_test_support::connect_dev::{ConnectDev, StateSpec};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, TestOperator, wait};
use serde_json::{Value, json};

use super::{fetches, wait_kept};

const POLL: &str = "GET /v1/vaults";

/// An operator that has delivered `orders` and kept its value.
async fn kept(bed: &Bed) -> TestOperator {
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_kept(&operator, 1.0).await;
    operator
}

async fn wait_polled(bed: &Bed) {
    bed.connect.reset_requests();
    wait::until("a poll", wait::WAIT, async || {
        let polls = bed.connect.requests().route(POLL);
        if polls > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
}

async fn nothing_serves(bed: &Bed) {
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("outage", |_| {}).await;
    bed.wait_reason("outage", Reason::ConnectUnavailable).await;
    assert!(bed.secret("outage").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_interval_and_other_limits_cost_no_fetch() {
    let bed = Bed::new("reach-limits").await;
    let operator = kept(&bed).await;
    let limits = json!({"concurrency": 2, "requestsPerSecond": 50});
    for (name, spec) in
        [("interval", json!({"pollInterval": "2s"})), ("limits", json!({"limits": limits}))]
    {
        bed.patch_server(json!({"spec": spec})).await;
        // The client of before asks once more at most before the new one begins.
        wait_polled(&bed).await;
        wait_polled(&bed).await;
        bed.request(name, |_| {}).await;
        bed.wait_ready(name).await;
        assert_eq!(fetches(&bed), 0);
        assert_eq!(operator.metric("portcullis_cache_entries", &[]), 1.0);
    }
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("outage", |_| {}).await;
    bed.wait_reason("outage", Reason::ServedFromCache).await;
    operator.stop().await;
}

/// What is kept goes with how the server was reached; the Secret stays.
async fn reached_otherwise(
    name: &str,
    prepare: impl AsyncFnOnce(&Bed),
    change: impl AsyncFnOnce(&Bed),
) {
    let bed = Bed::new(name).await;
    prepare(&bed).await;
    let operator = kept(&bed).await;
    let secret = bed.secret("orders").await;
    change(&bed).await;
    wait_kept(&operator, 0.0).await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.wait_ready("orders").await;
    nothing_serves(&bed).await;
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_finds_nothing_kept() {
    let change = async |bed: &Bed| {
        let second = format!("{}-second-token", bed.canary());
        bed.connect.add_token(&second, &["*"]);
        bed.apply_token(&second).await;
    };
    reached_otherwise("reach-token", async |_: &Bed| {}, change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_finds_nothing_kept() {
    let change = async |bed: &Bed| {
        let hosts = [bed.connect.url(), "http://127.0.0.1:9".to_owned()];
        let annotations = json!({ALLOWED_HOSTS_ANNOTATION: hosts.join(",")});
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let tokens: Api<Secret> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
        tokens.patch("connect-token", &PatchParams::default(), &patch).await.unwrap();
        bed.patch_server(json!({"spec": {"hosts": hosts.map(|url| json!({"url": url}))}})).await;
    };
    reached_otherwise("reach-host", async |_: &Bed| {}, change).await;
}

/// A certificate authority that nobody else has.
fn authority() -> String {
    ConnectDev::start_tls(StateSpec::default()).unwrap().ca_pem().unwrap()
}

/// Makes a ConfigMap with an authority.
async fn apply_authority(bed: &Bed) {
    bed.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "connect-ca", "namespace": bed.operator_namespace},
        "data": {"ca.crt": authority()},
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_in_the_spec_finds_nothing_kept() {
    let change = async |bed: &Bed| {
        bed.patch_server(json!({"spec": {"ca": {"inline": authority()}}})).await;
    };
    reached_otherwise("reach-ca", async |_: &Bed| {}, change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_in_the_same_config_map_finds_nothing_kept() {
    let prepare = async |bed: &Bed| {
        apply_authority(bed).await;
        let ca = json!({"configMapRef": {"name": "connect-ca", "key": "ca.crt"}});
        bed.patch_server(json!({"spec": {"ca": ca}})).await;
    };
    reached_otherwise("reach-ca-map", prepare, async |bed: &Bed| apply_authority(bed).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_classed_as_never_kept_loses_its_values_at_once_and_no_other_does() {
    let bed = Bed::new("reach-never").await;
    let row = json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]);
    bed.set_access(row).await;
    let operator = kept(&bed).await;
    bed.request_data("root", &[("password", "op://infra/root/password")]).await;
    bed.wait_ready("root").await;
    wait_kept(&operator, 2.0).await;
    let vaults = |class: &str| json!({"spec": {"vaults": [{"name": "services", "class": class}]}});
    bed.patch_server(vaults("emergency")).await;
    wait_kept(&operator, 1.0).await;
    nothing_serves(&bed).await;
    // Nor does it come back with the class of before.
    bed.patch_server(vaults("integrations")).await;
    let root = "op://infra/root/password";
    bed.request_data("root-again", &[("password", root)]).await;
    bed.wait_reason("root-again", Reason::ServedFromCache).await;
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 1.0);
    assert!(bed.secret("outage").await.is_none());
    operator.stop().await;
}

/// A spec of the bed's item with a limit of staleness.
async fn bearing(bed: &Bed, name: &str, max_staleness: &str) {
    let fallback: Value = json!({"maxStaleness": max_staleness});
    bed.request(name, |spec| spec.fallback = serde_json::from_value(fallback).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_serves_others_when_the_request_that_had_it_fetched_bears_nothing_and_is_gone() {
    let bed = Bed::new("reach-holders").await;
    let operator = bed.operator().await;
    bearing(&bed, "first", "0s").await;
    bed.wait_ready("first").await;
    wait_kept(&operator, 1.0).await;
    bed.delete_request("first").await;
    bearing(&bed, "second", "1h").await;
    bed.wait_ready("second").await;
    assert_eq!(fetches(&bed), 1);
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bearing(&bed, "third", "1h").await;
    let served = bed.wait_reason("third", Reason::ServedFromCache).await;
    assert_eq!(served.status.unwrap().sync.unwrap().source, Source::Cache);
    bed.wait_value("third", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_nobody_used_its_vault_is_not_served_as_it_was() {
    let bed = Bed::new("reach-unused").await;
    let operator = kept(&bed).await;
    bed.delete_request("orders").await;
    wait::until("the request to be forgotten", wait::WAIT, async || {
        let known = operator.metric("portcullis_requests", &[]);
        if known == 0.0 { Ok(()) } else { Err(format!("{known} known")) }
    })
    .await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    wait_polled(&bed).await;
    wait_polled(&bed).await;
    let history = bed.observe_secrets().await;
    bed.request("anew", |_| {}).await;
    bed.wait_value("anew", "password", "rotated").await;
    bed.wait_ready("anew").await;
    assert_eq!(history.of("anew").len(), 1, "another value came before");
    operator.stop().await;
}
