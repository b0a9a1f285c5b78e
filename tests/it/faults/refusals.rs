//! 1Password says no: it is believed once that lasts, and neither before nor after that does anything fall back.

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::FaultSpec;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, TestOperator, wait};

use super::{
    API, DB, ITEM, LIST, Says, VAULTS, asked, fresh, is_quiet, kept_values, path_of, says,
    server_says, set, status, versions, wait_kept_values,
};

async fn with_a_secret(name: &str) -> (Bed, TestOperator) {
    let bed = Bed::new(name).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    wait_kept_values(&operator, 1.0).await;
    (bed, operator)
}

/// After a refusal was believed nothing is kept that an outage could bring to light again.
async fn nothing_is_kept(bed: &Bed, operator: &TestOperator) {
    wait_kept_values(operator, 0.0).await;
    bed.connect.clear_faults();
    bed.connect.fault(FaultSpec::new(status(500)));
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request_data("later", &[("k", DB)]).await;
    says(bed, "later", Says::waits(Reason::ConnectUnavailable)).await;
    assert!(bed.secret("later").await.is_none());
    bed.connect.clear_faults();
}

/// The whole server refuses.
async fn server_refuses(
    name: &str,
    reason: Reason,
    begin: impl FnOnce(&Bed),
    end: impl FnOnce(&Bed),
) {
    let (bed, operator) = with_a_secret(name).await;
    let good = bed.secret("good").await;
    begin(&bed);
    says(&bed, "good", Says::kept(reason)).await;
    bed.request_data("cached", &[("k", DB)]).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "good", Says::stalled_with_secret(reason)).await;
    for name in ["cached", "new"] {
        says(&bed, name, Says::stalled(reason)).await;
    }
    server_says(&bed, "Ready", &format!("False {reason}")).await;
    server_says(&bed, "Reachable", &format!("True {reason}")).await;
    server_says(&bed, "TokenValid", &format!("False {reason}")).await;
    is_quiet(&bed, &operator, &["good", "cached", "new"]).await;
    for name in ["cached", "new"] {
        let history = bed.get_request(name).await.status.unwrap().history;
        assert!(history.iter().all(|h| h.source.is_none()), "something was served: {history:?}");
        assert!(bed.secret(name).await.is_none());
    }
    nothing_is_kept(&bed, &operator).await;
    end(&bed);
    for name in ["good", "cached", "new", "later"] {
        says(&bed, name, Says::SYNCED).await;
    }
    server_says(&bed, "Ready", "True Connected").await;
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_what_is_kept_and_not_the_secret() {
    let begin = |bed: &Bed| assert!(bed.connect.revoke_token(&bed.token));
    let end = |bed: &Bed| bed.connect.add_token(&bed.token, &["*"]);
    server_refuses("fr-401", Reason::TokenRejected, begin, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_everything_ends_what_is_kept_and_not_the_secret() {
    let begin = |bed: &Bed| {
        bed.connect.fault(FaultSpec::new(status(403)));
    };
    server_refuses("fr-403", Reason::AccessDenied, begin, |_| {}).await;
}

/// The list of a vault, or an item of it, is refused while the server is well.
async fn part_is_refused(name: &str, code: u16, is_list: bool, reason: Reason) {
    let (bed, operator) = with_a_secret(name).await;
    let good = bed.secret("good").await;
    let fault = FaultSpec::new(status(code));
    bed.connect.fault(if is_list {
        fault.on(LIST)
    } else {
        fault.under(&path_of(&bed, "orders-db"))
    });
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-db", &rotated);
    says(&bed, "good", Says::kept(reason)).await;
    bed.request_data("cached", &[("k", DB)]).await;
    says(&bed, "good", Says::stalled_with_secret(reason)).await;
    says(&bed, "cached", Says::stalled(reason)).await;
    server_says(&bed, "Ready", "True Connected").await;
    assert_eq!(bed.secret("good").await, good);
    assert!(bed.secret("cached").await.is_none());
    wait_kept_values(&operator, 0.0).await;
    // What was refused for good is asked for again now and then, and not with every poll for every request.
    bed.connect.reset_requests();
    asked(&bed, VAULTS, 10).await;
    let counts = bed.connect.requests();
    let (polls, others) = (counts.route(VAULTS), counts.route(LIST) + counts.route(ITEM));
    assert!(others <= polls, "{:?}", counts.by_route);
    bed.connect.clear_faults();
    for name in ["good", "cached"] {
        bed.wait_value(name, "k", &rotated).await;
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_401_ends_in_the_cache_and_not_in_the_secret() {
    part_is_refused("fr-item-401", 401, false, Reason::TokenRejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_403_ends_in_the_cache_and_not_in_the_secret() {
    part_is_refused("fr-item-403", 403, false, Reason::AccessDenied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_says_404_ends_in_the_cache_and_not_in_the_secret() {
    part_is_refused("fr-item-404", 404, false, Reason::ItemNotFound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_says_401_ends_what_is_kept_of_the_vault() {
    part_is_refused("fr-list-401", 401, true, Reason::TokenRejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_says_403_ends_what_is_kept_of_the_vault() {
    part_is_refused("fr-list-403", 403, true, Reason::AccessDenied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_says_404_ends_what_is_kept_of_the_vault() {
    part_is_refused("fr-list-404", 404, true, Reason::VaultNotFound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_refused_once_is_no_news() {
    let (bed, operator) = with_a_secret("fr-once-poll").await;
    let before = versions(&bed, &["good"]).await;
    // The first look at its health comes when it will.
    let server = wait::until("the server's status to be whole", wait::WAIT, async || {
        let server = bed.get_server().await;
        let is_whole = server.status.as_ref().is_some_and(|s| s.version.is_some());
        if is_whole { Ok(server.resource_version()) } else { Err(format!("{:?}", server.status)) }
    })
    .await;
    for code in [401, 403] {
        bed.connect.reset_requests();
        bed.connect.fault(FaultSpec::new(status(code)).on(VAULTS).times(1));
        asked(&bed, VAULTS, 3).await;
    }
    assert_eq!(versions(&bed, &["good"]).await, before);
    assert_eq!(bed.get_server().await.resource_version(), server);
    assert_eq!(kept_values(&operator), 1.0);
    operator.stop().await;
}

/// A fetch that is refused once is made again, and nobody has to do anything.
async fn refused_once(name: &str, code: u16, route: &str) {
    let (bed, operator) = with_a_secret(name).await;
    bed.connect.reset_requests();
    bed.connect.fault(FaultSpec::new(status(code)).on(route).times(1));
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-db", &rotated);
    bed.wait_value("good", "k", &rotated).await;
    let request = says(&bed, "good", Says::SYNCED).await;
    // It was never believed: that would have emptied the cache and asked for the item once more.
    let asked = bed.connect.requests();
    // An item that is not there may be looked for in a newer list.
    let (lists, items) = match (route, code) {
        (ITEM, 404) => (1..=2, 2),
        (ITEM, _) => (1..=1, 2),
        _ => (2..=2, 1),
    };
    assert!(lists.contains(&asked.route(LIST)), "{:?}", asked.by_route);
    assert_eq!(asked.route(ITEM), items, "{:?}", asked.by_route);
    assert_eq!(request.status.unwrap().sync.unwrap().content_revision, 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_refused_once_is_asked_for_again() {
    refused_once("fr-once-item", 403, ITEM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_not_found_once_is_asked_for_again() {
    refused_once("fr-once-404", 404, ITEM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_once_is_asked_for_again() {
    refused_once("fr-once-list", 403, LIST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_taken_from_the_token_ends_everything_but_the_secrets_that_exist() {
    let bed = Bed::new("fr-vault").await;
    let settings = Settings { refusal_confirm: wait::WAIT / 5, ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    for name in ["good", "lost"] {
        bed.request_data(name, &[("k", DB)]).await;
        says(&bed, name, Says::SYNCED).await;
    }
    let good = bed.secret("good").await;
    let history = bed.observe_secrets().await;
    bed.connect.set_token_scope(&bed.token, &["infra"]);
    says(&bed, "good", Says::kept(Reason::AccessDenied)).await;
    // Within the time that it takes to be believed, too, no value comes out of the cache.
    bed.delete_secret("lost").await;
    bed.request_data("new", &[("k", DB)]).await;
    says(&bed, "new", Says::waits(Reason::AccessDenied)).await;
    says(&bed, "good", Says::stalled_with_secret(Reason::AccessDenied)).await;
    says(&bed, "lost", Says::stalled_with_secret(Reason::AccessDenied)).await;
    says(&bed, "new", Says::stalled(Reason::AccessDenied)).await;
    wait_kept_values(&operator, 0.0).await;
    bed.connect.reset_requests();
    asked(&bed, VAULTS, 3).await;
    let vault = bed.connect.vault_id("services").unwrap();
    let log = bed.connect.requests().log;
    assert!(log.iter().all(|r| !r.target.contains(&vault)), "{log:?}");
    assert_eq!(bed.secret("good").await, good);
    for name in ["lost", "new"] {
        let written = history
            .of(name)
            .iter()
            .any(|s| !matches!(s, portcullis_test_support::Seen::Deleted(_)));
        assert!(!written, "{name} was written");
        assert!(bed.secret(name).await.is_none());
    }
    server_says(&bed, "Ready", "True Connected").await;
    bed.connect.set_token_scope(&bed.token, &["*"]);
    for name in ["good", "lost", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}
