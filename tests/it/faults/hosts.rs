//! A server of two hosts, one of which fails; one whose authority changes; and one that is down when the operator
//! starts.

use portcullis::api::{Reason, Source};
use portcullis_test_support::connect_dev::{ConnectDev, FaultSpec, ItemSpec, StateSpec};
use portcullis_test_support::{Bed, Seen, wait};
use serde_json::json;

use super::{API, DB, Says, calls, decided, fresh, is_quiet, says, server_says, set, status};

async fn active_host(bed: &Bed, expected: &str) {
    wait::until(&format!("{expected} to be the active host"), wait::WAIT, async || {
        let found = bed.get_server().await.status.and_then(|s| s.active_host).unwrap_or_default();
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_first_host_is_down_the_second_one_serves_and_no_longer() {
    let bed = Bed::new("fh-over").await;
    let second = bed.second_host().await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    active_host(&bed, &bed.connect.url()).await;
    assert_eq!(
        second.requests().api(),
        0,
        "the second one is not asked while the first one answers"
    );
    bed.connect.stop();
    // Each further call has its own subject; after three of them the breaker looks into it.
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::SYNCED).await;
    let rotated = fresh(&bed, "rotated");
    second.set_field("services", "orders-db", "password", &rotated).unwrap();
    bed.wait_value("good", "k", &rotated).await;
    says(&bed, "good", Says::SYNCED).await;
    active_host(&bed, &second.url()).await;
    server_says(&bed, "Ready", "True Connected").await;
    for name in ["good", "new"] {
        let history = bed.get_request(name).await.status.unwrap().history;
        assert!(history.iter().all(|h| h.reason == Reason::Synced.as_str()), "{history:?}");
    }
    bed.connect.sync_from(&second);
    bed.connect.restart().unwrap();
    active_host(&bed, &bed.connect.url()).await;
    second.reset_requests();
    bed.connect.reset_requests();
    let later = fresh(&bed, "later");
    set(&bed, "orders-db", &later);
    bed.wait_value("good", "k", &later).await;
    assert_eq!(second.requests().api(), 0, "the first one is back");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_alone_tell_which_host_answers() {
    let bed = Bed::new("fh-polls").await;
    let second = bed.second_host().await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    active_host(&bed, &bed.connect.url()).await;
    bed.connect.stop();
    active_host(&bed, &second.url()).await;
    server_says(&bed, "Ready", "True Connected").await;
    wait::until("the second host to be asked how it is", wait::WAIT, async || {
        let looks = second.requests().route("GET /health");
        if looks > 0 { Ok(()) } else { Err("it was not".to_owned()) }
    })
    .await;
    bed.connect.restart().unwrap();
    active_host(&bed, &bed.connect.url()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_first_host_is_not_taken_to_the_second_one() {
    let bed = Bed::new("fh-refused").await;
    let second = bed.second_host().await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    for (code, reason) in [(403, Reason::AccessDenied), (401, Reason::TokenRejected)] {
        bed.connect.fault(FaultSpec::new(status(code)));
        says(&bed, "good", Says::stalled_with_secret(reason)).await;
        assert_eq!(second.requests().api(), 0);
        bed.connect.clear_faults();
        says(&bed, "good", Says::SYNCED).await;
    }
    bed.connect.fault(FaultSpec::new(status(400)));
    says(&bed, "good", Says::kept(Reason::InvalidResponse)).await;
    assert_eq!(second.requests().api(), 0);
    bed.connect.clear_faults();
    says(&bed, "good", Says::SYNCED).await;
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}

/// The bed's items on a server with https.
fn with_tls(bed: &Bed) -> ConnectDev {
    let item = |title: &str| {
        let field = |item: ItemSpec, label: &str| item.field(label, &bed.value(title, label));
        ["username", "password", "url"].into_iter().fold(ItemSpec::new(title), field)
    };
    let items = vec![item("orders-db"), item("orders-api")];
    let state = StateSpec::default().token(&bed.token, &["*"]).vault("services", items);
    ConnectDev::start_tls(state).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_authority_is_an_outage_until_the_spec_has_the_new_one() {
    let mut bed = Bed::new("fh-ca").await;
    bed.connect = with_tls(&bed);
    bed.apply_token(&bed.token).await;
    let mut server = bed.server_manifest();
    server["spec"]["allowInsecure"] = json!(false);
    server["spec"]["ca"] = json!({"inline": bed.connect.ca_pem().unwrap()});
    bed.apply(server).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    bed.connect.replace_ca().unwrap();
    let request = says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    let said = portcullis_test_support::condition(&request, "Synced").unwrap().message.clone();
    assert!(said.contains("TLS"), "{said}");
    bed.request_data("cached", &[("k", DB)]).await;
    says(&bed, "cached", Says::CACHED).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::waits(Reason::ConnectUnavailable)).await;
    is_quiet(&bed, &operator, &["good", "cached", "new"]).await;
    assert_eq!(bed.connect.requests().api(), 0, "nothing is sent to whom nobody vouches for");
    bed.patch_server(json!({"spec": {"ca": {"inline": bed.connect.ca_pem().unwrap()}}})).await;
    for name in ["good", "cached", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    server_says(&bed, "Ready", "True Connected").await;
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_while_every_host_is_down_decides_nothing_and_writes_nothing() {
    let bed = Bed::new("fh-start").await;
    let second = bed.second_host().await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
    let good = bed.secret("good").await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    second.stop();
    let operator = bed.operator().await;
    bed.request_data("new", &[("k", DB)]).await;
    bed.request_data("outside", &[("k", "op://infra/root/password")]).await;
    says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    for name in ["new", "outside"] {
        let request = says(&bed, name, Says::waits(Reason::ConnectUnavailable)).await;
        assert!(!decided(&request), "{name} was decided on");
    }
    is_quiet(&bed, &operator, &["good", "new", "outside"]).await;
    assert_eq!(operator.audit.text(), "");
    assert_eq!(calls(&operator, "item"), 0.0);
    assert_eq!(bed.secret("good").await, good);
    // One of them is enough.
    second.restart().unwrap();
    for name in ["good", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    bed.wait_reason("outside", Reason::VaultNotAllowed).await;
    let touched = history.of("good").into_iter().chain(history.of("outside")).count();
    assert_eq!(touched, 0, "a Secret was written");
    assert!(matches!(history.of("new").as_slice(), [Seen::Added(_)]));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_an_outage_longer_than_the_limit_leaves_the_secret_and_says_so() {
    let bed = Bed::new("fh-long").await;
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "4s"}}})).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
    let good = bed.secret("good").await;
    bed.connect.stop();
    let operator = bed.operator().await;
    says(&bed, "good", Says::too_old(Source::Connect)).await;
    bed.request_data("new", &[("k", DB)]).await;
    let request = says(&bed, "new", Says::waits(Reason::ConnectUnavailable)).await;
    assert!(!decided(&request));
    assert_eq!(bed.secret("good").await, good);
    bed.connect.restart().unwrap();
    for name in ["good", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}
