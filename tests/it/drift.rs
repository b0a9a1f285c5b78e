//! A Secret that somebody changes becomes again what the request says, at once; what is not ours in it stays. And
//! where nothing changed nothing is written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portcullis::api::{MANAGED_LABEL, OnRequestDeletion, Reason};
use portcullis::secret::AUDIT_RECORD;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, TestOperator, condition, wait};
use serde_json::{Value, json};

const ITEM_ROUTE: &str = "GET /v1/vaults/{v}/items/{i}";
/// In how much time a repair must be done, on a machine that has more to do.
const AT_ONCE: Duration = Duration::from_secs(3);

/// What of a Secret is ours: everything but its version, what others may add, the API server's own notes, and the
/// name of the write.
fn ours(secret: &Secret) -> Value {
    let keep = |map: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        map.iter()
            .filter(|(k, _)| k.starts_with("portcullis.dev/") && *k != AUDIT_RECORD)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    json!([
        secret.data,
        keep(secret.labels()),
        keep(secret.annotations()),
        secret.owner_references(),
        secret.type_
    ])
}

/// A request `orders` with its Secret.
async fn delivered(name: &str) -> (Bed, TestOperator, Secret) {
    let bed = Bed::new(name).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await.unwrap();
    (bed, operator, secret)
}

/// Waits until what is ours in the Secret is as it was, which must not take long.
async fn wait_repaired(bed: &Bed, before: &Secret, what: &str) -> Secret {
    let start = Instant::now();
    let repaired = bed.wait_secret("orders", |secret| ours(secret) == ours(before)).await;
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{what}: repaired after {took:?}");
    repaired
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_a_secret_is_repaired_at_once() {
    let (bed, operator, before) = delivered("repair").await;
    let tag = "portcullis.dev/content-tag";
    let edits = [
        ("a changed value", json!({"stringData": {"password": "mine"}})),
        ("a removed key", json!({"data": {"password": null}})),
        ("an extra key", json!({"stringData": {"extra": "x"}})),
        ("no data at all", json!({"data": null})),
        ("a removed label", json!({"metadata": {"labels": {MANAGED_LABEL: null}}})),
        ("a changed label", json!({"metadata": {"labels": {MANAGED_LABEL: "false"}}})),
        ("a removed tag", json!({"metadata": {"annotations": {tag: null}}})),
        ("a changed tag", json!({"metadata": {"annotations": {tag: "v1.x.y"}}})),
        ("no annotations", json!({"metadata": {"annotations": null}})),
        ("no owner", json!({"metadata": {"ownerReferences": null}})),
        (
            "a stripped Secret",
            json!({"metadata": {"labels": null, "annotations": null, "ownerReferences": null}}),
        ),
    ];
    for (what, edit) in edits {
        bed.patch_secret("orders", edit).await;
        let after = wait_repaired(&bed, &before, what).await;
        assert_eq!(after.uid(), before.uid(), "{what}");
    }
    let request = bed.wait_ready("orders").await;
    assert_eq!(request.status.unwrap().sync.unwrap().content_revision, 1, "it holds what it held");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_comes_back_at_once() {
    let (bed, operator, before) = delivered("comes-back").await;
    for _ in 0..3 {
        bed.delete_secret("orders").await;
        let after = wait_repaired(&bed, &before, "a deleted Secret").await;
        assert_ne!(after.uid(), before.uid());
    }
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_annotations_of_others_are_kept() {
    let (bed, operator, before) = delivered("kept").await;
    let theirs = json!({"labels": {"team": "shop"}, "annotations": {"example.com/note": "theirs"}});
    bed.patch_secret("orders", json!({"metadata": theirs})).await;
    bed.patch_secret("orders", json!({"stringData": {"password": "mine"}})).await;
    wait_repaired(&bed, &before, "a changed value").await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    let after = bed.wait_value("orders", "password", "rotated").await;
    assert_eq!(after.labels()["team"], "shop");
    assert_eq!(after.annotations()["example.com/note"], "theirs");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_reference_follows_retain_and_delete() {
    let (bed, operator, before) = delivered("moves").await;
    assert_eq!(before.owner_references().len(), 1);
    for (policy, owners) in [(OnRequestDeletion::Retain, 0), (OnRequestDeletion::Delete, 1)] {
        let patch = json!({"spec": {"target": {"onRequestDeletion": policy}}});
        bed.patch_request("orders", patch).await;
        let after = bed.wait_secret("orders", |s| s.owner_references().len() == owners).await;
        assert_eq!((after.uid(), &after.data), (before.uid(), &before.data));
        bed.wait_ready("orders").await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_request_leaves_an_edited_secret_alone_until_it_is_resumed() {
    let (bed, operator, before) = delivered("suspend").await;
    let suspended = bed.patch_request("orders", json!({"spec": {"suspend": true}})).await;
    // The wait is for a status that speaks of this generation.
    let request = bed.wait_ready("orders").await;
    assert_eq!(request.status.as_ref().unwrap().observed_generation, suspended.metadata.generation);
    let synced = condition(&request, "Synced").unwrap();
    assert_eq!(
        (synced.status.as_str(), synced.observed_generation),
        ("True", suspended.metadata.generation)
    );
    let edited = bed.patch_secret("orders", json!({"stringData": {"password": "mine"}})).await;
    bed.connect.set_field("services", "orders-db", "username", "moved").unwrap();
    bed.request("later", |_| {}).await;
    bed.wait_ready("later").await;
    wait::throughout("the edit", Duration::from_millis(2500), async || {
        let version = bed.secret("orders").await.and_then(|s| s.resource_version());
        (version == edited.resource_version()).then_some(()).ok_or_else(|| format!("{version:?}"))
    })
    .await;
    let again = bed.get_request("orders").await;
    assert_eq!(again.resource_version(), request.resource_version());
    bed.patch_request("orders", json!({"spec": {"suspend": false}})).await;
    bed.wait_value("orders", "password", &bed.value("orders-db", "password")).await;
    assert_eq!(bed.secret("orders").await.unwrap().uid(), before.uid());
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_suspended_from_the_start_says_so() {
    let bed = Bed::new("never-began").await;
    let operator = bed.operator().await;
    bed.request("orders", |spec| spec.suspend = Some(true)).await;
    let request = bed.wait_reason("orders", Reason::Suspended).await;
    assert_eq!(condition(&request, "Ready").unwrap().status, "False");
    assert!(bed.secret("orders").await.is_none());
    assert_eq!(bed.connect.requests().route(ITEM_ROUTE), 0);
    bed.patch_request("orders", json!({"spec": {"suspend": null}})).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

/// How many writes of the operator the API server has seen.
async fn writes(bed: &Bed) -> Vec<Value> {
    let mut calls = bed.operator_calls().await;
    let is_write =
        |verb: &str| ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
    calls.retain(|call| is_write(call["verb"].as_str().unwrap_or_default()));
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_changed_nothing_is_written_and_no_item_fetched() {
    let (bed, operator, _) = delivered("unchanged").await;
    bed.request_data("denied", &[("a", "op://infra/root/password")]).await;
    bed.wait_reason("denied", Reason::VaultNotAllowed).await;
    bed.request_data("missing", &[("a", "op://services/none/password")]).await;
    bed.wait_reason("missing", Reason::ItemNotFound).await;
    // Events come off the path: one for each of the three.
    for name in ["orders", "denied", "missing"] {
        wait::until("its Event", wait::WAIT, async || {
            (!bed.events(name).await.is_empty()).then_some(()).ok_or_else(|| name.to_owned())
        })
        .await;
    }
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.wait_policy(&bed.policy, "True").await;
    wait::until("the policy to count", wait::WAIT, async || {
        let policy = bed.policies().get(&bed.policy).await.map_err(|e| e.to_string())?;
        let counts = policy.status.and_then(|status| status.requests);
        if counts.is_some_and(|c| c.allowed == 1) { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let (before, fetches) = (writes(&bed).await, bed.connect.requests().route(ITEM_ROUTE));
    let polls = bed.connect.requests().route("GET /v1/vaults");
    wait::until("four polls", wait::WAIT, async || {
        let now = bed.connect.requests().route("GET /v1/vaults");
        (now >= polls + 4).then_some(()).ok_or_else(|| format!("{now} polls"))
    })
    .await;
    let after = writes(&bed).await;
    let new: Vec<_> =
        after[before.len()..].iter().map(|w| (&w["verb"], &w["requestURI"])).collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(bed.connect.requests().route(ITEM_ROUTE), fetches);
    operator.stop().await;
}
