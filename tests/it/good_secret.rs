//! While 1Password cannot be asked, a request stays ready only with a Secret that is good for it.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, TestOperator, condition};
use serde_json::json;

fn is_ready(request: &CredentialRequest) -> bool {
    condition(request, "Ready").is_some_and(|c| c.status == "True")
}

/// A request with its Secret, and Connect gone.
async fn in_an_outage(bed: &Bed) -> TestOperator {
    let operator = bed.operator().await;
    bed.request_data("orders", &[("password", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    bed.connect.stop();
    bed.wait_reason("orders", Reason::ConnectUnavailable).await;
    operator
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_labels_stays_good_in_an_outage() {
    let bed = Bed::new("good-label").await;
    let operator = in_an_outage(&bed).await;
    bed.patch_secret("orders", json!({"metadata": {"labels": {"team": "shop"}}})).await;
    bed.connect.restart().unwrap();
    let synced = |r: &CredentialRequest| condition(r, "Synced").is_some_and(|c| c.status == "True");
    assert!(is_ready(&bed.wait_request("orders", "to be synced", synced).await));
    let history = bed.get_request("orders").await.status.unwrap().history;
    assert!(history.iter().all(|h| h.reason != Reason::WriteFailed.as_str()), "{history:?}");
    operator.stop().await;
}

/// A server for which no cached value serves in an outage.
async fn without_cache(name: &str) -> Bed {
    let bed = Bed::new(name).await;
    let classes = json!([{"name": "none", "cache": "Never"}]);
    bed.patch_server(json!({"spec": {"classes": classes, "defaultClass": "none"}})).await;
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_empties_is_not_good_in_an_outage() {
    let bed = without_cache("good-emptied").await;
    let operator = in_an_outage(&bed).await;
    bed.patch_secret("orders", json!({"data": {"password": null}})).await;
    let not_ready = |r: &CredentialRequest| !is_ready(r);
    let request = bed.wait_request("orders", "not to be ready", not_ready).await;
    assert_eq!(condition(&request, "Reconciling").unwrap().status, "True");
    bed.connect.restart().unwrap();
    bed.wait_ready("orders").await;
    bed.wait_value("orders", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_an_earlier_spec_is_not_good_in_an_outage() {
    let bed = without_cache("good-edited").await;
    let operator = in_an_outage(&bed).await;
    let data = json!([{"key": "password", "ref": "op://services/orders-db/password"},
                      {"key": "user", "ref": "op://services/orders-db/username"}]);
    bed.patch_request("orders", json!({"spec": {"data": data}})).await;
    let not_ready = |r: &CredentialRequest| !is_ready(r);
    bed.wait_request("orders", "not to be ready", not_ready).await;
    bed.connect.restart().unwrap();
    bed.wait_ready("orders").await;
    bed.wait_value("orders", "user", &bed.value("orders-db", "username")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_secret_is_told_with_the_command_that_resolves_it() {
    let bed = Bed::new("immutable").await;
    let operator = bed.operator().await;
    bed.request_data("orders", &[("password", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    bed.patch_secret("orders", json!({"immutable": true})).await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    let request = bed.wait_reason("orders", Reason::WriteFailed).await;
    let message = &condition(&request, "Ready").unwrap().message;
    assert!(
        message.contains("immutable") && message.contains("kubectl delete secret"),
        "{message}"
    );
    bed.delete_secret("orders").await;
    bed.wait_value("orders", "password", "rotated").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_operator_does_not_make_an_outage_young_again() {
    let bed = Bed::new("good-restart").await;
    let operator = in_an_outage(&bed).await;
    operator.stop().await;
    let long_ago = json!({"status": {"sync": {"staleSince": "2020-01-01T00:00:00Z"}}});
    let params = PatchParams::default();
    bed.requests().patch_status("orders", &params, &Patch::Merge(long_ago)).await.unwrap();
    let operator = bed.operator().await;
    bed.wait_request("orders", "not to be ready", |r| !is_ready(r)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_when_to_come_back_is_not_asked_before() {
    let bed = Bed::new("retry-after").await;
    bed.connect.fault(
        FaultSpec::new(FaultKind::RateLimited { retry_after: Duration::from_secs(3) })
            .on("GET /v1/vaults/{v}/items/{i}")
            .times(1),
    );
    let operator = bed.operator().await;
    bed.request_data("orders", &[("password", "op://services/orders-db/password")]).await;
    bed.wait_reason("orders", Reason::ConnectUnavailable).await;
    bed.wait_ready("orders").await;
    let log = bed.connect.requests().log;
    let items: Vec<_> = log.iter().filter(|r| r.target.matches('/').count() == 5).collect();
    assert_eq!(items.len(), 2, "{items:?}");
    assert!(items[1].at - items[0].at >= Duration::from_secs(3), "{items:?}");
    operator.stop().await;
}
