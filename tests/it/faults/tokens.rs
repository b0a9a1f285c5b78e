//! The Connect token is replaced, ends, or may do more than it should.

use std::time::{Duration, SystemTime};

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::{Access, FakeToken};
use portcullis_test_support::{Bed, condition, wait};

use super::{API, DB, ITEM, LIST, Says, fresh, is_quiet, says, server_says, wait_kept_values};

/// A token with the form of Connect's, which the bed's server accepts.
fn accepted(bed: &Bed, access: Access, expires: Option<SystemTime>) -> String {
    let id = bed.connect.vault_id("services").unwrap();
    let token = FakeToken::new(&fresh(bed, "jti")).vault(&id, access);
    bed.connect.accept(&match expires {
        Some(at) => token.expires(at),
        None => token,
    })
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_heals_a_revoked_one_without_a_restart() {
    let bed = Bed::new("fk-new").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    assert!(bed.connect.revoke_token(&bed.token));
    says(&bed, "good", Says::stalled_with_secret(Reason::TokenRejected)).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::stalled(Reason::TokenRejected)).await;
    // A token that is rejected for good is not tried with each poll for each request.
    bed.connect.reset_requests();
    is_quiet(&bed, &operator, &["good", "new"]).await;
    let asked = bed.connect.requests();
    assert_eq!((asked.route(LIST), asked.route(ITEM)), (0, 0), "{:?}", asked.by_route);
    let token = fresh(&bed, "second-token");
    bed.connect.add_token(&token, &["services"]);
    bed.connect.reset_requests();
    bed.apply_token(&token).await;
    for name in ["good", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    // An item each, of which nothing was kept under another token.
    let asked = bed.connect.requests();
    assert!(asked.route(ITEM) <= 2 && asked.route(LIST) <= 2, "{:?}", asked.by_route);
    server_says(&bed, "TokenValid", "True Connected").await;
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_with_another_token_never_serves() {
    let bed = Bed::new("fk-cache").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    wait_kept_values(&operator, 1.0).await;
    bed.connect.stop();
    says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    bed.request_data("before", &[("k", DB)]).await;
    says(&bed, "before", Says::CACHED).await;
    // The new one opens another vault alone, which nobody can find out for now.
    let token = fresh(&bed, "second-token");
    bed.connect.add_token(&token, &["infra"]);
    bed.apply_token(&token).await;
    wait_kept_values(&operator, 0.0).await;
    bed.request_data("after", &[("k", DB)]).await;
    says(&bed, "after", Says::waits(Reason::ConnectUnavailable)).await;
    assert!(bed.secret("after").await.is_none());
    bed.connect.restart().unwrap();
    let request = bed.wait_reason("after", Reason::VaultNotFound).await;
    assert!(condition(&request, "Stalled").is_some());
    assert!(bed.secret("after").await.is_none());
    for name in ["good", "before"] {
        assert_eq!(bed.secret_values(name).await["k"], bed.value("orders-db", "password"));
    }
    bed.connect.set_token_scope(&token, &["*"]);
    for name in ["good", "before", "after"] {
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_soon_is_told_of_and_when_it_ends_the_secret_stays() {
    let bed = Bed::new("fk-ends").await;
    let end = SystemTime::now() + Duration::from_secs(20);
    bed.apply_token(&accepted(&bed, Access::Read, Some(end))).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    server_says(&bed, "TokenValid", "True TokenExpiresSoon").await;
    server_says(&bed, "Ready", "True Connected").await;
    let ends = bed.get_server().await.status.unwrap().token_expires_at.unwrap();
    assert_eq!(seconds(ends.0.into()), seconds(end));
    let metric = operator.metric("portcullis_token_expiry_timestamp_seconds", &[]);
    assert_eq!(metric, seconds(end) as f64);
    says(&bed, "good", Says::kept(Reason::TokenRejected)).await;
    assert!(SystemTime::now() >= end - Duration::from_secs(1), "refused before its end");
    says(&bed, "good", Says::stalled_with_secret(Reason::TokenRejected)).await;
    server_says(&bed, "TokenValid", "False TokenRejected").await;
    is_quiet(&bed, &operator, &["good"]).await;
    assert_eq!(bed.secret("good").await, good);
    bed.apply_token(&bed.token).await;
    says(&bed, "good", Says::SYNCED).await;
    server_says(&bed, "TokenValid", "True Connected").await;
    assert_eq!(bed.get_server().await.status.unwrap().token_expires_at, None);
    assert_eq!(operator.metric("portcullis_token_expiry_timestamp_seconds", &[]), 0.0);
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_soon_and_may_write_is_told_of_for_both() {
    let bed = Bed::new("fk-both").await;
    let end = SystemTime::now() + Duration::from_secs(24 * 3600);
    bed.apply_token(&accepted(&bed, Access::ReadWrite, Some(end))).await;
    let operator = bed.operator().await;
    server_says(&bed, "TokenValid", "True TokenExpiresSoon").await;
    let status = bed.get_server().await.status.unwrap();
    let told = status.conditions.iter().find(|c| c.type_ == "TokenValid").unwrap();
    let ends = chrono::DateTime::<chrono::Utc>::from(end).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert!(told.message.contains(&format!("ends on {ends}")), "{}", told.message);
    assert!(told.message.contains("may also write"), "{}", told.message);
    let expiry = "portcullis_token_expiry_timestamp_seconds";
    assert_eq!(operator.metric(expiry, &[("server", &bed.server)]), seconds(end) as f64);
    // The series goes with its server.
    bed.delete_server().await;
    wait::until("the series to go", wait::WAIT, async || {
        let text = operator.metrics.encode();
        if text.contains(&format!("{expiry}{{")) { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_in_a_year_is_no_news() {
    let bed = Bed::new("fk-year").await;
    let end = SystemTime::now() + Duration::from_secs(365 * 24 * 3600);
    bed.apply_token(&accepted(&bed, Access::Read, Some(end))).await;
    let operator = bed.operator().await;
    server_says(&bed, "TokenValid", "True Connected").await;
    let ends = bed.get_server().await.status.unwrap().token_expires_at.unwrap();
    assert_eq!(seconds(ends.0.into()), seconds(end));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_write_is_told_of_and_serves() {
    let bed = Bed::new("fk-write").await;
    bed.apply_token(&accepted(&bed, Access::ReadWrite, None)).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    server_says(&bed, "TokenValid", "True TokenCanWrite").await;
    server_says(&bed, "Ready", "True Connected").await;
    let asked = bed.connect.requests();
    assert!(asked.log.iter().all(|r| r.method == "GET"), "{:?}", asked.by_route);
    assert_eq!(asked.route(ITEM), 1);
    bed.apply_token(&accepted(&bed, Access::Read, None)).await;
    server_says(&bed, "TokenValid", "True Connected").await;
    operator.stop().await;
}
