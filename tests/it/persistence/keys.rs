//! The key of the cache is rotated, lost, short, in another namespace, or beside the cache.

use portcullis::api::{ConnectServer, Reason};
use portcullis::controller::{BesideCache, CacheKeys};
use portcullis::index::ObjectKey;
use portcullis_test_support::{Bed, wait};
use serde_json::json;

use super::{
    KeyFolder, PERSISTED, assert_heals, assert_nothing_serves, bytes, ended_in_an_outage, epoch,
    keeping, key, operator_with, record_of, records, wait_record, wait_served,
};

fn told(server: &ConnectServer) -> (&str, &str) {
    let conditions = &server.status.as_ref().unwrap().conditions;
    let persisted = conditions.iter().find(|c| c.type_ == "CachePersisted").unwrap();
    (&persisted.status, &persisted.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_an_earlier_key_opens_and_the_next_one_is_of_the_new_key() {
    let bed = keeping("key-rotated").await;
    let folder = KeyFolder::new(&bed);
    let of_earlier_key = bytes(&ended_in_an_outage(&bed, &folder).await);
    folder.add(&bed, "key-0002");
    let operator = folder.operator(&bed).await;
    bed.request("first", |_| {}).await;
    wait_served(&bed, "first").await;

    let another = async |than: Vec<u8>| {
        wait::until("another record", wait::WAIT, async || {
            let now = record_of(&bed, "services").await.map(|record| bytes(&record));
            now.filter(|now| *now != than).ok_or_else(|| "the same or none".to_owned())
        })
        .await
    };
    another(of_earlier_key).await;
    operator.stop().await;

    // Nothing has moved in 1Password, so that nothing was fetched anew: the values are under the new key as well.
    folder.remove("key-0001");
    let operator = folder.operator(&bed).await;
    bed.request("second", |_| {}).await;
    wait_served(&bed, "second").await;
    bed.wait_value("second", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_key_is_gone_is_left_alone_until_the_next_fetch_replaces_it() {
    let bed = keeping("key-lost").await;
    let folder = KeyFolder::new(&bed);
    let record = ended_in_an_outage(&bed, &folder).await;
    folder.add(&bed, "key-0002");
    folder.remove("key-0001");
    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_eq!(operator.metric(PERSISTED, &[("result", "unknown key")]), 1.0);
    assert_eq!(record_of(&bed, "services").await.as_ref(), Some(&record));
    // The key may come back.
    operator.stop().await;
    folder.add(&bed, "key-0001");
    let operator = folder.operator(&bed).await;
    wait_served(&bed, "new").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_key_had_sealed_is_fetched_anew() {
    let bed = keeping("key-anew").await;
    let folder = KeyFolder::new(&bed);
    let record = ended_in_an_outage(&bed, &folder).await;
    let before = epoch(&bed, "services").await;
    folder.add(&bed, "key-0002");
    folder.remove("key-0001");
    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_heals(&bed, "new", &bed.value("orders-db", "password")).await;
    let next = wait_record(&bed, "services", before).await;
    assert_ne!(bytes(&next), bytes(&record));
    operator.stop().await;
    bed.connect.stop();
    let operator = folder.operator(&bed).await;
    bed.request("later", |_| {}).await;
    wait_served(&bed, "later").await;
    operator.stop().await;
}

async fn key_secret(bed: &Bed, namespace: &str) -> ObjectKey {
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "cache-keys", "namespace": namespace},
        "stringData": {"key-0001": key(bed, "key-0001")},
    }))
    .await;
    ObjectKey::new(namespace, "cache-keys")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_secret_of_another_namespace_serves() {
    let bed = keeping("key-apart").await;
    let apart = bed.tenant("keys", &[]).await;
    let secret = key_secret(&bed, &apart).await;
    let keys = CacheKeys::Secret { secret, beside: BesideCache::Refused };
    let operator = operator_with(&bed, keys.clone()).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_record(&bed, "services", 0).await;
    bed.wait_server_reason("CachePersisted", Reason::CachePersisted).await;
    operator.stop().await;
    bed.connect.stop();
    let operator = operator_with(&bed, keys).await;
    bed.request("new", |_| {}).await;
    wait_served(&bed, "new").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_beside_the_cache_is_refused_unless_somebody_says_that_it_is_meant() {
    let bed = keeping("key-beside").await;
    let secret = key_secret(&bed, &bed.operator_namespace).await;
    let with = |beside| CacheKeys::Secret { secret: secret.clone(), beside };
    let operator = operator_with(&bed, with(BesideCache::Refused)).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let server = bed.wait_server_reason("CachePersisted", Reason::CacheKeyMissing).await;
    let (status, message) = told(&server);
    assert_eq!(status, "False");
    for hint in ["cache-keys", "another namespace", "--cache-keys-beside-cache"] {
        assert!(message.contains(hint), "{message}");
    }
    operator.stop().await;
    assert_eq!(bed.operator_calls_on_secret("get", "cache-keys").await, 0);
    assert!(records(&bed).await.is_empty());

    let operator = operator_with(&bed, with(BesideCache::Allowed)).await;
    bed.request("second", |_| {}).await;
    bed.wait_ready("second").await;
    wait_record(&bed, "services", 0).await;
    bed.wait_server_reason("CachePersisted", Reason::CachePersisted).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_to_be_kept_without_a_key_says_which_flag_gives_one() {
    let bed = keeping("key-none").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let server = bed.wait_server_reason("CachePersisted", Reason::CacheKeyMissing).await;
    let (status, message) = told(&server);
    assert_eq!(status, "False");
    assert!(
        message.contains("--cache-keys-dir") && message.contains("--cache-keys-secret"),
        "{message}"
    );
    assert!(records(&bed).await.is_empty());
    // Nobody who asks for nothing is told of anything.
    bed.patch_server(json!({"spec": {"cache": {"persistence": "None"}}})).await;
    wait::until("the condition to go", wait::WAIT, async || {
        let conditions = bed.get_server().await.status.unwrap().conditions;
        let told = conditions.iter().find(|c| c.type_ == "CachePersisted");
        told.map_or(Ok(()), |c| Err(c.message.clone()))
    })
    .await;
    operator.stop().await;
}
