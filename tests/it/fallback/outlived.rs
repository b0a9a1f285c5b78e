//! What 1Password refused it refuses still when it cannot be asked any more: an outage that follows brings nothing to
//! light, neither what is kept nor what could stand in.

use std::time::Duration;

use portcullis::api::{CredentialRequest, REFRESH_ANNOTATION, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, OperatorOptions, TestOperator, condition, wait};
use serde_json::json;

use super::{FALLBACKS, ITEM_ROUTE, SPARE, from_spare, request, spare, stand_in};

const DB: &[(&str, &str)] = &[("password", "op://services/orders-db/password")];
const LIST_ROUTE: &str = "GET /v1/vaults/{v}/items";

/// Delivers `one`, for which everything could stand in.
async fn delivered(name: &str, settings: Settings) -> (Bed, TestOperator) {
    let bed = Bed::new(name).await;
    let mapped = json!([{"ref": "op://services/orders-db/password", "variable": "SPARE"}]);
    bed.patch_server(json!({"spec": {"fallback": {"environment": mapped}}})).await;
    spare(&bed, "Opaque", Some("one"), &[("password", &stand_in(&bed, "secret"))]).await;
    let environment = [("SPARE".to_owned(), stand_in(&bed, "variable"))].into();
    let options = OperatorOptions { settings, environment, ..OperatorOptions::default() };
    let operator = bed.operator_of(options).await;
    request(&bed, "one", DB, from_spare()).await;
    bed.wait_ready("one").await;
    (bed, operator)
}

/// So that nothing is believed within a test.
fn doubtful() -> Settings {
    Settings { refusal_confirm: Duration::from_secs(600), ..Settings::for_tests() }
}

fn fault(code: u16) -> FaultSpec {
    FaultSpec::new(FaultKind::Status { code, message: "no".to_owned() })
}

/// The same for the item alone.
fn item_fault(bed: &Bed, code: u16) {
    let vault = bed.connect.vault_id("services").unwrap();
    bed.connect.clear_faults();
    let path = format!("/v1/vaults/{vault}/items/{}", bed.item_id("orders-db"));
    bed.connect.fault(fault(code).under(&path));
}

/// Has 1Password asked for the item of `one`, whatever is kept.
async fn ask(bed: &Bed, word: &str) {
    bed.connect.reset_requests();
    bed.patch_request("one", json!({"metadata": {"annotations": {REFRESH_ANNOTATION: word}}}))
        .await;
    wait::until("the item to be asked for", wait::WAIT, async || {
        let asked = bed.connect.requests().route(ITEM_ROUTE);
        if asked > 0 { Ok(()) } else { Err("it was not".to_owned()) }
    })
    .await;
}

async fn wait_reason(bed: &Bed, name: &str, type_: &str, reason: Reason) {
    let is =
        |r: &CredentialRequest| condition(r, type_).is_some_and(|c| c.reason == reason.as_str());
    bed.wait_request(name, &format!("to say {type_} {reason}"), is).await;
}

async fn begin_outage(bed: &Bed) {
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
}

/// Takes the Secret of `one` away; nothing makes another one, and no fallback is looked at.
async fn nothing_serves(bed: &Bed, operator: &TestOperator, names: &[&str]) {
    // Gone already at a second look.
    if bed.secret("one").await.is_some() {
        bed.delete_secret("one").await;
    }
    wait::throughout("no Secret", Duration::from_secs(1), async || {
        for name in names {
            if bed.secret(name).await.is_some() {
                return Err(format!("{name} was made"));
            }
        }
        Ok(())
    })
    .await;
    assert_eq!(operator.metric(FALLBACKS, &[]), 0.0);
    assert_eq!(bed.operator_calls_on_secret("get", SPARE).await, 0);
}

async fn heals(bed: &Bed, names: &[&str]) {
    bed.connect.clear_faults();
    bed.connect.restart().unwrap();
    for name in names {
        bed.wait_ready(name).await;
        bed.wait_value(name, "password", &bed.value("orders-db", "password")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_was_refused_for_good_is_refused_in_the_outage_that_follows() {
    let (bed, operator) = delivered("out-item", Settings::for_tests()).await;
    item_fault(&bed, 403);
    ask(&bed, "a").await;
    wait_reason(&bed, "one", "Stalled", Reason::AccessDenied).await;
    // First the item alone is away, then all of 1Password.
    item_fault(&bed, 503);
    ask(&bed, "b").await;
    nothing_serves(&bed, &operator, &["one"]).await;
    begin_outage(&bed).await;
    nothing_serves(&bed, &operator, &["one"]).await;
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 0.0);
    heals(&bed, &["one"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_refusal_is_not_believed_yet_does_not_fall_back_in_the_outage_that_follows() {
    let (bed, operator) = delivered("out-item-doubt", doubtful()).await;
    item_fault(&bed, 403);
    ask(&bed, "a").await;
    wait_reason(&bed, "one", "Synced", Reason::AccessDenied).await;
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 1.0, "it is kept");
    item_fault(&bed, 503);
    ask(&bed, "b").await;
    nothing_serves(&bed, &operator, &["one"]).await;
    begin_outage(&bed).await;
    nothing_serves(&bed, &operator, &["one"]).await;
    assert_eq!(condition(&bed.get_request("one").await, "Stalled"), None, "nobody said no again");
    heals(&bed, &["one"]).await;
    operator.stop().await;
}

/// The vault's list is refused, and then nobody can be asked; not even a refresh of the server changes that.
async fn vault_refused(bed: &Bed, operator: &TestOperator, type_: &str) {
    bed.connect.fault(fault(403).on(LIST_ROUTE));
    bed.connect.set_field("services", "orders-api", "password", "moved").unwrap();
    wait_reason(bed, "one", type_, Reason::AccessDenied).await;
    begin_outage(bed).await;
    // It has asked nothing before; the variable is mapped for it as well.
    request(bed, "late", DB, json!({})).await;
    wait_reason(bed, "late", type_, Reason::AccessDenied).await;
    nothing_serves(bed, operator, &["one", "late"]).await;
    bed.patch_server(json!({"metadata": {"annotations": {REFRESH_ANNOTATION: "now"}}})).await;
    wait::until("the refresh of the server", wait::WAIT, async || {
        let handled = bed.get_server().await.status.unwrap().last_handled_refresh_request;
        if handled.as_deref() == Some("now") { Ok(()) } else { Err(format!("{handled:?}")) }
    })
    .await;
    nothing_serves(bed, operator, &["one", "late"]).await;
    wait_reason(bed, "late", type_, Reason::AccessDenied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_was_refused_for_good_is_refused_in_the_outage_that_follows() {
    let (bed, operator) = delivered("out-vault", Settings::for_tests()).await;
    vault_refused(&bed, &operator, "Stalled").await;
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 0.0);
    heals(&bed, &["one", "late"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_whose_refusal_is_not_believed_yet_does_not_fall_back_in_the_outage_that_follows() {
    let (bed, operator) = delivered("out-vault-doubt", doubtful()).await;
    vault_refused(&bed, &operator, "Synced").await;
    for name in ["one", "late"] {
        let stalled = condition(&bed.get_request(name).await, "Stalled").cloned();
        assert_eq!(stalled, None, "nobody said no again");
    }
    heals(&bed, &["one", "late"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_rejected_for_good_opens_no_fallback_in_the_outage_that_follows() {
    let (bed, operator) = delivered("out-token", Settings::for_tests()).await;
    assert!(bed.connect.revoke_token(&bed.token));
    wait_reason(&bed, "one", "Stalled", Reason::TokenRejected).await;
    begin_outage(&bed).await;
    request(&bed, "late", DB, json!({})).await;
    wait_reason(&bed, "late", "Ready", Reason::ConnectUnavailable).await;
    nothing_serves(&bed, &operator, &["one", "late"]).await;
    bed.connect.add_token(&bed.token, &["*"]);
    heals(&bed, &["one", "late"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_rejection_is_not_believed_yet_opens_no_fallback_in_the_outage_that_follows()
{
    let (bed, operator) = delivered("out-token-doubt", doubtful()).await;
    assert!(bed.connect.revoke_token(&bed.token));
    bed.connect.reset_requests();
    wait::until("a poll that is rejected", wait::WAIT, async || {
        let asked = bed.connect.requests().route("GET /v1/vaults");
        if asked > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    begin_outage(&bed).await;
    request(&bed, "late", DB, json!({})).await;
    wait_reason(&bed, "late", "Ready", Reason::ConnectUnavailable).await;
    nothing_serves(&bed, &operator, &["one", "late"]).await;
    assert_eq!(operator.metric("portcullis_cache_entries", &[]), 1.0, "it is kept");
    bed.connect.add_token(&bed.token, &["*"]);
    heals(&bed, &["one", "late"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_server_takes_no_rejection_of_its_token_back() {
    let (bed, operator) = delivered("out-token-edit", doubtful()).await;
    assert!(bed.connect.revoke_token(&bed.token));
    bed.wait_server_reason("TokenValid", Reason::TokenRejected).await;
    begin_outage(&bed).await;
    bed.patch_server(json!({"spec": {"limits": {"concurrency": 3}}})).await;
    request(&bed, "late", DB, json!({})).await;
    wait_reason(&bed, "late", "Ready", Reason::ConnectUnavailable).await;
    nothing_serves(&bed, &operator, &["one", "late"]).await;
    bed.connect.add_token(&bed.token, &["*"]);
    heals(&bed, &["one", "late"]).await;
    operator.stop().await;
}
