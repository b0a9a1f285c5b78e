//! 1Password Connect fails, in each way that it can: the last good Secret stays as it is, status says how old it is
//! and why, and everything heals when the failure ends.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::json;

const ITEM_ROUTE: &str = "GET /v1/vaults/{v}/items/{i}";
const LIST_ROUTE: &str = "GET /v1/vaults/{v}/items";

fn status(code: u16) -> FaultKind {
    FaultKind::Status { code, message: "canary of an upstream body".to_owned() }
}

/// The conditions as `type=status`, without Authorized.
fn conditions(request: &CredentialRequest) -> Vec<String> {
    let conditions = request.status.iter().flat_map(|s| &s.conditions);
    let mut all: Vec<_> = conditions
        .filter(|c| c.type_ != "Authorized")
        .map(|c| format!("{}={}", c.type_, c.status))
        .collect();
    all.sort();
    all
}

async fn wait_conditions(
    bed: &Bed,
    name: &str,
    reason: Reason,
    expected: &[&str],
) -> CredentialRequest {
    let is = |r: &CredentialRequest| {
        conditions(r) == expected
            && condition(r, "Synced").is_some_and(|c| c.reason == reason.as_str())
    };
    bed.wait_request(name, &format!("to say {reason} with {expected:?}"), is).await
}

/// What a request with a good Secret says while nobody knows better.
const TOLERATED: [&str; 2] = ["Ready=True", "Synced=False"];
const ON_ITS_WAY: [&str; 3] = ["Ready=False", "Reconciling=True", "Synced=False"];
const STALLED: [&str; 3] = ["Ready=False", "Stalled=True", "Synced=False"];

/// A whole server in trouble: a request with a good Secret, one without, and the end of the trouble.
async fn outage(name: &str, begin: impl FnOnce(&Bed), reason: Reason, end: impl FnOnce(&Bed)) {
    let bed = Bed::new(name).await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let secret = bed.secret("good").await;
    begin(&bed);
    let request = wait_conditions(&bed, "good", reason, &TOLERATED).await;
    assert!(request.status.as_ref().unwrap().sync.as_ref().unwrap().stale_since.is_some());
    for condition in &request.status.as_ref().unwrap().conditions {
        assert!(!condition.message.contains("upstream"), "{}", condition.message);
    }
    bed.wait_server_reason("Ready", reason).await;
    bed.request_data("new", &[("k", "op://services/orders-api/password")]).await;
    wait_conditions(&bed, "new", reason, &ON_ITS_WAY).await;
    assert!(bed.secret("new").await.is_none());
    assert_eq!(bed.secret("good").await, secret);
    end(&bed);
    bed.wait_ready("new").await;
    let healed =
        wait_conditions(&bed, "good", Reason::Synced, &["Ready=True", "Synced=True"]).await;
    assert!(healed.status.unwrap().sync.unwrap().stale_since.is_none());
    assert_eq!(bed.secret("good").await, secret);
    bed.wait_server_reason("Ready", Reason::Connected).await;
    operator.stop().await;
}

async fn faulty(name: &str, kind: FaultKind, reason: Reason) {
    let begin = |bed: &Bed| {
        bed.connect.fault(FaultSpec::new(kind));
    };
    outage(name, begin, reason, |bed| bed.connect.clear_faults()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_error_keeps_the_secret_and_heals() {
    faulty("out-500", status(500), Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_page_keeps_the_secret_and_heals() {
    faulty("out-html", FaultKind::Html { code: 200 }, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_keeps_the_secret_and_heals() {
    faulty("out-hang", FaultKind::Hang, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_keeps_the_secret_and_heals() {
    let begin = |bed: &Bed| bed.connect.stop();
    let end = |bed: &Bed| bed.connect.restart().unwrap();
    outage("out-stop", begin, Reason::ConnectUnavailable, end).await;
}

/// A refusal is believed after a while, and not before: the Secret stays all the same.
async fn refusal(name: &str, begin: impl FnOnce(&Bed), reason: Reason, end: impl FnOnce(&Bed)) {
    let bed = Bed::new(name).await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let secret = bed.secret("good").await;
    begin(&bed);
    wait_conditions(&bed, "good", reason, &TOLERATED).await;
    let request = wait_conditions(&bed, "good", reason, &STALLED).await;
    assert_eq!(condition(&request, "Ready").unwrap().reason, reason.as_str());
    bed.request("new", |_| {}).await;
    wait_conditions(&bed, "new", reason, &STALLED).await;
    assert_eq!(bed.secret("good").await, secret);
    assert!(bed.secret("new").await.is_none());
    end(&bed);
    bed.wait_ready("good").await;
    bed.wait_ready("new").await;
    assert_eq!(bed.secret("good").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_believed_after_a_while_and_keeps_the_secret() {
    let begin = |bed: &Bed| assert!(bed.connect.revoke_token(&bed.token));
    let end = |bed: &Bed| bed.connect.add_token(&bed.token, &["*"]);
    refusal("out-401", begin, Reason::TokenRejected, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_access_is_believed_after_a_while_and_keeps_the_secret() {
    let begin = |bed: &Bed| {
        bed.connect.fault(FaultSpec::new(status(403)));
    };
    refusal("out-403", begin, Reason::AccessDenied, |bed| {
        bed.connect.clear_faults();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_a_long_outage_is_not_believed_at_once() {
    let bed = Bed::new("out-mixed").await;
    let settings = Settings { refusal_confirm: Duration::from_secs(4), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    bed.connect.fault(FaultSpec::new(status(503)));
    let outage = wait_conditions(&bed, "good", Reason::ConnectUnavailable, &TOLERATED).await;
    let since = outage.status.unwrap().sync.unwrap().stale_since.unwrap().0;
    // Out for longer than a refusal must last.
    wait::until("the outage to be old", wait::WAIT, async || {
        let age = std::time::SystemTime::now().duration_since(since.into()).unwrap_or_default();
        (age > Duration::from_secs(6)).then_some(()).ok_or_else(|| format!("{age:?}"))
    })
    .await;
    bed.connect.clear_faults();
    bed.connect.fault(FaultSpec::new(status(401)));
    wait_conditions(&bed, "good", Reason::TokenRejected, &TOLERATED).await;
    wait_conditions(&bed, "good", Reason::TokenRejected, &STALLED).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_limit_of_staleness_a_request_is_not_ready_any_more() {
    let bed = Bed::new("out-stale").await;
    let settings = Settings { max_staleness: Duration::from_secs(3), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request("server", |_| {}).await;
    bed.request_data("item", &[("k", "op://services/orders-api/password")]).await;
    bed.wait_ready("server").await;
    bed.wait_ready("item").await;
    // One whose item fails while its server is well.
    let api = format!(
        "/v1/vaults/{}/items/{}",
        bed.connect.vault_id("services").unwrap(),
        bed.item_id("orders-api")
    );
    bed.connect.fault(FaultSpec::new(status(500)).under(&api));
    bed.connect.set_field("services", "orders-api", "password", "rotated").unwrap();
    wait_conditions(&bed, "item", Reason::ConnectUnavailable, &TOLERATED).await;
    wait_conditions(&bed, "item", Reason::ConnectUnavailable, &ON_ITS_WAY).await;
    bed.connect.fault(FaultSpec::new(status(500)));
    wait_conditions(&bed, "server", Reason::ConnectUnavailable, &TOLERATED).await;
    wait_conditions(&bed, "server", Reason::ConnectUnavailable, &ON_ITS_WAY).await;
    assert!(bed.secret("server").await.is_some());
    bed.connect.clear_faults();
    bed.wait_ready("server").await;
    bed.wait_value("item", "k", "rotated").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fails_for_ever_disturbs_no_other_request() {
    let bed = Bed::new("out-item").await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let api = format!(
        "/v1/vaults/{}/items/{}",
        bed.connect.vault_id("services").unwrap(),
        bed.item_id("orders-api")
    );
    bed.connect.fault(FaultSpec::new(status(500)).under(&api));
    bed.request_data("bad", &[("k", "op://services/orders-api/password")]).await;
    wait_conditions(&bed, "bad", Reason::ConnectUnavailable, &ON_ITS_WAY).await;
    for value in ["one", "two"] {
        bed.connect.set_field("services", "orders-db", "password", value).unwrap();
        bed.wait_value("good", "password", value).await;
    }
    bed.request("new", |_| {}).await;
    bed.wait_ready("new").await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.connect.clear_faults();
    bed.wait_ready("bad").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_failed_once_is_had_again_though_the_vault_does_not_move() {
    let bed = Bed::new("out-list").await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    bed.connect.fault(FaultSpec::new(status(500)).on(LIST_ROUTE).times(1));
    // Not in the list: it is asked for again, and that fails.
    bed.request_data("missing", &[("k", "op://services/never/field")]).await;
    bed.wait_reason("missing", Reason::ItemNotFound).await;
    wait_conditions(&bed, "good", Reason::Synced, &["Ready=True", "Synced=True"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_takes_longer_than_the_time_between_two_looks_still_gives_an_answer() {
    let bed = Bed::new("out-slow").await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(600))));
    bed.request_data("missing", &[("k", "op://services/never/field")]).await;
    bed.wait_reason("missing", Reason::ItemNotFound).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_refused_is_believed_after_a_while_and_keeps_the_secret() {
    let bed = Bed::new("out-item-403").await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let secret = bed.secret("good").await;
    let fault = FaultSpec::new(status(403)).on(ITEM_ROUTE);
    bed.connect.fault(fault);
    let set = |value| bed.connect.set_field("services", "orders-db", "password", value);
    set("rotated").unwrap();
    wait_conditions(&bed, "good", Reason::AccessDenied, &TOLERATED).await;
    wait_conditions(&bed, "good", Reason::AccessDenied, &STALLED).await;
    assert_eq!(bed.secret("good").await, secret);
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.connect.clear_faults();
    bed.wait_value("good", "password", "rotated").await;
    bed.wait_ready("good").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_item_is_never_written() {
    let bed = Bed::new("out-wrong").await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let secret = bed.secret("good").await;
    bed.connect.fault(FaultSpec::new(FaultKind::WrongItem));
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    wait_conditions(&bed, "good", Reason::InvalidResponse, &TOLERATED).await;
    bed.request("new", |_| {}).await;
    wait_conditions(&bed, "new", Reason::InvalidResponse, &ON_ITS_WAY).await;
    assert_eq!(bed.secret("good").await, secret);
    assert!(bed.secret("new").await.is_none());
    bed.connect.clear_faults();
    bed.wait_value("good", "password", "rotated").await;
    bed.wait_value("new", "password", "rotated").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_connect_are_counted_by_what_came_of_them() {
    let bed = Bed::new("out-count").await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let counted = |operation, code| {
        let labels = [("operation", operation), ("code", code)];
        operator.metric("portcullis_connect_requests_total", &labels)
    };
    assert_eq!((counted("item", "2xx"), counted("items", "2xx")), (1.0, 1.0));
    let closed = format!(r#"host="{}"}} 0"#, bed.connect.url());
    let text = operator.metrics.encode();
    assert!(text.contains("portcullis_connect_breaker_open{"), "{text}");
    assert!(text.contains(&closed), "{text}");
    bed.connect.fault(FaultSpec::new(status(503)));
    wait::until("a poll to be counted as failed", wait::WAIT, async || {
        let failed = counted("vaults", "5xx");
        // The poll, and its two repetitions.
        if failed >= 3.0 { Ok(()) } else { Err(format!("{failed} failed")) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_staleness_nothing_that_is_kept_serves_however_young_it_is() {
    let bed = Bed::new("out-none").await;
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "0s"}}})).await;
    let operator = bed.operator().await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.delete_secret("good").await;
    bed.request("new", |_| {}).await;
    for name in ["good", "new"] {
        wait_conditions(&bed, name, Reason::ConnectUnavailable, &ON_ITS_WAY).await;
        assert!(bed.secret(name).await.is_none());
    }
    bed.connect.restart().unwrap();
    bed.wait_ready("good").await;
    bed.wait_ready("new").await;
    operator.stop().await;
}
