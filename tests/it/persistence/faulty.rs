//! An operator that starts while Connect is there and in trouble has what was kept, as one that starts in an outage.

use std::time::{Duration, SystemTime};

use portcullis::api::{CredentialRequest, Reason};
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

use super::{
    KeyFolder, assert_nothing_serves, keeping, wait_persisted, wait_record, wait_served,
    wait_synced,
};

/// An operator delivers `orders` and `lost` and ends; then Connect fails in some way, and the Secret of `lost` is
/// deleted.
async fn ended_in_trouble(bed: &Bed, folder: &KeyFolder, kind: FaultKind) {
    let operator = folder.operator(bed).await;
    for name in ["orders", "lost"] {
        bed.request(name, |_| {}).await;
        bed.wait_ready(name).await;
    }
    wait_record(bed, "services", 0).await;
    operator.stop().await;
    bed.connect.fault(FaultSpec::new(kind));
    bed.delete_secret("lost").await;
}

async fn served_through(name: &str, kind: FaultKind) {
    let bed = keeping(name).await;
    let folder = KeyFolder::new(&bed);
    ended_in_trouble(&bed, &folder, kind).await;
    let orders = bed.secret("orders").await;
    bed.connect.reset_requests();
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    bed.request("new", |_| {}).await;
    for name in ["lost", "new"] {
        wait_served(&bed, name).await;
        bed.wait_value(name, "password", &bed.value("orders-db", "password")).await;
    }
    bed.request_data("other", &[("password", "op://services/orders-api/password")]).await;
    bed.wait_reason("other", Reason::ConnectUnavailable).await;
    assert!(bed.secret("other").await.is_none());
    let kept = bed.wait_reason("orders", Reason::ConnectUnavailable).await;
    assert_eq!(condition(&kept, "Ready").unwrap().status, "True");
    assert_eq!(bed.secret("orders").await, orders);
    // Without a list nobody asks for an item.
    assert_eq!(bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}"), 0);
    // A second start finds the same, for it took nothing away.
    operator.stop().await;
    let operator = folder.operator(&bed).await;
    bed.request("later", |_| {}).await;
    wait_served(&bed, "later").await;
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    bed.connect.clear_faults();
    for name in ["orders", "lost", "new", "later"] {
        bed.wait_value(name, "password", &rotated).await;
        wait_synced(&bed, name).await;
    }
    wait_synced(&bed, "other").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_while_the_server_hangs_serves_what_was_kept() {
    served_through("keep-hang", FaultKind::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_while_the_server_says_500_serves_what_was_kept() {
    let kind = FaultKind::Status { code: 500, message: "an upstream body".to_owned() };
    served_through("keep-500", kind).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_while_a_page_comes_instead_of_json_serves_what_was_kept() {
    served_through("keep-page", FaultKind::Html { code: 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_older_than_the_limit_serves_nobody_while_the_server_says_500() {
    let bed = keeping("keep-old-500").await;
    let folder = KeyFolder::new(&bed);
    let kind = FaultKind::Status { code: 500, message: "an upstream body".to_owned() };
    ended_in_trouble(&bed, &folder, kind).await;
    let (ended, orders) = (SystemTime::now(), bed.secret("orders").await);
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "2s"}}})).await;
    wait::until("the record to be old", wait::WAIT, async || {
        let age = ended.elapsed().unwrap();
        if age > Duration::from_secs(2) { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    assert_nothing_serves(&bed, "new").await;
    for name in ["orders", "lost"] {
        // How old a Secret is counts from the start where its status does not say.
        let is_late = |r: &CredentialRequest| {
            let ready = condition(r, "Ready");
            let unavailable = Reason::ConnectUnavailable.as_str();
            ready.is_some_and(|c| c.status == "False" && c.reason == unavailable)
        };
        bed.wait_request(name, "not to be ready any more", is_late).await;
    }
    assert!(bed.secret("lost").await.is_none());
    assert_eq!(bed.secret("orders").await, orders);
    bed.connect.clear_faults();
    for name in ["orders", "lost", "new"] {
        wait_synced(&bed, name).await;
        bed.wait_value(name, "password", &bed.value("orders-db", "password")).await;
    }
    assert_eq!(bed.secret("orders").await, orders);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_in_an_outage_takes_the_record_along_until_it_is_back() {
    let bed = keeping("keep-key-500").await;
    let folder = KeyFolder::new(&bed);
    let kind = FaultKind::Status { code: 500, message: "an upstream body".to_owned() };
    ended_in_trouble(&bed, &folder, kind).await;
    let orders = bed.secret("orders").await;
    folder.add(&bed, "key-0002");
    folder.remove("key-0001");
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "unknown key", 1.0).await;
    assert_nothing_serves(&bed, "new").await;
    bed.wait_reason("lost", Reason::ConnectUnavailable).await;
    assert!(bed.secret("lost").await.is_none());
    operator.stop().await;
    folder.add(&bed, "key-0001");
    let operator = folder.operator(&bed).await;
    for name in ["lost", "new"] {
        wait_served(&bed, name).await;
        bed.wait_value(name, "password", &bed.value("orders-db", "password")).await;
    }
    assert_eq!(bed.secret("orders").await, orders);
    bed.connect.clear_faults();
    for name in ["orders", "lost", "new"] {
        wait_synced(&bed, name).await;
    }
    assert_eq!(bed.secret("orders").await, orders);
    operator.stop().await;
}
