//! The whole server fails. `good` has a Secret, `cached` is new and asks for what is kept, `new` for what was never
//! fetched.

use std::time::{Duration, SystemTime};

use portcullis::api::{CredentialRequest, REFRESH_ANNOTATION, Reason};
use portcullis_test_support::Bed;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use serde_json::json;

use super::{API, DB, Says, is_quiet, says, server_says, status, versions};

fn since(request: &CredentialRequest) -> SystemTime {
    let sync = request.status.as_ref().and_then(|s| s.sync.as_ref());
    sync.and_then(|s| s.stale_since.clone()).expect("it is stale").0.into()
}

/// A row: the failure begins, lasts, and ends.
struct Row {
    name: &'static str,
    reason: Reason,
    /// Whether what is kept may serve meanwhile.
    falls_back: bool,
}

impl Row {
    async fn run(self, begin: impl FnOnce(&Bed), end: impl FnOnce(&Bed)) {
        let bed = Bed::new(self.name).await;
        let operator = bed.operator().await;
        bed.request_data("good", &[("k", DB)]).await;
        says(&bed, "good", Says::SYNCED).await;
        let good = bed.secret("good").await;
        let began = SystemTime::now();
        begin(&bed);
        says(&bed, "good", Says::kept(self.reason)).await;
        server_says(&bed, "Ready", &format!("False {}", self.reason)).await;
        server_says(&bed, "Reachable", &format!("False {}", self.reason)).await;
        server_says(&bed, "TokenValid", &format!("Unknown {}", self.reason)).await;
        bed.request_data("cached", &[("k", DB)]).await;
        bed.request_data("new", &[("k", API)]).await;
        says(&bed, "new", Says::waits(self.reason)).await;
        if self.falls_back {
            let cached = says(&bed, "cached", Says::CACHED).await;
            assert!(since(&cached) <= began, "nobody confirmed it after the failure began");
            bed.wait_value("cached", "k", &bed.value("orders-db", "password")).await;
        } else {
            says(&bed, "cached", Says::waits(self.reason)).await;
            assert!(bed.secret("cached").await.is_none());
        }
        is_quiet(&bed, &operator, &["good", "cached", "new"]).await;
        assert!(bed.secret("new").await.is_none());
        assert_eq!(bed.secret("good").await, good);
        let cached = bed.secret("cached").await;
        end(&bed);
        for name in ["good", "cached", "new"] {
            says(&bed, name, Says::SYNCED).await;
        }
        bed.wait_value("new", "k", &bed.value("orders-api", "password")).await;
        assert_eq!(bed.secret("good").await, good, "it held what 1Password holds all the time");
        if self.falls_back {
            assert_eq!(bed.secret("cached").await, cached, "so did what was made of the cache");
        }
        server_says(&bed, "Ready", "True Connected").await;
        operator.stop().await;
    }

    async fn faulty(self, kind: FaultKind) {
        let begin = |bed: &Bed| {
            bed.connect.fault(FaultSpec::new(kind));
        };
        self.run(begin, |bed| bed.connect.clear_faults()).await;
    }
}

const fn unavailable(name: &'static str) -> Row {
    Row { name, reason: Reason::ConnectUnavailable, falls_back: true }
}

const fn invalid(name: &'static str) -> Row {
    Row { name, reason: Reason::InvalidResponse, falls_back: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_connections_are_refused_the_cache_serves() {
    let end = |bed: &Bed| bed.connect.restart().unwrap();
    unavailable("fs-refused").run(|bed| bed.connect.stop(), end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_hangs_the_cache_serves() {
    unavailable("fs-hang").faulty(FaultKind::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_connections_are_dropped_the_cache_serves() {
    unavailable("fs-drop").faulty(FaultKind::Drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_connections_break_off_within_an_answer_the_cache_serves() {
    unavailable("fs-reset").faulty(FaultKind::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_answers_are_cut_short_the_cache_serves() {
    unavailable("fs-cut").faulty(FaultKind::Truncated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_page_comes_instead_of_json_the_cache_serves() {
    unavailable("fs-page").faulty(FaultKind::Html { code: 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_says_401_is_not_1password_and_the_cache_serves() {
    unavailable("fs-html-401").faulty(FaultKind::Html { code: 401 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_says_403_is_not_1password_and_the_cache_serves() {
    unavailable("fs-html-403").faulty(FaultKind::Html { code: 403 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_proxy_finds_no_server_behind_it_the_cache_serves() {
    unavailable("fs-502").faulty(FaultKind::Html { code: 502 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_says_500_the_cache_serves() {
    unavailable("fs-500").faulty(status(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_says_503_the_cache_serves() {
    unavailable("fs-503").faulty(status(503)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_says_429_the_cache_serves() {
    unavailable("fs-429").faulty(status(429)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_knows_no_vaults_at_all_counts_as_no_server_and_the_cache_serves() {
    unavailable("fs-404").faulty(status(404)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_finds_calls_invalid_nothing_falls_back() {
    invalid("fs-400").faulty(status(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_finds_answers_too_large_to_send_nothing_falls_back() {
    invalid("fs-413").faulty(status(413)).await;
}

/// A server that says how long to leave it alone, and is.
async fn left_alone(name: &'static str, kind: FaultKind, pause: Duration) {
    let bed = Bed::new(name).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = versions(&bed, &["good"]).await["Secret good"].clone();
    bed.connect.reset_requests();
    bed.connect.fault(FaultSpec::new(kind).on(super::VAULTS));
    says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    bed.request_data("cached", &[("k", DB)]).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "cached", Says::CACHED).await;
    says(&bed, "new", Says::waits(Reason::ConnectUnavailable)).await;
    bed.connect.reset_requests();
    super::asked(&bed, super::VAULTS, 3).await;
    let log = bed.connect.requests().log;
    let polls: Vec<Duration> =
        log.iter().filter(|r| r.target == "/v1/vaults").map(|r| r.at).collect();
    for pair in polls.windows(2) {
        assert!(pair[1] - pair[0] >= pause, "asked before the time was over: {polls:?}");
    }
    // Since it asked to be left alone for a while at each poll, not even its health is asked about.
    assert!(log.iter().all(|r| r.target == "/v1/vaults"), "{log:?}");
    bed.connect.clear_faults();
    for name in ["good", "cached", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(versions(&bed, &["good"]).await["Secret good"], good);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_429_and_when_to_come_back_is_left_alone_until_then() {
    let pause = Duration::from_secs(1);
    left_alone("fs-429-after", FaultKind::RateLimited { retry_after: pause }, pause).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_503_and_when_to_come_back_is_left_alone_until_then() {
    let retry_after = Duration::from_secs(1);
    let kind =
        FaultKind::RetryAfter { code: 503, message: "an upstream body".to_owned(), retry_after };
    left_alone("fs-503-after", kind, retry_after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for_and_is_not_in_trouble() {
    let bed = Bed::new("fs-slow").await;
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(400))));
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "good", Says::SYNCED).await;
    says(&bed, "new", Says::SYNCED).await;
    let rotated = super::fresh(&bed, "rotated");
    super::set(&bed, "orders-db", &rotated);
    bed.wait_value("good", "k", &rotated).await;
    says(&bed, "good", Says::SYNCED).await;
    server_says(&bed, "Ready", "True Connected").await;
    for name in ["good", "new"] {
        let history = bed.get_request(name).await.status.unwrap().history;
        assert!(history.iter().all(|h| h.reason == Reason::Synced.as_str()), "{history:?}");
    }
    let asked = bed.connect.requests();
    assert_eq!(asked.route(super::ITEM), 3, "{:?}", asked.by_route);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_polled_seldom_is_asked_often_while_it_fails() {
    let bed = Bed::new("fs-seldom").await;
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    bed.connect.stop();
    let refresh = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: "now"}}});
    bed.patch_server(refresh).await;
    server_says(&bed, "Reachable", "False ConnectUnavailable").await;
    says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    bed.connect.restart().unwrap();
    server_says(&bed, "Ready", "True Connected").await;
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
}
