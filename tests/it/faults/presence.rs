//! What Connect says of itself, and servers too old to say how their vaults move.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{ContentVersions, FaultKind, FaultSpec, Health};
use portcullis_test_support::{Bed, condition};

use super::{
    API, DB, ITEM, LIST, Says, VAULT, VAULTS, asked, fresh, says, server_says, set, status,
    versions,
};

/// A server that answers and says that it has not what it needs.
async fn unsynced(name: &str, service: &str, status: &str) {
    let bed = Bed::new(name).await;
    let settings =
        Settings { health_interval: Duration::from_millis(500), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    server_says(&bed, "Ready", "True Connected").await;
    let before = versions(&bed, &["good"]).await;
    bed.connect.set_health(Health::default().with(service, status));
    server_says(&bed, "Ready", "False ConnectNotSynced").await;
    server_says(&bed, "Reachable", "True ConnectNotSynced").await;
    server_says(&bed, "TokenValid", "True Connected").await;
    let server = bed.get_server().await.status.unwrap();
    let ready = server.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert!(ready.message.contains(&format!("{service} {status}")), "{}", ready.message);
    assert!(server.dependencies.iter().any(|d| d.service == service && d.status == status));
    // What it answers all the same is delivered.
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::SYNCED).await;
    assert_eq!(versions(&bed, &["good"]).await, before);
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-db", &rotated);
    bed.wait_value("good", "k", &rotated).await;
    bed.connect.set_health(Health::default());
    server_says(&bed, "Ready", "True Connected").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_needs_a_token_to_sync_is_not_ready_and_serves() {
    unsynced("fp-sync", "sync", "TOKEN_NEEDED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_accounts_data_is_not_ready_and_serves() {
    unsynced("fp-data", "account_data", "NOT_SYNCED").await;
}

/// Follows a server that says less of its vaults than it could; what polls cost of it, by route.
async fn followed(name: &str, says_of_vaults: ContentVersions) -> (u64, u64, u64) {
    let bed = Bed::new(name).await;
    bed.connect.set_content_versions(says_of_vaults);
    let operator = bed.operator().await;
    for (name, reference) in [("good", DB), ("other", API), ("again", DB)] {
        bed.request_data(name, &[("k", reference)]).await;
        says(&bed, name, Says::SYNCED).await;
    }
    for (value, revision) in [("second", 2), ("third", 3)] {
        let value = fresh(&bed, value);
        bed.connect.reset_requests();
        set(&bed, "orders-db", &value);
        for name in ["good", "again"] {
            bed.wait_value(name, "k", &value).await;
            let is_told = |r: &CredentialRequest| {
                let sync = r.status.as_ref().and_then(|status| status.sync.as_ref());
                sync.is_some_and(|sync| sync.content_revision == revision)
            };
            bed.wait_request(name, "to tell of the change", is_told).await;
            says(&bed, name, Says::SYNCED).await;
        }
        let asked = bed.connect.requests();
        assert_eq!(asked.route(ITEM), 1, "what changed, once for both: {:?}", asked.by_route);
    }
    let before = versions(&bed, &["good", "other", "again"]).await;
    bed.connect.reset_requests();
    asked(&bed, VAULTS, 6).await;
    let counts = bed.connect.requests();
    assert_eq!(counts.route(ITEM), 0, "{:?}", counts.by_route);
    assert_eq!(versions(&bed, &["good", "other", "again"]).await, before);
    let request = bed.get_request("good").await;
    assert_eq!(condition(&request, "Ready").unwrap().reason, Reason::Synced.as_str());
    operator.stop().await;
    (counts.route(VAULTS), counts.route(VAULT), counts.route(LIST))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_versions_in_its_list_is_followed_by_that_alone() {
    let (_, vaults, lists) = followed("fp-everywhere", ContentVersions::Everywhere).await;
    assert_eq!((vaults, lists), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_versions_of_single_vaults_is_asked_for_each_in_use_once_a_poll() {
    let (polls, vaults, lists) = followed("fp-single", ContentVersions::SingleVault).await;
    // The reset and the last look each fall in between two calls of a poll.
    assert!(vaults.abs_diff(polls) <= 1, "{vaults} of {polls}");
    assert_eq!(lists, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_no_versions_is_listed_each_poll() {
    let (polls, vaults, lists) = followed("fp-nowhere", ContentVersions::Nowhere).await;
    assert!(lists.abs_diff(polls) <= 1, "{lists} of {polls}");
    assert!(vaults.abs_diff(polls) <= 1, "{vaults} of {polls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_vault_that_does_not_say_its_version_is_listed_instead() {
    let bed = Bed::new("fp-vault").await;
    bed.connect.set_content_versions(ContentVersions::SingleVault);
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let faults = [status(500), status(403), FaultKind::Truncated, FaultKind::WrongVault];
    for (round, kind) in faults.into_iter().enumerate() {
        bed.connect.fault(FaultSpec::new(kind).on(VAULT));
        let value = fresh(&bed, &format!("round-{round}"));
        set(&bed, "orders-db", &value);
        bed.wait_value("good", "k", &value).await;
        says(&bed, "good", Says::SYNCED).await;
        bed.connect.reset_requests();
        asked(&bed, VAULTS, 3).await;
        let counts = bed.connect.requests();
        assert!(counts.route(LIST) <= counts.route(VAULTS), "{:?}", counts.by_route);
        assert_eq!(counts.route(ITEM), 0, "{:?}", counts.by_route);
        server_says(&bed, "Ready", "True Connected").await;
        bed.connect.clear_faults();
    }
    let history = bed.get_request("good").await.status.unwrap().history;
    assert!(history.iter().all(|h| h.reason == Reason::Synced.as_str()), "{history:?}");
    operator.stop().await;
}
