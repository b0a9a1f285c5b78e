//! Threat 4: an outage, or one item that always fails, is to have everybody denied, and Secrets deleted with it.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::kube::api::ListParams;
use portcullis_test_support::{Bed, TestOperator, condition, manifests, wait};
use serde_json::json;

use crate::restart::settled;

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

/// The policy that is shipped; its name.
async fn baseline(bed: &Bed) -> String {
    let mut spec = manifests::baseline().unwrap()["spec"].take();
    spec["onDenied"] = json!("Delete");
    bed.policy("baseline", spec).await
}

/// The resourceVersions of all requests and of all their Secrets.
async fn versions(bed: &Bed) -> Vec<(String, Option<String>)> {
    let requests = bed.requests().list(&ListParams::default()).await.unwrap().items;
    let managed = ListParams::default().labels("portcullis.dev/managed=true");
    let secrets = bed.secrets().list(&managed).await.unwrap().items;
    let of_requests =
        requests.into_iter().map(|r| (format!("request {}", r.name_any()), r.metadata));
    let of_secrets = secrets.into_iter().map(|s| (format!("Secret {}", s.name_any()), s.metadata));
    of_requests.chain(of_secrets).map(|(name, meta)| (name, meta.resource_version)).collect()
}

/// Waits until `Synced` of every request has a status, and says so of its spec.
async fn wait_all_synced(bed: &Bed, status: &str) {
    wait::until(&format!("every request to be Synced={status}"), wait::LONGEST, async || {
        let listed =
            bed.requests().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let is =
            |r: &&CredentialRequest| condition(r, "Synced").is_some_and(|c| c.status == status);
        let others = listed.items.iter().filter(|r| !is(r)).count();
        if others == 0 { Ok(()) } else { Err(format!("{others} are not")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_outage_that_outlasts_every_ttl_denies_nobody_and_changes_no_secret() {
    let bed = Bed::new("outage-hour").await;
    let policy = baseline(&bed).await;
    // A vault of each class, whose times are scaled as the hour is.
    let items = [("services", "orders-db"), ("infra", "root"), ("partners", "token")];
    bed.connect.add_vault("partners").unwrap();
    let value = |item: &str| bed.value(item, "password");
    let token = ItemSpec::new("token").field("password", &value("token"));
    bed.connect.add_item("partners", token).unwrap();
    let vaults = json!([{"name": "services"}, {"name": "infra"}, {"name": "partners"}]);
    bed.set_access(
        json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": vaults}]),
    )
    .await;
    bed.patch_server(json!({"spec": {
        "pollInterval": null,
        "vaults": [{"name": "infra", "class": "infrastructure"}, {"name": "services", "class": "services"}],
        "classes": [
            {"name": "infrastructure", "ttl": "12s"},
            {"name": "services", "ttl": "6s"},
            {"name": "integrations", "ttl": "3s"},
        ],
    }}))
    .await;
    let operator = bed.operator_with(at_a_three_hundredth()).await;
    bed.wait_policy(&policy, "True").await;
    let ask = async |name: &str, (vault, item): (&str, &str)| {
        bed.request_data(name, &[("password", &format!("op://{vault}/{item}/password"))]).await;
    };
    for n in 0..12 {
        ask(&format!("standing-{n}"), items[n % 3]).await;
    }
    wait_all_synced(&bed, "True").await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    wait_all_synced(&bed, "False").await;
    let before = versions(&bed).await;
    assert_eq!(before.len(), 24);
    wait::throughout("more than an hour in which nothing changes", HOUR + HOUR / 12, async || {
        let now = versions(&bed).await;
        if now == before { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
    })
    .await;
    // Whoever comes new, or lost a Secret, is served from what no class would count as current any more.
    for (n, of) in items.into_iter().enumerate() {
        let (lost, new) = (format!("standing-{n}"), format!("new-{n}"));
        bed.delete_secret(&lost).await;
        ask(&new, of).await;
        for name in [lost, new] {
            bed.wait_reason(&name, Reason::ServedFromCache).await;
            bed.wait_value(&name, "password", &value(of.1)).await;
        }
    }
    for n in 3..12 {
        assert!(history.of(&format!("standing-{n}")).is_empty(), "standing-{n}");
    }
    assert!(!operator.audit.text().contains("Denied"), "{}", operator.audit.text());
    bed.connect.restart().unwrap();
    wait_all_synced(&bed, "True").await;
    for n in 3..12 {
        assert!(history.of(&format!("standing-{n}")).is_empty(), "standing-{n}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_requests_of_a_namespace_outlive_restarts_in_an_outage_and_after_it() {
    let bed = Bed::new("outage-many").await;
    let policy = baseline(&bed).await;
    let operator = bed.operator().await;
    bed.wait_policy(&policy, "True").await;
    for n in 0..300 {
        let item = if n % 2 == 0 { "orders-db" } else { "orders-api" };
        let reference = format!("op://services/{item}/password");
        bed.request_data(&format!("orders-{n}"), &[("password", &reference)]).await;
    }
    wait_all_synced(&bed, "True").await;
    operator.stop().await;
    let history = bed.observe_secrets().await;
    let quiet = |operator: &TestOperator, when: &str| {
        let text = operator.audit.text();
        assert!(!text.contains("Denied") && !text.contains(r#""kind":"write""#), "{when}: {text}");
        let of = |n: &usize| !history.of(&format!("orders-{n}")).is_empty();
        assert_eq!((0..300).find(of), None, "{when}: a Secret was touched");
    };

    bed.connect.stop();
    let operator = bed.operator().await;
    wait_all_synced(&bed, "False").await;
    quiet(&operator, "in the outage");
    operator.stop().await;

    let operator = bed.operator().await;
    bed.connect.reset_requests();
    bed.connect.restart().unwrap();
    wait_all_synced(&bed, "True").await;
    quiet(&operator, "as it ends");
    operator.stop().await;

    let before = versions(&bed).await;
    assert_eq!(before.len(), 600);
    bed.connect.reset_requests();
    let operator = bed.operator().await;
    settled(&bed, &operator, 300).await;
    quiet(&operator, "after it");
    assert_eq!(versions(&bed).await, before, "nor was a status");
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
