//! What happens in an unlucky order.

use portcullis::api::{Outcome, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;
use std::time::Duration;

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_created_a_moment_before_its_denial_is_taken_back_and_both_are_recorded() {
    let bed = Bed::new("race-undo").await;
    // As long as the test needs it, so that the order alone decides.
    let settings = Settings { undo_window: Duration::from_secs(60), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request_data("orders", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    let rule = json!({"name": "no", "when": "true", "effect": "Deny", "message": "withdrawn"});
    bed.policy("strict", json!({"rules": [rule]})).await;
    let request = bed.wait_reason("orders", Reason::Denied).await;
    bed.wait_no_secret("orders").await;
    assert!(request.status.unwrap().sync.is_none(), "the status still tells of the Secret");
    let writes = operator.audit.of("write", "orders");
    let changes: Vec<_> = writes.iter().map(|w| w["secret"]["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["created", "taken back"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_somebody_labelled_meanwhile_is_taken_back_all_the_same() {
    let bed = Bed::new("race-label").await;
    let settings = Settings { undo_window: Duration::from_secs(60), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request_data("orders", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    bed.connect.stop();
    bed.patch_secret("orders", json!({"metadata": {"labels": {"team": "shop"}}})).await;
    let rule = json!({"name": "no", "when": "true", "effect": "Deny", "message": "withdrawn"});
    bed.policy("strict", json!({"rules": [rule]})).await;
    bed.wait_reason("orders", Reason::Denied).await;
    bed.wait_no_secret("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_puts_no_old_value_back() {
    let bed = Bed::new("race-replica").await;
    let settings = Settings { refusal_confirm: Duration::from_secs(600), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request_data("orders", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    bed.connect.set_field("services", "orders-db", "password", "new").unwrap();
    bed.wait_value("orders", "k", "new").await;
    bed.wait_request("orders", "revision 2", |r| {
        r.status.as_ref().and_then(|s| s.sync.as_ref()).is_some_and(|s| s.content_revision == 2)
    })
    .await;
    // The status as a server saw it that is ahead of the one that answers now.
    let mut items = bed.get_request("orders").await.status.unwrap().sync.unwrap().items;
    items[0].version += 5;
    let ahead = json!({"status": {"sync": {"items": items, "receipt": "lost"}}});
    let params = portcullis_test_support::kube::api::PatchParams::default();
    let patch = portcullis_test_support::kube::api::Patch::Merge(ahead);
    bed.requests().patch_status("orders", &params, &patch).await.unwrap();
    let before = bed.secret("orders").await.unwrap();
    bed.patch_secret("orders", json!({"metadata": {"annotations": {"x": "y"}}})).await;
    let request = bed.wait_reason("orders", Reason::InvalidResponse).await;
    assert!(condition(&request, "Synced").unwrap().message.contains("older version"));
    assert_eq!(bed.secret("orders").await.unwrap().data, before.data);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_access_rows_never_meet_the_host_of_before() {
    let (bed, other) = (Bed::new("race-host").await, Bed::new("race-other").await);
    let operator = bed.operator().await;
    bed.request_data("orders", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    // To another host, whose token is not allowed for it, with rows that open another vault.
    bed.connect.reset_requests();
    bed.patch_server(json!({"spec": {
        "hosts": [{"url": other.connect.url()}],
        "access": [{"name": "all", "namespaces": {"all": true}, "vaults": [{"name": "infra"}]}],
    }}))
    .await;
    bed.request_data("root", &[("k", "op://infra/root/password")]).await;
    bed.wait_reason("root", Reason::TokenNotForHost).await;
    assert!(bed.secret("root").await.is_none());
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    assert_eq!(other.connect.requests().total, 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_in_the_middle_of_a_first_sync_takes_nothing_back() {
    let bed = Bed::new("race-token").await;
    let slow = FaultKind::Latency(Duration::from_millis(700));
    bed.connect.fault(FaultSpec::new(slow).on(ITEM));
    let operator = bed.operator().await;
    bed.request_data("orders", &[("k", "op://services/orders-db/password")]).await;
    wait::until("the item to be asked for", wait::WAIT, async || {
        let asked = bed.connect.requests().route(ITEM);
        if asked > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    bed.connect.add_token("second", &["services", "infra"]);
    bed.apply_token("second").await;
    bed.wait_ready("orders").await;
    let history = bed.get_request("orders").await.status.unwrap().history;
    assert!(history.iter().all(|h| h.outcome == Outcome::Allowed), "{history:?}");
    let writes = operator.audit.of("write", "orders");
    assert_eq!(writes.len(), 1, "{writes:?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_that_takes_too_long_says_so_and_holds_nobody_up() {
    let bed = Bed::new("race-slow").await;
    let settings = Settings {
        reconcile_timeout: Duration::from_millis(200),
        call_timeout: Duration::from_secs(4),
        ..Settings::for_tests()
    };
    let operator = bed.operator_with(settings).await;
    // Longer than 200 ms and a quarter of the call's limit, and not so long that the call fails.
    let api = format!(
        "/v1/vaults/{}/items/{}",
        bed.connect.vault_id("services").unwrap(),
        bed.item_id("orders-api")
    );
    let slow =
        bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_secs(3))).under(&api));
    bed.request_data("slow", &[("k", "op://services/orders-api/password")]).await;
    bed.request_data("quick", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("quick").await;
    let request = bed.wait_reason("slow", Reason::InternalError).await;
    assert!(condition(&request, "Ready").unwrap().message.contains("took longer"));
    bed.connect.clear_fault(slow);
    bed.wait_ready("slow").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_that_the_audit_stream_does_not_take_first() {
    let bed = Bed::new("race-audit").await;
    let operator = bed.operator().await;
    bed.request_data("orders", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("orders").await;
    assert_eq!(operator.audit.of("intent", "orders").len(), 1);
    let before = bed.secret("orders").await.unwrap();
    operator.audit.set_broken(true);
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.request_data("new", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_reason("orders", Reason::AuditFailed).await;
    bed.wait_reason("new", Reason::AuditFailed).await;
    assert_eq!(
        bed.secret("orders").await.unwrap().metadata.resource_version,
        before.metadata.resource_version
    );
    assert!(bed.secret("new").await.is_none());
    operator.audit.set_broken(false);
    bed.wait_value("orders", "k", "rotated").await;
    bed.wait_value("new", "k", "rotated").await;
    assert_eq!(operator.audit.of("intent", "orders").len(), 2);
    assert_eq!(operator.audit.of("write", "orders").len(), 2);
    operator.stop().await;
}
