//! Threat 4: an outage, or one item that always fails, is to have everybody denied, and Secrets deleted with it.

use std::time::Duration;

use futures::future::join_all;
use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::{Bed, OperatorOptions, condition, manifests, wait};
use serde_json::json;

/// Requests in one namespace; `make bench` has 2,000.
const MANY: usize = 200;
/// An hour where everything takes a three-hundredth of its time.
const HOUR: Duration = Duration::from_secs(12);

fn at_a_three_hundredth() -> Settings {
    let full = Settings::default();
    Settings {
        poll_interval: full.poll_interval / 300,
        health_interval: full.health_interval / 300,
        relist_interval: full.relist_interval / 300,
        cool_down_first: full.cool_down_first / 300,
        cool_down_max: full.cool_down_max / 300,
        refusal_confirm: full.refusal_confirm / 300,
        retry_first: full.retry_first / 300,
        retry_max: full.retry_max / 300,
        ..Settings::for_tests()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_outage_denies_nobody_and_changes_no_secret() {
    let bed = Bed::new("outage-hour").await;
    let mut baseline = manifests::baseline().unwrap()["spec"].take();
    baseline["onDenied"] = json!("Delete");
    bed.policy("baseline", baseline).await;
    // What is kept is long out of date when the hour is over, and not yet too old to serve.
    let classes = json!([{"name": "integrations", "ttl": "3s"}]);
    let fallback = json!({"maxStaleness": "288s"});
    let spec = json!({"pollInterval": null, "classes": classes, "fallback": fallback});
    bed.patch_server(json!({ "spec": spec })).await;
    let operator = bed
        .operator_of(OperatorOptions { settings: at_a_three_hundredth(), ..Default::default() })
        .await;
    let standing: Vec<String> = (0..10).map(|n| format!("orders-{n}")).collect();
    for name in &standing {
        bed.request(name, |_| {}).await;
    }
    let mut secrets = Vec::new();
    for name in &standing {
        bed.wait_ready(name).await;
        secrets.push(bed.secret(name).await);
    }
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    for name in &standing {
        bed.wait_reason(name, Reason::ConnectUnavailable).await;
    }
    let versions = async || {
        let requests = bed.requests().list(&Default::default()).await.unwrap().items;
        let versions = requests.into_iter().map(|r| (r.metadata.name, r.metadata.resource_version));
        versions.collect::<Vec<_>>()
    };
    let before = versions().await;
    wait::throughout("an hour in which nothing changes", HOUR, async || {
        let now = versions().await;
        if now == before { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
    })
    .await;
    // Whoever comes new, or lost a Secret, is served.
    bed.delete_secret("orders-0").await;
    bed.request("new", |_| {}).await;
    for name in ["orders-0", "new"] {
        bed.wait_reason(name, Reason::ServedFromCache).await;
        bed.wait_value(name, "password", &bed.value("orders-db", "password")).await;
    }
    for (name, secret) in standing.iter().zip(&secrets).skip(1) {
        assert!(history.of(name).is_empty(), "{name}");
        assert_eq!(&bed.secret(name).await, secret);
    }
    assert!(!operator.audit.text().contains("Denied"), "{}", operator.audit.text());
    bed.connect.restart().unwrap();
    let synced = |r: &CredentialRequest| condition(r, "Synced").is_some_and(|c| c.status == "True");
    for name in standing.iter().map(String::as_str).chain(["new"]) {
        bed.wait_request(name, "to be synced", synced).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_many_requests_in_an_outage_and_after_it_denies_nobody_and_writes_no_secret()
{
    let bed = Bed::new("outage-many").await;
    let operator = bed.operator().await;
    let names: Vec<String> = (0..MANY).map(|n| format!("orders-{n}")).collect();
    for some in names.chunks(16) {
        join_all(some.iter().map(|name| bed.request(name, |_| {}))).await;
    }
    for name in &names {
        bed.wait_ready(name).await;
    }
    operator.stop().await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    let operator = bed.operator().await;
    for name in &names {
        let request = bed.wait_reason(name, Reason::ConnectUnavailable).await;
        assert_eq!(condition(&request, "Ready").unwrap().status, "True", "{name}");
    }
    operator.stop().await;
    bed.connect.restart().unwrap();
    bed.connect.reset_requests();
    let operator = bed.operator().await;
    for name in &names {
        bed.wait_reason(name, Reason::Synced).await;
    }
    let text = operator.audit.text();
    assert!(!text.contains("Denied"), "{text}");
    assert!(names.iter().all(|name| history.of(name).is_empty()), "a Secret was written");
    assert_eq!(bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}"), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_item_that_always_fails_opens_no_breaker_however_many_ask_for_it() {
    let bed = Bed::new("bad-item").await;
    for title in ["orders-cache", "orders-mail"] {
        let value = format!("{}-{title}", bed.canary());
        bed.connect.add_item("services", ItemSpec::new(title).field("password", &value)).unwrap();
    }
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let vault = bed.connect.vault_id("services").unwrap();
    let api = format!("/v1/vaults/{vault}/items/{}", bed.item_id("orders-api"));
    let error = FaultKind::Status { code: 500, message: "no".to_owned() };
    bed.connect.fault(FaultSpec::new(error).under(&api));
    let bad: Vec<String> = (0..20).map(|n| format!("bad-{n}")).collect();
    for name in &bad {
        bed.request_data(name, &[("password", "op://services/orders-api/password")]).await;
    }
    for name in &bad {
        bed.wait_reason(name, Reason::ConnectUnavailable).await;
    }
    let is_closed = || operator.metric("portcullis_connect_breaker_open", &[]) == 0.0;
    for n in 0..5 {
        let value = format!("{}-{n}", bed.canary());
        bed.connect.set_field("services", "orders-db", "password", &value).unwrap();
        bed.wait_value("good", "password", &value).await;
        assert!(is_closed());
    }
    for title in ["orders-cache", "orders-mail"] {
        let reference = format!("op://services/{title}/password");
        bed.request_data(title, &[("password", &reference)]).await;
        bed.wait_ready(title).await;
    }
    assert!(is_closed());
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.connect.clear_faults();
    for name in &bad {
        bed.wait_ready(name).await;
    }
    operator.stop().await;
}
