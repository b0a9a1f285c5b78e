//! A record is of a server as it is reached: with another token, another host, another authority, or a token that
//! 1Password refuses, it is of no use any more; nor is it where its vault is not to be kept any more.

use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, Reason};
use portcullis_test_support::connect_dev::{ConnectDev, StateSpec};
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

use super::{
    KeyFolder, PERSISTED, assert_nothing_serves, ended_in_an_outage, keeping, operator_secrets,
    records, wait_persisted, wait_record,
};

async fn wait_no_records(bed: &Bed) {
    wait::until("the records to go", wait::WAIT, async || {
        let left = records(bed).await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} records")) }
    })
    .await;
}

/// What was kept goes with how the server is reached, and the Secret stays as it is.
async fn reached_otherwise(name: &str, change: impl AsyncFnOnce(&Bed)) {
    let bed = keeping(name).await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_record(&bed, "services", 0).await;
    let secret = bed.secret("orders").await;
    change(&bed).await;
    wait_persisted(&operator, "foreign", 1.0).await;
    wait_no_records(&bed).await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    operator.stop().await;
    bed.connect.stop();
    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_eq!(operator.metric(PERSISTED, &[("result", "read")]), 0.0);
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_drops_what_was_kept_of_the_one_before() {
    reached_otherwise("keep-token", async |bed| {
        let second = format!("{}-second-token", bed.canary());
        bed.connect.add_token(&second, &["*"]);
        bed.apply_token(&second).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_drops_what_was_kept_of_the_one_before() {
    // It is down: what it would say plays no part.
    reached_otherwise("keep-host", async |bed| {
        let both = [bed.connect.url(), "http://127.0.0.1:9".to_owned()];
        let annotation =
            json!({"metadata": {"annotations": {ALLOWED_HOSTS_ANNOTATION: both.join(",")}}});
        operator_secrets(bed)
            .patch("connect-token", &PatchParams::default(), &Patch::Merge(annotation))
            .await
            .unwrap();
        let hosts = both.map(|url| json!({"url": url}));
        bed.patch_server(json!({"spec": {"hosts": hosts}})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_drops_what_was_kept_of_the_one_before() {
    reached_otherwise("keep-ca", async |bed| {
        let other = ConnectDev::start_tls(StateSpec::default()).unwrap().ca_pem().unwrap();
        bed.patch_server(json!({"spec": {"ca": {"inline": other}}})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_came_to_be_never_kept_while_the_operator_was_away_leaves_nothing() {
    let bed = keeping("keep-never").await;
    let folder = KeyFolder::new(&bed);
    ended_in_an_outage(&bed, &folder).await;
    let vaults = json!([{"name": "services", "class": "emergency"}]);
    bed.patch_server(json!({"spec": {"vaults": vaults}})).await;
    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    assert_nothing_serves(&bed, "new").await;
    wait_no_records(&bed).await;
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 0.0);
    // Nor does anything come back with the class of before.
    bed.patch_server(json!({"spec": {"vaults": []}})).await;
    assert_nothing_serves(&bed, "newer").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_takes_with_it_what_was_kept() {
    let bed = keeping("keep-revoked").await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_record(&bed, "services", 0).await;
    let secret = bed.secret("orders").await;
    assert!(bed.connect.revoke_token(&bed.token));
    bed.wait_request("orders", "to be stalled", |r| condition(r, "Stalled").is_some()).await;
    wait_no_records(&bed).await;
    operator.stop().await;
    bed.connect.stop();
    let operator = folder.operator(&bed).await;
    assert_nothing_serves(&bed, "new").await;
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

/// What was kept goes when it is not to be kept any more.
async fn given_up(name: &str, change: impl AsyncFnOnce(&Bed)) {
    let bed = keeping(name).await;
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    wait_record(&bed, "services", 0).await;
    change(&bed).await;
    wait_no_records(&bed).await;
    assert!(bed.secret("orders").await.is_some());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_to_be_kept_any_more_leaves_no_records() {
    given_up("keep-off", async |bed| {
        bed.patch_server(json!({"spec": {"cache": {"persistence": "None"}}})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_deleted_leaves_no_records() {
    given_up("keep-deleted", async |bed| bed.delete_server().await).await;
}
