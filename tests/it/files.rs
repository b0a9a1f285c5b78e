//! Files of items, from Connect to the Secret.

use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::api::{Reason, Source};
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, FileSpec, ItemSpec};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";
const CONTENT: &str = "GET /v1/vaults/{v}/items/{i}/files/{f}/content";
const REFERENCE: &str = "op://services/tls/ca.bundle";

/// Bytes that are no text.
fn bytes(bed: &Bed, last: u8) -> Vec<u8> {
    let mut bytes = bed.canary().as_bytes().to_vec();
    bytes.extend([0, 0xff, 0xc3, 0x28, b'\r', b'\n', last]);
    bytes
}

async fn furnished(name: &str) -> Bed {
    let bed = Bed::new(name).await;
    let file = FileSpec::new("ca.bundle", bytes(&bed, 1));
    let item = ItemSpec::new("tls").field("password", bed.canary()).file(file);
    bed.connect.add_item("services", item).unwrap();
    bed
}

async fn wait_bytes(bed: &Bed, name: &str, expected: &[u8]) {
    let holds = |data: &[u8]| data == expected;
    bed.wait_secret(name, |s| {
        s.data.as_ref().and_then(|d| d.get("ca")).is_some_and(|v| holds(&v.0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_delivered_byte_for_byte_fetched_once_and_follows_its_changes() {
    let bed = furnished("file").await;
    let operator = bed.operator().await;
    bed.request_data("one", &[("ca", REFERENCE)]).await;
    wait_bytes(&bed, "one", &bytes(&bed, 1)).await;
    bed.request_data("two", &[("ca", REFERENCE), ("size", &format!("{REFERENCE}?attribute=size"))])
        .await;
    wait_bytes(&bed, "two", &bytes(&bed, 1)).await;
    assert_eq!(bed.connect.requests().route(CONTENT), 1, "the second one is served from the cache");
    let size = bed.secret("two").await.unwrap().data.unwrap()["size"].0.clone();
    assert_eq!(String::from_utf8(size).unwrap(), bytes(&bed, 1).len().to_string());

    bed.connect.set_file("services", "tls", "ca.bundle", &bytes(&bed, 2)).unwrap();
    for name in ["one", "two"] {
        wait_bytes(&bed, name, &bytes(&bed, 2)).await;
    }
    assert_eq!(bed.connect.requests().route(CONTENT), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_had_delivers_nothing_of_its_request() {
    let bed = furnished("file-fails").await;
    bed.connect.fault(
        FaultSpec::new(FaultKind::Status { code: 500, message: "no".to_owned() }).on(CONTENT),
    );
    let operator = bed.operator().await;
    bed.request_data("both", &[("ca", REFERENCE), ("password", "op://services/tls/password")])
        .await;
    let request = bed.wait_reason("both", Reason::ConnectUnavailable).await;
    assert_eq!(condition(&request, "Ready").unwrap().status, "False");
    assert!(bed.secret("both").await.is_none());
    bed.connect.clear_faults();
    wait_bytes(&bed, "both", &bytes(&bed, 1)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_a_secret_is_refused_with_words() {
    let bed = furnished("file-large").await;
    bed.connect.set_file("services", "tls", "ca.bundle", &vec![b'x'; (1 << 20) + 1]).unwrap();
    let operator = bed.operator().await;
    bed.request_data("large", &[("ca", REFERENCE)]).await;
    let request = bed.wait_reason("large", Reason::SecretTooLarge).await;
    assert_eq!(condition(&request, "Stalled").unwrap().status, "True");
    assert!(bed.secret("large").await.is_none());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_a_file_is_served_from_the_cache() {
    let bed = furnished("file-outage").await;
    let operator = bed.operator().await;
    bed.request_data("one", &[("ca", REFERENCE)]).await;
    bed.wait_ready("one").await;
    bed.connect.stop();
    bed.wait_reason("one", Reason::ConnectUnavailable).await;
    bed.request_data("two", &[("ca", REFERENCE)]).await;
    let request = bed.wait_reason("two", Reason::ServedFromCache).await;
    assert_eq!(request.status.unwrap().sync.unwrap().source, Source::Cache);
    wait_bytes(&bed, "two", &bytes(&bed, 1)).await;
    wait::until("the metric to tell of the outage", wait::WAIT, async || {
        let stale = operator.metric("portcullis_stale_requests", &[]);
        let oldest = operator.metric("portcullis_oldest_stale_seconds", &[]);
        if stale >= 1.0 && oldest > 0.0 { Ok(()) } else { Err(format!("{stale}, {oldest}")) }
    })
    .await;

    bed.connect.restart().unwrap();
    bed.wait_ready("two").await;
    bed.wait_reason("two", Reason::Synced).await;
    let lines = operator.audit.of("write", "two");
    let last = &lines.last().unwrap()["secret"];
    assert_eq!((&last["change"], &last["source"]), (&"confirmed".into(), &"Connect".into()));
    wait::until("the metric to tell of its end", wait::WAIT, async || {
        let stale = operator.metric("portcullis_stale_requests", &[]);
        if stale == 0.0 { Ok(()) } else { Err(stale.to_string()) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_kept_is_fetched_ahead_though_its_item_is() {
    let bed = furnished("file-ahead").await;
    bed.patch_server(json!({"spec": {"cache": {"warm": true}}})).await;
    let operator = bed.operator().await;
    bed.request_data("one", &[("ca", REFERENCE)]).await;
    bed.wait_ready("one").await;
    operator.stop().await;
    bed.connect.reset_requests();
    // The item is fetched, and its file with it only at the second try.
    let fault = FaultKind::Status { code: 400, message: "no".to_owned() };
    bed.connect.fault(FaultSpec::new(fault).on(CONTENT).times(1));
    let operator = bed.operator().await;
    let looks = AtomicUsize::new(0);
    wait::until("the file to be fetched ahead", wait::WAIT, async || {
        // Each look at the request offers it again.
        let purpose = format!("look {}", looks.fetch_add(1, Ordering::Relaxed));
        bed.patch_request("one", json!({"spec": {"purpose": purpose}})).await;
        let warmed = operator.metric("portcullis_cache_warmed_total", &[("result", "ok")]);
        if warmed == 1.0 { Ok(()) } else { Err(format!("{warmed}")) }
    })
    .await;
    let requests = bed.connect.requests();
    assert_eq!((requests.route(ITEM), requests.route(CONTENT)), (1, 2));
    bed.connect.stop();
    bed.wait_reason("one", Reason::ConnectUnavailable).await;
    bed.request_data("two", &[("ca", REFERENCE)]).await;
    bed.wait_reason("two", Reason::ServedFromCache).await;
    wait_bytes(&bed, "two", &bytes(&bed, 1)).await;
    operator.stop().await;
}
