//! One item fails while its server is well: nobody else notices. `good` has a Secret of it, `cached` is new and asks
//! for it before it moves, `new` after that, `other` for another item.

use std::time::{Duration, Instant};

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::{Bed, SecretHistory, condition, wait};

use super::{
    API, DB, ITEM, LIST, Says, asked, fresh, most_calls, path_of, says, server_says, set, status,
};

/// Nothing but these values was ever in the Secret of a name.
fn held_only(history: &SecretHistory, name: &str, values: &[&str]) {
    for seen in history.of(name) {
        let data = seen.secret().data.clone().unwrap_or_default();
        assert!(values.iter().any(|v| data["k"].0 == v.as_bytes()), "{name} held another value");
    }
}

async fn row(name: &str, kind: FaultKind, reason: Reason) {
    let bed = Bed::new(name).await;
    let history = bed.observe_secrets().await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", API)]).await;
    says(&bed, "good", Says::SYNCED).await;
    bed.connect.fault(FaultSpec::new(kind).under(&path_of(&bed, "orders-api")));
    bed.connect.reset_requests();
    // What is kept is current as long as its vault does not move.
    bed.request_data("cached", &[("k", API)]).await;
    says(&bed, "cached", Says::SYNCED).await;
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    let (first, rotated) = (bed.value("orders-api", "password"), fresh(&bed, "rotated"));
    set(&bed, "orders-api", &rotated);
    says(&bed, "good", Says::kept(reason)).await;
    says(&bed, "cached", Says::kept(reason)).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::waits(reason)).await;
    bed.request_data("other", &[("k", DB)]).await;
    says(&bed, "other", Says::SYNCED).await;
    server_says(&bed, "Ready", "True Connected").await;
    bed.connect.reset_requests();
    let began = Instant::now();
    asked(&bed, ITEM, 3).await;
    let (calls, lists) = (bed.connect.requests().route(ITEM), bed.connect.requests().route(LIST));
    // Whatever makes the vault be listed again has its requests looked at, too.
    let looks = 1 + began.elapsed().as_millis() as u64 / 166;
    assert!(lists <= looks, "{lists} lists in {:?}", began.elapsed());
    let most = most_calls(3, began.elapsed()) + 3 * lists;
    assert!(calls <= most, "{calls} calls in {:?}", began.elapsed());
    for name in ["good", "cached"] {
        assert_eq!(bed.secret_values(name).await["k"], first, "{name}");
    }
    assert!(bed.secret("new").await.is_none());
    bed.connect.clear_faults();
    for name in ["good", "cached", "new"] {
        bed.wait_value(name, "k", &rotated).await;
        says(&bed, name, Says::SYNCED).await;
        held_only(&history, name, &[&first, &rotated]);
    }
    held_only(&history, "other", &[&bed.value("orders-db", "password")]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_hangs_keeps_its_secret_and_nobody_else_waits() {
    row("fi-hang", FaultKind::Hang, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_calls_are_dropped_keeps_its_secret() {
    row("fi-drop", FaultKind::Drop, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_answer_breaks_off_keeps_its_secret() {
    row("fi-reset", FaultKind::Reset, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_answer_is_cut_short_keeps_its_secret() {
    row("fi-cut", FaultKind::Truncated, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_a_page_keeps_its_secret() {
    row("fi-page", FaultKind::Html { code: 200 }, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_a_proxy_cannot_reach_keeps_its_secret() {
    row("fi-502", FaultKind::Html { code: 502 }, Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_429_keeps_its_secret() {
    row("fi-429", status(429), Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_500_keeps_its_secret() {
    row("fi-500", status(500), Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_503_keeps_its_secret() {
    row("fi-503", status(503), Reason::ConnectUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_503_and_when_to_come_back_is_left_alone_until_then_and_nobody_else_is() {
    let bed = Bed::new("fi-503-after").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", API)]).await;
    bed.request_data("other", &[("k", DB)]).await;
    for name in ["good", "other"] {
        says(&bed, name, Says::SYNCED).await;
    }
    let first = bed.value("orders-api", "password");
    let retry_after = Duration::from_secs(1);
    let (path, message) = (path_of(&bed, "orders-api"), "an upstream body".to_owned());
    let kind = FaultKind::RetryAfter { code: 503, message, retry_after };
    bed.connect.fault(FaultSpec::new(kind).under(&path));
    bed.connect.reset_requests();
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-api", &rotated);
    says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    for n in 0..5 {
        // More who want it are no reason to ask sooner.
        bed.request_data(&format!("new-{n}"), &[("k", API)]).await;
        says(&bed, &format!("new-{n}"), Says::waits(Reason::ConnectUnavailable)).await;
        let value = fresh(&bed, &format!("other-{n}"));
        set(&bed, "orders-db", &value);
        bed.wait_value("other", "k", &value).await;
        says(&bed, "other", Says::SYNCED).await;
        server_says(&bed, "Reachable", "True Connected").await;
    }
    let times = || -> Vec<Duration> {
        let log = bed.connect.requests().log;
        log.iter().filter(|r| r.target == path).map(|r| r.at).collect()
    };
    wait::until("it to be asked for three times", wait::WAIT, async || {
        if times().len() >= 3 { Ok(()) } else { Err(format!("{:?}", times())) }
    })
    .await;
    for pair in times().windows(2) {
        assert!(pair[1] - pair[0] >= retry_after, "asked before the time was over: {:?}", times());
    }
    assert_eq!(operator.metric("portcullis_connect_breaker_open", &[]), 0.0);
    let history = bed.get_request("other").await.status.unwrap().history;
    assert!(history.iter().all(|h| h.reason == Reason::Synced.as_str()), "{history:?}");
    assert_eq!(bed.secret_values("good").await["k"], first);
    bed.connect.clear_faults();
    for name in ["good", "new-0", "new-4"] {
        bed.wait_value(name, "k", &rotated).await;
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}

/// It grows beyond what is read of an item, and shrinks again.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_outgrows_what_is_read_of_one_keeps_its_secret_until_it_shrinks() {
    let bed = Bed::new("fi-large").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", API)]).await;
    bed.request_data("other", &[("k", DB)]).await;
    for name in ["good", "other"] {
        says(&bed, name, Says::SYNCED).await;
    }
    let limit = Settings::for_tests().item_body_limit;
    let first = bed.value("orders-api", "password");
    bed.connect.reset_requests();
    bed.connect.set_field("services", "orders-api", "username", &"x".repeat(limit)).unwrap();
    let request = says(&bed, "good", Says::kept(Reason::InvalidResponse)).await;
    let message = &condition(&request, "Synced").unwrap().message;
    assert!(message.contains(&format!("larger than {limit} bytes")), "{message}");
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::waits(Reason::InvalidResponse)).await;
    let value = fresh(&bed, "other");
    set(&bed, "orders-db", &value);
    bed.wait_value("other", "k", &value).await;
    says(&bed, "other", Says::SYNCED).await;
    server_says(&bed, "Ready", "True Connected").await;
    // It is as large the next time, so that a call is not made again at once.
    bed.connect.reset_requests();
    let began = Instant::now();
    asked(&bed, ITEM, 2).await;
    let (calls, lists) = (bed.connect.requests().route(ITEM), bed.connect.requests().route(LIST));
    let most = most_calls(2, began.elapsed()) / 3 + lists;
    assert!(calls <= most, "{calls} calls in {:?}", began.elapsed());
    assert_eq!(bed.secret_values("good").await["k"], first);
    assert!(bed.secret("new").await.is_none());
    bed.connect.set_field("services", "orders-api", "username", "short again").unwrap();
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-api", &rotated);
    for name in ["good", "new"] {
        bed.wait_value(name, "k", &rotated).await;
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_400_keeps_its_secret() {
    row("fi-400", status(400), Reason::InvalidResponse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_413_keeps_its_secret() {
    row("fi-413", status(413), Reason::InvalidResponse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_items_values_are_never_delivered() {
    row("fi-item", FaultKind::WrongItem, Reason::InvalidResponse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_under_another_title_than_was_decided_on_is_not_delivered() {
    row("fi-title", FaultKind::WrongTitle, Reason::InvalidResponse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_another_vault_is_not_delivered() {
    row("fi-vault", FaultKind::WrongVault, Reason::InvalidResponse).await;
}
