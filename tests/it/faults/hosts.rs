//! A server of two hosts, one of which fails or lags behind; one whose authority changes; and one that is down when
//! the operator starts.

use std::time::Instant;

use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, Reason, Source};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{
    ConnectDev, ContentVersions, FaultSpec, ItemSpec, StateSpec,
};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, Seen, wait};
use serde_json::json;

use super::{
    API, DB, ITEM, LIST, Says, VAULTS, asked, calls, decided, fresh, is_quiet, most_calls, says,
    server_says, set, status,
};

/// Gives the bed's server a second host of the same account, which may have the token, too.
async fn second_host(bed: &Bed) -> ConnectDev {
    let second = bed.connect.replica().unwrap();
    let (one, two) = (bed.connect.url(), second.url());
    let tokens: Api<Secret> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
    let allowed =
        json!({"metadata": {"annotations": {ALLOWED_HOSTS_ANNOTATION: format!("{one},{two}")}}});
    tokens.patch("connect-token", &PatchParams::default(), &Patch::Merge(allowed)).await.unwrap();
    bed.patch_server(json!({"spec": {"hosts": [{"url": one}, {"url": two}]}})).await;
    second
}

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
    let second = second_host(&bed).await;
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
    let second = second_host(&bed).await;
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
    let second = second_host(&bed).await;
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

/// A host that is behind the other one answers: nothing goes back until that has lasted, and then it is believed.
async fn lags(name: &str, versions: ContentVersions) {
    let bed = Bed::new(name).await;
    bed.connect.set_content_versions(versions);
    let settings = Settings { refusal_confirm: wait::WAIT / 3, ..Settings::for_tests() };
    let second = second_host(&bed).await;
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
    let polled = async || {
        let polls = second.requests().route(VAULTS);
        if polls >= 3 { Ok(()) } else { Err(format!("{polls} polls")) }
    };
    wait::until("the second host to be polled", wait::WAIT, polled).await;
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
    let second = second_host(&bed).await;
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
    let second = second_host(&bed).await;
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
    let polled = async |times| {
        wait::until("the second host to be polled", wait::WAIT, async || {
            let polls = second.requests().route(VAULTS);
            if polls >= times { Ok(()) } else { Err(format!("{polls} polls")) }
        })
        .await;
    };
    polled(4).await;
    bed.connect.clear_faults();
    bed.connect.reset_requests();
    asked(&bed, VAULTS, 2).await;
    second.sync_from(&bed.connect);
    bed.connect.stop();
    second.reset_requests();
    polled(4).await;
    says(&bed, "good", Says::SYNCED).await;
    assert!(history.of("good").is_empty(), "{:?}", history.of("good").len());
    let later = fresh(&bed, "later");
    second.set_field("services", "orders-db", "password", &later).unwrap();
    bed.wait_value("good", "k", &later).await;
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
    let second = second_host(&bed).await;
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
