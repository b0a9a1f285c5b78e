//! A server of two hosts, one of which lags behind: it lists or gives what was, and nothing goes back for it until that
//! has lasted, without a break.

use std::time::{Duration, Instant};

use portcullis::api::{REFRESH_ANNOTATION, Reason, Source};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{
    ConnectDev, ContentVersions, FaultKind, FaultSpec, ItemSpec,
};
use portcullis_test_support::{Bed, wait};
use serde_json::json;

use super::{
    API, DB, ITEM, LIST, Says, VAULTS, asked, fresh, most_calls, says, server_says, set, status,
};

/// How long something lasts in these tests until it is believed: longer than what is done meanwhile takes.
const CONFIRM: Duration = Duration::from_secs(8);

fn slowly_believing() -> Settings {
    Settings { refusal_confirm: CONFIRM, ..Settings::for_tests() }
}

/// Waits until a host was polled so many times more than at its last reset.
async fn polled(host: &ConnectDev, times: u64) {
    wait::until("the host to be polled", wait::WAIT, async || {
        let polls = host.requests().route(VAULTS);
        if polls >= times { Ok(()) } else { Err(format!("{polls} polls")) }
    })
    .await;
}

/// A host that is behind the other one answers: nothing goes back until that has lasted, and then it is believed.
async fn lags(name: &str, versions: ContentVersions) {
    let bed = Bed::new(name).await;
    bed.connect.set_content_versions(versions);
    let settings = Settings { refusal_confirm: wait::WAIT / 3, ..Settings::for_tests() };
    let second = bed.second_host().await;
    let operator = bed.operator_with(settings).await;
    let (former, rotated) = (bed.value("orders-db", "password"), fresh(&bed, "rotated"));
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    set(&bed, "orders-db", &rotated);
    bed.wait_value("good", "k", &rotated).await;
    says(&bed, "good", Says::SYNCED).await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    second.reset_requests();
    let began = Instant::now();
    // Whoever is new gets what is known to be newer, and what the other host has as new as ever.
    bed.request_data("same", &[("k", DB)]).await;
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::SYNCED).await;
    bed.wait_value("same", "k", &rotated).await;
    polled(&second, 3).await;
    assert!(history.of("good").is_empty(), "it was touched before the lag was believed");
    assert_eq!(bed.secret_values("good").await["k"], rotated);
    // It may have been set back for good: then that is what 1Password holds.
    for name in ["good", "same"] {
        wait::until(&format!("{name} to be believed"), wait::LONGEST, async || {
            let held = bed.secret_values(name).await;
            (held["k"] == former).then_some(()).ok_or_else(|| "not yet".to_owned())
        })
        .await;
    }
    for name in ["good", "same"] {
        says(&bed, name, Says::SYNCED).await;
    }
    let asked = second.requests();
    let (polls, lists, items) = (asked.route(VAULTS), asked.route(LIST), asked.route(ITEM));
    assert!(lists <= polls + 3, "{lists} lists in {polls} polls");
    assert!(items <= most_calls(3, began.elapsed()), "{items} items in {:?}", began.elapsed());
    // The next version has the number of one that was met before, and is another.
    let again = fresh(&bed, "again");
    second.set_field("services", "orders-db", "password", &again).unwrap();
    for name in ["good", "same"] {
        bed.wait_value(name, "k", &again).await;
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_older_than_the_list_says_is_never_believed() {
    let bed = Bed::new("fh-older").await;
    let second = bed.second_host().await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    // The first host lists what is new and gives no item any more; the second one gives what was.
    bed.connect.fault(FaultSpec::new(status(500)).on(ITEM));
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-db", &rotated);
    wait::until("the second host to be asked often", wait::LONGEST, async || {
        let asked = second.requests().route(ITEM);
        if asked >= 3 { Ok(()) } else { Err(format!("{asked} times")) }
    })
    .await;
    let confirm = Settings::for_tests().refusal_confirm;
    let history = bed.observe_secrets().await;
    wait::throughout("the Secret as it was", confirm * 3, async || {
        if history.of("good").is_empty() { Ok(()) } else { Err("it was touched".to_owned()) }
    })
    .await;
    says(&bed, "good", Says::kept(Reason::InvalidResponse)).await;
    // The Secret counts as good no longer than any other that cannot be confirmed.
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "4s"}}})).await;
    let too_old = Says { reason: Reason::InvalidResponse, ..Says::too_old(Source::Connect) };
    says(&bed, "good", too_old).await;
    assert!(history.of("good").is_empty(), "it was touched");
    bed.connect.clear_faults();
    bed.wait_value("good", "k", &rotated).await;
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lags_behind_puts_no_old_value_back_until_it_is_believed() {
    lags("fh-lags", ContentVersions::Everywhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lags_behind_is_told_by_its_items_where_vaults_have_no_versions() {
    lags("fh-lags-items", ContentVersions::Nowhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_catches_up_before_it_is_believed_changes_nothing() {
    let bed = Bed::new("fh-catches").await;
    let settings = Settings { refusal_confirm: wait::LONGEST * 10, ..Settings::for_tests() };
    let second = bed.second_host().await;
    let operator = bed.operator_with(settings).await;
    let rotated = fresh(&bed, "rotated");
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    set(&bed, "orders-db", &rotated);
    bed.wait_value("good", "k", &rotated).await;
    says(&bed, "good", Says::SYNCED).await;
    let history = bed.observe_secrets().await;
    // The first host says no list of vaults, but gives items: both are met in turns.
    bed.connect.fault(FaultSpec::new(status(503)).on(VAULTS));
    second.reset_requests();
    polled(&second, 4).await;
    bed.connect.clear_faults();
    bed.connect.reset_requests();
    asked(&bed, VAULTS, 2).await;
    second.sync_from(&bed.connect);
    bed.connect.stop();
    second.reset_requests();
    polled(&second, 4).await;
    says(&bed, "good", Says::SYNCED).await;
    assert!(history.of("good").is_empty(), "{:?}", history.of("good").len());
    let later = fresh(&bed, "later");
    second.set_field("services", "orders-db", "password", &later).unwrap();
    bed.wait_value("good", "k", &later).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lacks_what_is_new_is_not_believed_though_nothing_in_it_is_older() {
    let bed = Bed::new("fl-lacks").await;
    let settings = Settings { refusal_confirm: wait::LONGEST * 10, ..Settings::for_tests() };
    let second = bed.second_host().await;
    let operator = bed.operator_with(settings).await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let added = fresh(&bed, "added");
    bed.connect.add_item("services", ItemSpec::new("added").field("password", &added)).unwrap();
    bed.request_data("added", &[("k", "op://services/added/password")]).await;
    says(&bed, "added", Says::SYNCED).await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    second.reset_requests();
    polled(&second, 2).await;
    // Of itself nobody lists a vault that went back; here somebody asks for it.
    let refresh = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: "now"}}});
    bed.patch_server(refresh).await;
    wait::until("the vault to be listed", wait::WAIT, async || {
        let lists = second.requests().route(LIST);
        if lists > 0 { Ok(()) } else { Err("it was not".to_owned()) }
    })
    .await;
    second.reset_requests();
    polled(&second, 3).await;
    for name in ["good", "added"] {
        says(&bed, name, Says::SYNCED).await;
    }
    // Whoever is new finds the item, too.
    bed.request_data("more", &[("k", "op://services/added/password")]).await;
    bed.wait_value("more", "k", &added).await;
    assert!(history.of("good").is_empty() && history.of("added").is_empty());
    operator.stop().await;
}

/// A list may be newer than the poll before it, of which the version is that a replica repeats.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_listed_after_the_last_poll_is_not_lost_to_a_host_that_has_not_heard_of_it() {
    let bed = Bed::new("fl-look").await;
    let settings = Settings { refusal_confirm: wait::LONGEST * 10, ..Settings::for_tests() };
    let second = bed.second_host().await;
    // No poll comes by itself.
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let operator = bed.operator_with(settings).await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let refresh = async |at: &str| {
        bed.patch_server(json!({"metadata": {"annotations": {REFRESH_ANNOTATION: at}}})).await
    };
    // Between the poll and the list.
    bed.connect.reset_requests();
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(1500))).on(LIST));
    refresh("first").await;
    asked(&bed, VAULTS, 1).await;
    asked(&bed, LIST, 1).await;
    let added = fresh(&bed, "added");
    bed.connect.add_item("services", ItemSpec::new("added").field("password", &added)).unwrap();
    bed.connect.clear_faults();
    bed.request_data("added", &[("k", "op://services/added/password")]).await;
    says(&bed, "added", Says::SYNCED).await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    second.reset_requests();
    refresh("second").await;
    wait::until("the other host to list the vault", wait::WAIT, async || {
        let lists = second.requests().route(LIST);
        if lists > 0 { Ok(()) } else { Err("it did not".to_owned()) }
    })
    .await;
    bed.request_data("more", &[("k", "op://services/added/password")]).await;
    bed.wait_value("more", "k", &added).await;
    for name in ["good", "added"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert!(history.of("good").is_empty() && history.of("added").is_empty());
    operator.stop().await;
}

/// Versions that one host tells say nothing of what another one lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_another_host_than_the_polled_one_takes_nothing_away() {
    let bed = Bed::new("fl-other").await;
    let settings = Settings { refusal_confirm: wait::LONGEST * 10, ..Settings::for_tests() };
    let second = bed.second_host().await;
    let operator = bed.operator_with(settings).await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let (added, rotated) = (fresh(&bed, "added"), fresh(&bed, "rotated"));
    bed.connect.add_item("services", ItemSpec::new("added").field("password", &added)).unwrap();
    bed.request_data("added", &[("k", "op://services/added/password")]).await;
    says(&bed, "added", Says::SYNCED).await;
    let history = bed.observe_secrets().await;
    bed.connect.fault(FaultSpec::new(status(500)).on(LIST));
    set(&bed, "orders-db", &rotated);
    second.reset_requests();
    wait::until("the other host to be asked for lists", wait::WAIT, async || {
        let requests = second.requests();
        let (lists, polls) = (requests.route(LIST), requests.route(VAULTS));
        if lists >= 3 && polls == 0 { Ok(()) } else { Err(format!("{lists} lists, {polls} polls")) }
    })
    .await;
    for name in ["good", "added"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert!(history.of("good").is_empty() && history.of("added").is_empty());
    bed.connect.clear_faults();
    bed.wait_value("good", "k", &rotated).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lag_that_outages_interrupt_is_not_believed() {
    let bed = Bed::new("fl-broken").await;
    let second = bed.second_host().await;
    let operator = bed.operator_with(slowly_believing()).await;
    let (former, rotated) = (bed.value("orders-db", "password"), fresh(&bed, "rotated"));
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    set(&bed, "orders-db", &rotated);
    bed.wait_value("good", "k", &rotated).await;
    let added = ItemSpec::new("added").field("password", &fresh(&bed, "added"));
    bed.connect.add_item("services", added).unwrap();
    bed.request_data("added", &[("k", "op://services/added/password")]).await;
    says(&bed, "added", Says::SYNCED).await;
    let history = bed.observe_secrets().await;
    bed.connect.stop();
    let began = Instant::now();
    while began.elapsed() < CONFIRM * 2 {
        second.reset_requests();
        polled(&second, 2).await;
        second.stop();
        server_says(&bed, "Reachable", "False ConnectUnavailable").await;
        second.restart().unwrap();
        server_says(&bed, "Reachable", "True Connected").await;
    }
    assert!(history.of("good").is_empty(), "an old value was put back");
    let said = bed.get_request("added").await.status.unwrap().history;
    let missed = said.iter().find(|h| h.reason == Reason::ItemNotFound.as_str());
    assert!(missed.is_none(), "a list of what was is believed: {said:?}");
    bed.wait_value("good", "k", &former).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_older_than_the_secret_are_believed_one_by_one_and_after_no_outage() {
    let bed = Bed::new("fl-restarted").await;
    let second = bed.second_host().await;
    let operator = bed.operator().await;
    let former = bed.value("orders-api", "password");
    let (db, api) = (fresh(&bed, "db"), fresh(&bed, "api"));
    bed.request_data("good", &[("a", DB), ("b", API)]).await;
    says(&bed, "good", Says::SYNCED).await;
    set(&bed, "orders-db", &db);
    set(&bed, "orders-api", &api);
    bed.wait_value("good", "a", &db).await;
    bed.wait_value("good", "b", &api).await;
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
    bed.connect.stop();

    // To this one the lists of the host that lags are the first.
    let operator = bed.operator_with(slowly_believing()).await;
    let history = bed.observe_secrets().await;
    let began = Instant::now();
    while began.elapsed() < CONFIRM * 2 {
        says(&bed, "good", Says::kept(Reason::InvalidResponse)).await;
        second.stop();
        says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
        second.restart().unwrap();
    }
    says(&bed, "good", Says::kept(Reason::InvalidResponse)).await;
    second.reset_requests();
    polled(&second, 4).await;
    assert!(history.of("good").is_empty(), "an old value was put back");
    // One of the two catches up: the other one has lagged since then, for all that anybody knows.
    second.set_field("services", "orders-db", "password", &db).unwrap();
    let caught_up = Instant::now();
    bed.wait_value("good", "b", &former).await;
    assert!(caught_up.elapsed() >= CONFIRM, "believed after {:?}", caught_up.elapsed());
    says(&bed, "good", Says::SYNCED).await;
    assert_eq!(bed.secret_values("good").await["a"], db);
    operator.stop().await;
}
