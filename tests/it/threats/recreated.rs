//! Threat 6: requests vanish and come back with new UIDs, by a deleted CRD or a restored backup. A Secret of
//! theirs is taken back by its owner tag: it is the same Secret all the time, and never without its data.

use portcullis::api::{CredentialRequest, OnRequestDeletion};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::kube::api::DeleteParams;
use portcullis_test_support::{Bed, Seen, wait};

fn owners(secret: &Secret) -> Vec<String> {
    secret.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

async fn ask(bed: &Bed, on_request_deletion: OnRequestDeletion) -> CredentialRequest {
    let change = |spec: &mut portcullis::api::CredentialRequestSpec| {
        spec.target.get_or_insert_default().on_request_deletion = Some(on_request_deletion);
    };
    bed.request("orders", change).await
}

/// Deletes the request and waits until it is gone, and with it what garbage collection does before.
async fn delete(bed: &Bed, params: DeleteParams) {
    let api = bed.requests();
    api.delete("orders", &params).await.unwrap();
    // Garbage collection learns of new kinds each 30 seconds.
    wait::until("the request to be gone", wait::LONGEST, async || {
        match api.get_opt("orders").await.map_err(|e| e.to_string())? {
            None => Ok(()),
            Some(request) => Err(format!("finalizers {:?}", request.finalizers())),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_secret_goes_to_the_request_of_the_same_name_without_a_gap() {
    let bed = Bed::new("orphaned").await;
    let operator = bed.operator().await;
    ask(&bed, OnRequestDeletion::Delete).await;
    bed.wait_ready("orders").await;
    let before = bed.secret("orders").await.unwrap();
    let history = bed.observe_secrets().await;
    delete(&bed, DeleteParams::orphan()).await;
    assert!(owners(&bed.secret("orders").await.unwrap()).is_empty());

    let request = ask(&bed, OnRequestDeletion::Delete).await;
    let uid = request.uid().unwrap();
    bed.wait_ready("orders").await;
    let after = bed.wait_secret("orders", |s| owners(s) == [uid.clone()]).await;
    assert_eq!(after.uid(), before.uid());
    assert!(!history.was_deleted("orders"));
    for seen in history.of("orders") {
        assert!(matches!(seen, Seen::Modified(_)));
        assert_eq!(seen.secret().data, before.data);
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_secret_is_taken_back_without_a_write() {
    let bed = Bed::new("retained").await;
    let operator = bed.operator().await;
    let history = bed.observe_secrets().await;
    let first = ask(&bed, OnRequestDeletion::Retain).await;
    bed.wait_ready("orders").await;
    let before = bed.secret("orders").await.unwrap();
    delete(&bed, DeleteParams::background()).await;
    let second = ask(&bed, OnRequestDeletion::Retain).await;
    assert_ne!(first.uid(), second.uid());
    let request = bed.wait_ready("orders").await;
    assert_eq!(request.status.unwrap().sync.unwrap().keys, ["password"]);
    assert_eq!(bed.secret("orders").await.unwrap().resource_version(), before.resource_version());
    for seen in history.of("orders") {
        assert!(owners(seen.secret()).is_empty());
    }
    // It is watched over as before.
    bed.delete_secret("orders").await;
    bed.wait_value("orders", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_replaced_at_once_ends_with_a_secret_of_its_own() {
    let bed = Bed::new("replaced").await;
    let operator = bed.operator().await;
    ask(&bed, OnRequestDeletion::Delete).await;
    bed.wait_ready("orders").await;
    // As `kubectl replace --force` does: garbage collection and the operator both go for the Secret.
    bed.requests().delete("orders", &DeleteParams::background()).await.unwrap();
    let uid = ask(&bed, OnRequestDeletion::Delete).await.uid().unwrap();
    bed.wait_ready("orders").await;
    let value = bed.value("orders-db", "password");
    let good = |s: &Secret| {
        owners(s) == [uid.clone()] && s.data.as_ref().unwrap()["password"].0 == value.as_bytes()
    };
    bed.wait_secret("orders", good).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_secret_outlives_its_request_and_a_deleted_one_does_not() {
    let bed = Bed::new("outlives").await;
    let operator = bed.operator().await;
    bed.request("retained", |spec| {
        spec.target.get_or_insert_default().on_request_deletion = Some(OnRequestDeletion::Retain);
    })
    .await;
    bed.request("deleted", |_| {}).await;
    bed.wait_ready("retained").await;
    bed.wait_ready("deleted").await;
    let retained = bed.secret("retained").await;
    bed.delete_request("retained").await;
    bed.delete_request("deleted").await;
    bed.wait_no_secret("deleted").await;
    assert_eq!(bed.secret("retained").await, retained);
    assert_eq!(
        bed.operator_calls_on_secret("delete", "deleted").await,
        0,
        "garbage collection does it"
    );
    operator.stop().await;
}
