//! An operator that starts while Connect is away has what was kept, and nothing else.

use std::time::{Duration, SystemTime};

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

use super::{
    KeyFolder, assert_heals, assert_nothing_serves, bytes, ended_in_an_outage, keeping,
    operator_secrets, records, wait_persisted, wait_record, wait_served, wait_synced,
};

/// Waits until what was confirmed before a time was so for longer than `age`.
async fn wait_older(than: SystemTime, age: Duration) {
    wait::until("what is kept to be old", wait::WAIT, async || {
        let is = than.elapsed().unwrap();
        (is > age).then_some(()).ok_or_else(|| format!("{is:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_in_an_outage_serves_what_was_kept() {
    let bed = keeping("keep-restart").await;
    let folder = KeyFolder::new(&bed);
    ended_in_an_outage(&bed, &folder).await;
    let server = bed.get_server().await;
    let persisted = server.status.unwrap().conditions;
    let persisted = persisted.iter().find(|c| c.type_ == "CachePersisted").unwrap();
    assert_eq!((&*persisted.status, &*persisted.reason), ("True", "CachePersisted"));
    bed.delete_secret("orders").await;

    let ended = SystemTime::now();
    wait_older(ended, Duration::from_secs(2)).await;
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    bed.request("new", |_| {}).await;
    let password = bed.value("orders-db", "password");
    for name in ["orders", "new"] {
        let request = wait_served(&bed, name).await;
        assert_eq!(condition(&request, "Synced").unwrap().status, "False");
        let since = request.status.unwrap().sync.unwrap().stale_since.unwrap().0;
        assert!(SystemTime::from(since) <= ended, "{name} is no younger than the last poll");
        bed.wait_value(name, "password", &password).await;
        let writes = operator.audit.of("write", name);
        assert_eq!(writes.last().unwrap()["secret"]["source"], "Cache");
    }
    // What nobody had fetched cannot serve, also of a vault whose record was read.
    bed.request_data("other", &[("password", "op://services/orders-api/password")]).await;
    bed.wait_reason("other", Reason::ConnectUnavailable).await;
    assert!(bed.secret("other").await.is_none());

    bed.connect.restart().unwrap();
    for name in ["orders", "new", "other"] {
        wait_synced(&bed, name).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_vault_that_did_not_move_is_listed_once() {
    let bed = keeping("keep-list-once").await;
    let folder = KeyFolder::new(&bed);
    // One item alone, so that the list is just what was kept.
    bed.connect.add_vault("small").unwrap();
    let item = ItemSpec::new("only").field("password", &format!("{}-only", bed.canary()));
    bed.connect.add_item("small", item).unwrap();
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "small"}]}]))
        .await;
    let operator = folder.operator(&bed).await;
    bed.request_data("only", &[("k", "op://small/only/password")]).await;
    bed.wait_ready("only").await;
    wait_record(&bed, "small", 0).await;
    operator.stop().await;
    bed.connect.reset_requests();
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    wait::until("some polls", wait::WAIT, async || {
        let polls = bed.connect.requests().route("GET /v1/vaults");
        if polls > 5 { Ok(()) } else { Err(format!("{polls}")) }
    })
    .await;
    let asked = bed.connect.requests();
    assert_eq!(asked.route("GET /v1/vaults/{v}/items"), 1, "{:?}", asked.by_route);
    assert_eq!(asked.route("GET /v1/vaults/{v}/items/{i}"), 0, "{:?}", asked.by_route);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_keeps_nothing_delivers_nothing_new_in_an_outage() {
    let bed = Bed::new("keep-not").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
    assert!(records(&bed).await.is_empty());
    let secret = bed.secret("orders").await;
    bed.connect.stop();

    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    let orders = bed.wait_reason("orders", Reason::ConnectUnavailable).await;
    assert_eq!(condition(&orders, "Ready").unwrap().status, "True");
    assert_eq!(bed.secret("orders").await, secret);
    assert_heals(&bed, "new", &bed.value("orders-db", "password")).await;
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_too_long_ago_does_not_serve_after_a_restart() {
    let bed = keeping("keep-stale").await;
    let folder = KeyFolder::new(&bed);
    ended_in_an_outage(&bed, &folder).await;
    let ended = SystemTime::now();
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "1s"}}})).await;
    wait_older(ended, Duration::from_secs(1)).await;
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    assert_nothing_serves(&bed, "new").await;
    assert_heals(&bed, "new", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_server_that_was_deleted_while_no_operator_ran_go_at_the_next_start() {
    let bed = keeping("keep-orphan").await;
    let folder = KeyFolder::new(&bed);
    ended_in_an_outage(&bed, &folder).await;
    assert_eq!(records(&bed).await.len(), 1);
    bed.delete_server().await;
    // A Secret that only looks like one is none.
    let other = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "portcullis-cache-0123456789ab-other", "namespace": bed.operator_namespace},
    });
    bed.apply(other).await;
    let operator = folder.operator(&bed).await;
    wait::until("the record to go", wait::WAIT, async || {
        let left = records(&bed).await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} records")) }
    })
    .await;
    let other = operator_secrets(&bed).get("portcullis-cache-0123456789ab-other").await;
    assert!(other.is_ok(), "it is not ours to delete");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_shows_neither_values_nor_titles_nor_names() {
    let bed = keeping("keep-shown").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let record = wait_record(&bed, "services", 0).await;
    let sealed = bytes(&record);
    assert!(sealed.len() > 200, "there is something in it");
    let holds = |text: &str| sealed.windows(text.len()).any(|w| w == text.as_bytes());
    for text in [bed.canary(), "orders-db", "services", "password", &bed.item_id("orders-db")] {
        assert!(!holds(text), "the record shows {text}");
    }
    let mut shown = record.clone();
    shown.data = None;
    let shown = json!(shown).to_string();
    for text in [bed.canary(), "orders-db", &bed.item_id("orders-db")] {
        assert!(!shown.contains(text), "{shown}");
    }
    let id = bed.connect.vault_id("services").unwrap();
    assert!(record.name_any().starts_with("portcullis-cache-") && record.name_any().ends_with(&id));
    assert!(!operator.metrics.encode().contains(bed.canary()));
    operator.stop().await;
}
