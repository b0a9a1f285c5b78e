//! Somebody who may write Secrets of the operator's namespace, and has no key, changes the records: they are
//! thrown away, and nothing of them is ever written.

use portcullis::api::Reason;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use portcullis_test_support::{Bed, Seen, wait};
use serde_json::json;

use super::{
    KeyFolder, PERSISTED, assert_heals, assert_nothing_serves, bytes, ended_in_an_outage, epoch,
    keeping, operator_secrets, overwrite, record_of, records, wait_persisted, wait_record,
};

/// A record that was changed while the operator was away is deleted, told of, and fetched anew.
async fn changed(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bed = keeping(name).await;
    let folder = KeyFolder::new(&bed);
    let record = ended_in_an_outage(&bed, &folder).await;
    let before = epoch(&bed, "services").await;
    overwrite(&bed, &record.name_any(), change(bytes(&record))).await;
    let history = bed.observe_secrets().await;
    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_eq!(operator.metric(PERSISTED, &[("result", "foreign")]), 1.0);
    assert_eq!(operator.metric(PERSISTED, &[("result", "read")]), 0.0);
    assert!(records(&bed).await.is_empty());
    let password = bed.value("orders-db", "password");
    assert_heals(&bed, "new", &password).await;
    for seen in history.of("new") {
        let data = seen.secret().data.as_ref().unwrap();
        assert_eq!(data["password"].0, password.as_bytes());
    }
    // Numbered on, so that the one of before counts as older.
    wait_record(&bed, "services", before).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_flipped_bit_is_discarded() {
    changed("keep-flipped", |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_cut_short_is_discarded() {
    changed("keep-cut", |bytes| bytes[..bytes.len() - 40].to_vec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_record_is_discarded() {
    changed("keep-empty", |_| Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_change_places_are_both_discarded() {
    let bed = keeping("keep-swapped").await;
    let row = |vaults| json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": vaults}]);
    bed.set_access(row(json!([{"name": "services"}, {"name": "infra"}]))).await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.request_data("root", &[("password", "op://infra/root/password")]).await;
    let (mut kept, titles) = (Vec::new(), ["services", "infra"]);
    for (vault, request) in titles.into_iter().zip(["orders", "root"]) {
        bed.wait_ready(request).await;
        kept.push(wait_record(&bed, vault, 0).await);
    }
    operator.stop().await;
    bed.connect.stop();
    overwrite(&bed, &kept[0].name_any(), bytes(&kept[1])).await;
    overwrite(&bed, &kept[1].name_any(), bytes(&kept[0])).await;

    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_eq!(operator.metric(PERSISTED, &[("result", "foreign")]), 2.0);
    assert!(records(&bed).await.is_empty());
    assert_heals(&bed, "new", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

/// The password is rotated, and the operator keeps the new one. The record of before.
async fn rotated(bed: &Bed, folder: &KeyFolder, password: &str) -> Vec<u8> {
    let operator = folder.operator(bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let old = bytes(&wait_record(bed, "services", 0).await);
    let before = epoch(bed, "services").await;
    bed.connect.set_field("services", "orders-db", "password", password).unwrap();
    bed.wait_value("orders", "password", password).await;
    wait_record(bed, "services", before).await;
    operator.stop().await;
    bed.connect.stop();
    old
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_record_that_is_put_back_brings_no_old_password_back() {
    let bed = keeping("keep-rolled").await;
    let folder = KeyFolder::new(&bed);
    let password = format!("{}-rotated", bed.canary());
    let old = rotated(&bed, &folder, &password).await;
    let record = record_of(&bed, "services").await.unwrap();
    let before = epoch(&bed, "services").await;
    overwrite(&bed, &record.name_any(), old).await;
    let history = bed.observe_secrets().await;

    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_eq!(operator.metric(PERSISTED, &[("result", "rolled back")]), 1.0);
    assert!(records(&bed).await.is_empty());
    bed.wait_value("orders", "password", &password).await;
    assert_heals(&bed, "new", &password).await;
    wait_record(&bed, "services", before).await;
    operator.stop().await;
    let old = bed.value("orders-db", "password");
    for seen in ["orders", "new"].into_iter().flat_map(|name| history.of(name)) {
        let data = seen.secret().data.clone().unwrap_or_default();
        assert!(data.values().all(|v| v.0 != old.as_bytes()), "the old password came back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_deleted_because_its_vault_is_refused_is_of_no_use_when_it_is_put_back() {
    let bed = keeping("keep-taken").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let mut record = wait_record(&bed, "services", 0).await;
    let before = epoch(&bed, "services").await;
    bed.connect.set_token_scope(&bed.token, &["infra"]);
    wait::until("the record to go", wait::WAIT, async || {
        let left = records(&bed).await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} records")) }
    })
    .await;
    wait::until("status to tell of it", wait::WAIT, async || {
        let now = epoch(&bed, "services").await;
        if now > before { Ok(()) } else { Err(format!("the last one is {now}")) }
    })
    .await;
    operator.stop().await;
    bed.connect.stop();
    record.metadata.uid = None;
    record.metadata.resource_version = None;
    operator_secrets(&bed).create(&PostParams::default(), &record).await.unwrap();

    let operator = folder.operator(&bed).await;
    bed.request("new", |_| {}).await;
    wait_persisted(&operator, "rolled back", 1.0).await;
    assert_nothing_serves(&bed, "newer").await;
    assert!(bed.secret("new").await.is_none());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_deletes_or_changes_meanwhile_is_written_again() {
    let bed = keeping("keep-meddled").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let record = wait_record(&bed, "services", 0).await;
    let before = epoch(&bed, "services").await;
    overwrite(&bed, &record.name_any(), b"nothing".to_vec()).await;
    let password = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &password).unwrap();
    bed.wait_value("orders", "password", &password).await;
    let next = wait_record(&bed, "services", before).await;
    assert!(bytes(&next).len() > 200);
    let history = bed.observe_secrets().await;
    assert!(history.of("orders").iter().all(|seen| !matches!(seen, Seen::Deleted(_))));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_written_is_told_of_and_the_others_are_numbered_all_the_same() {
    let bed = keeping("keep-immutable").await;
    let row = |vaults| json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": vaults}]);
    bed.set_access(row(json!([{"name": "services"}, {"name": "infra"}]))).await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.request_data("root", &[("password", "op://infra/root/password")]).await;
    bed.wait_ready("orders").await;
    bed.wait_ready("root").await;
    wait_record(&bed, "services", 0).await;
    let infra = wait_record(&bed, "infra", 0).await;
    let immutable = Patch::Merge(json!({"immutable": true}));
    operator_secrets(&bed)
        .patch(&infra.name_any(), &PatchParams::default(), &immutable)
        .await
        .unwrap();
    let rotate = |vault, item, value: &str| {
        let value = format!("{}-{value}", bed.canary());
        bed.connect.set_field(vault, item, "password", &value).unwrap();
        value
    };
    rotate("infra", "root", "rotated");
    let server = bed.wait_server_reason("CachePersisted", Reason::CacheNotWritten).await;
    let conditions = server.status.unwrap().conditions;
    let told = conditions.iter().find(|c| c.type_ == "CachePersisted").unwrap();
    assert_eq!(told.status, "False");
    assert!(told.message.contains(&bed.connect.vault_id("infra").unwrap()), "{}", told.message);
    // An older record of the other vault must not pass for its last one meanwhile.
    for value in ["one", "two"] {
        let before = epoch(&bed, "services").await;
        let value = rotate("services", "orders-db", value);
        bed.wait_value("orders", "password", &value).await;
        wait_record(&bed, "services", before).await;
    }
    let conditions = bed.get_server().await.status.unwrap().conditions;
    let told = conditions.iter().find(|c| c.type_ == "CachePersisted").unwrap();
    assert_eq!(told.status, "False", "one vault's record does not speak for another's");
    operator_secrets(&bed).delete(&infra.name_any(), &DeleteParams::default()).await.unwrap();
    bed.wait_server_reason("CachePersisted", Reason::CachePersisted).await;
    operator.stop().await;
}
