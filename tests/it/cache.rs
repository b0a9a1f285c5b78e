//! How often 1Password is asked for an item, and who gets what is kept of it.

mod figures;
mod reached;
mod warm;

use std::time::{Duration, Instant};

use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::ListParams;
use portcullis_test_support::{Bed, TestOperator, condition, wait};
use serde_json::{Value, json};

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

fn fetches(bed: &Bed) -> u64 {
    bed.connect.requests().route(ITEM)
}

async fn wait_kept(operator: &TestOperator, values: f64) {
    wait::until(&format!("{values} values to be kept"), wait::WAIT, async || {
        let kept = operator.metric("portcullis_cache_entries", &[]);
        if kept == values { Ok(()) } else { Err(format!("{kept} are")) }
    })
    .await;
}

/// Waits until so many Secrets of the tenant hold a password.
async fn wait_secrets(bed: &Bed, count: usize, password: &str) {
    let all = ListParams::default().labels("portcullis.dev/managed=true");
    let holds = |secret: &&Secret| {
        let value = secret.data.as_ref().and_then(|d| d.get("password"));
        value.is_some_and(|v| v.0 == password.as_bytes())
    };
    wait::until(&format!("{count} Secrets"), wait::LONGEST, async || {
        let secrets = bed.secrets().list(&all).await.map_err(|e| e.to_string())?;
        let right = secrets.items.iter().filter(holds).count();
        if right == count { Ok(()) } else { Err(format!("{right} Secrets")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_for_one_item_cost_one_fetch_and_one_more_when_it_changes() {
    let bed = Bed::new("cache-many").await;
    for n in 0..200 {
        bed.request(&format!("orders-{n}"), |_| {}).await;
    }
    let operator = bed.operator().await;
    wait_secrets(&bed, 200, &bed.value("orders-db", "password")).await;
    assert_eq!(fetches(&bed), 1);
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    wait_secrets(&bed, 200, &rotated).await;
    assert_eq!(fetches(&bed), 2);
    operator.stop().await;
}

/// Nothing of the class of the vault is kept: each need is a fetch, and in an outage nothing serves.
async fn never_kept(name: &str, spec: Value) {
    let bed = Bed::new(name).await;
    bed.patch_server(json!({"spec": spec})).await;
    let operator = bed.operator().await;
    for n in 1..=3 {
        let name = format!("orders-{n}");
        bed.request(&name, |_| {}).await;
        bed.wait_ready(&name).await;
        assert_eq!(fetches(&bed), n);
    }
    bed.delete_secret("orders-1").await;
    bed.wait_value("orders-1", "password", &bed.value("orders-db", "password")).await;
    assert_eq!(fetches(&bed), 4);
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 0.0);
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("new", |_| {}).await;
    bed.wait_reason("new", Reason::ConnectUnavailable).await;
    assert!(bed.secret("new").await.is_none());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_emergencies_is_fetched_for_each_need_and_not_kept() {
    never_kept("cache-emergency", json!({"vaults": [{"name": "services", "class": "emergency"}]}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_of_ones_own_may_say_that_nothing_is_kept() {
    let classes = json!([{"name": "payroll", "cache": "Never"}]);
    never_kept("cache-never", json!({"classes": classes, "defaultClass": "payroll"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_nobody_confirmed_within_its_time_is_asked_for_again() {
    let bed = Bed::new("cache-ttl").await;
    let class = |ttl| json!([{"name": "integrations", "ttl": ttl}]);
    // No poll comes in between that would confirm it.
    bed.patch_server(json!({"spec": {"pollInterval": "1h", "classes": class("1s")}})).await;
    let operator = bed.operator().await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    assert_eq!(fetches(&bed), 1);
    let fetched = Instant::now();
    wait::until("the value to be old", wait::WAIT, async || {
        let age = fetched.elapsed();
        (age > Duration::from_secs(1)).then_some(()).ok_or_else(|| format!("{age:?}"))
    })
    .await;
    bed.request("second", |_| {}).await;
    bed.wait_ready("second").await;
    assert_eq!(fetches(&bed), 2);
    // The same value is young enough for a class that allows more.
    bed.patch_server(json!({"spec": {"classes": class("1h")}})).await;
    for name in ["third", "fourth"] {
        bed.request(name, |_| {}).await;
        bed.wait_ready(name).await;
    }
    assert!(fetches(&bed) <= 3, "at most once more, before the new class is known");
    let before = fetches(&bed);
    bed.request("fifth", |_| {}).await;
    bed.wait_ready("fifth").await;
    assert_eq!(fetches(&bed), before);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_standing_grants_use_is_fetched_ahead_after_a_restart_and_serves_in_the_next_outage() {
    let bed = Bed::new("cache-warm").await;
    bed.patch_server(json!({"spec": {"cache": {"warm": true}}})).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.request_data("api", &[("password", "op://services/orders-api/password")]).await;
    bed.wait_ready("orders").await;
    bed.wait_ready("api").await;
    operator.stop().await;
    bed.connect.reset_requests();

    let operator = bed.operator().await;
    wait::until("both items to be fetched ahead", wait::WAIT, async || {
        let warmed = operator.metric("portcullis_cache_warmed_total", &[("result", "ok")]);
        let waiting = operator.metric("portcullis_cache_warming", &[]);
        if (warmed, waiting) == (2.0, 0.0) { Ok(()) } else { Err(format!("{warmed}, {waiting}")) }
    })
    .await;
    assert_eq!(fetches(&bed), 2);
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.delete_secret("orders").await;
    bed.request_data("new", &[("password", "op://services/orders-api/password")]).await;
    for (name, item) in [("orders", "orders-db"), ("new", "orders-api")] {
        bed.wait_reason(name, Reason::ServedFromCache).await;
        bed.wait_value(name, "password", &bed.value(item, "password")).await;
    }
    let used = operator.metric("portcullis_cache_warmed_total", &[("result", "used")]);
    assert_eq!(used, 2.0, "each of both served");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_warming_fetches_nothing_ahead() {
    let bed = Bed::new("cache-cold").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
    bed.connect.reset_requests();
    let operator = bed.operator().await;
    crate::restart::settled(&bed, &operator, 1).await;
    assert_eq!(fetches(&bed), 0);
    assert_eq!(operator.metric("portcullis_cache_warmed_total", &[]), 0.0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_of_no_use_to_a_namespace_whose_access_row_is_gone() {
    let bed = Bed::new("cache-access").await;
    // A Secret of a moment ago would be taken back.
    let settings = Settings { undo_window: Duration::ZERO, ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_kept(&operator, 1.0).await;
    bed.set_access(json!([{"name": "others", "namespaces": {"names": ["others"]}, "vaults": [{"name": "services"}]}]))
        .await;
    let denied = |r: &CredentialRequest| {
        condition(r, "Ready")
            .is_some_and(|c| c.status == "False" && c.reason == Reason::VaultNotAllowed.as_str())
    };
    bed.wait_request("orders", "to be denied", denied).await;
    bed.delete_secret("orders").await;
    bed.request("new", |_| {}).await;
    bed.wait_request("new", "to be denied", denied).await;
    // In an outage as well, when nothing else could serve.
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request("newer", |_| {}).await;
    bed.wait_request("newer", "to be denied", denied).await;
    for name in ["orders", "new", "newer"] {
        assert!(bed.secret(name).await.is_none(), "{name}");
    }
    assert_eq!(fetches(&bed), 1);
    operator.stop().await;
}
