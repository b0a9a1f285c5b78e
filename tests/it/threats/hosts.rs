//! Threat 11: somebody who may write a ConnectServer points it at a machine of theirs, or at a Secret that is no
//! Connect token. The token Secret says where its token may go; nothing is sent anywhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::api::{ConnectServer, Reason};
use portcullis_test_support::connect_dev::{ConnectDev, FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::kube::{Api, ResourceExt as _};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const ALLOWED_HOSTS: &str = "portcullis.dev/allowed-hosts";

/// A machine that counts who connects to it.
async fn listener() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    (url, count)
}

async fn patch_token(bed: &Bed, name: &str, patch: Value) {
    let api: Api<Secret> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

fn message(server: &ConnectServer) -> String {
    let conditions = &server.status.as_ref().unwrap().conditions;
    conditions.iter().find(|c| c.type_ == "Ready").unwrap().message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_token_is_not_for_sees_no_connection() {
    let bed = Bed::new("hosts").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await;
    let (url, connections) = listener().await;
    bed.patch_server(json!({"spec": {"hosts": [{"url": url}]}})).await;
    let server = bed.wait_server_reason("Ready", Reason::TokenNotForHost).await;
    let request = bed.wait_reason("orders", Reason::TokenNotForHost).await;
    assert_eq!(condition(&request, "Ready").unwrap().status, "False");
    assert_eq!(condition(&request, "Reconciling").unwrap().status, "True");
    bed.request("new", |_| {}).await;
    bed.wait_reason("new", Reason::TokenNotForHost).await;

    // Stopped at once, and with both: the old host was somebody's decision, too.
    bed.connect.reset_requests();
    wait::throughout("silence", Duration::from_millis(2500), async || {
        match (bed.connect.requests().total, connections.load(Ordering::SeqCst)) {
            (0, 0) => Ok(()),
            (old, new) => {
                Err(format!("{old} requests to the old host, {new} connections to the new one"))
            }
        }
    })
    .await;
    assert_eq!(bed.secret("orders").await, secret);

    bed.do_as_told(&message(&server), "").await;
    wait::until("the host to be used", wait::WAIT, async || {
        let count = connections.load(Ordering::SeqCst);
        (count > 0).then_some(()).ok_or_else(|| "no connection".to_owned())
    })
    .await;
    bed.patch_server(json!({"spec": {"hosts": [{"url": bed.connect.url()}]}})).await;
    bed.wait_ready("new").await;
    bed.wait_ready("orders").await;
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_hosts_are_taken_away_is_not_sent_until_the_printed_command_gives_them_back()
{
    let bed = Bed::new("hosts-mended").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    // With a space, as people write lists.
    for hosts in [json!(null), json!(""), json!("https://one.example, https://two.example")] {
        let annotation = json!({"metadata": {"annotations": {ALLOWED_HOSTS: hosts}}});
        patch_token(&bed, "connect-token", annotation).await;
        let server = bed.wait_server_reason("Ready", Reason::TokenNotForHost).await;
        let told = bed.wait_reason("orders", Reason::TokenNotForHost).await;
        let told = condition(&told, "Ready").unwrap().message.clone();
        assert!(told.ends_with(&message(&server)), "{told}");
        bed.do_as_told(&told, "").await;
        bed.wait_server_reason("Ready", Reason::Connected).await;
        bed.wait_ready("orders").await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_not_read_as_a_token() {
    let bed = Bed::new("key-as-token").await;
    let operator = bed.operator().await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    let reads = bed.operator_calls_on_secret("get", "portcullis-keys").await;
    bed.connect.reset_requests();
    let reference = json!({"name": "portcullis-keys", "key": "key-0001"});
    bed.patch_server(json!({"spec": {"tokenSecretRef": reference}})).await;
    bed.wait_server_reason("Ready", Reason::TokenNotForHost).await;
    // Even one that says where it may go.
    let annotation = json!({"metadata": {"annotations": {ALLOWED_HOSTS: bed.connect.url()}}});
    patch_token(&bed, "portcullis-keys", annotation).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", Reason::TokenNotForHost).await;
    assert_eq!(bed.operator_calls_on_secret("get", "portcullis-keys").await, reads);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_marked_as_a_token_is_not_read() {
    let bed = Bed::new("unmarked").await;
    let operator = bed.operator().await;
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "other", "namespace": bed.operator_namespace, "labels": {"portcullis.dev/purpose": "ca"},
                     "annotations": {ALLOWED_HOSTS: bed.connect.url()}},
        "stringData": {"token": bed.token},
    }))
    .await;
    bed.patch_server(json!({"spec": {"tokenSecretRef": {"name": "other"}}})).await;
    let server = bed.wait_server_reason("Ready", Reason::TokenNotForHost).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", Reason::TokenNotForHost).await;
    assert_eq!(bed.operator_calls_on_secret("get", "other").await, 0);
    bed.do_as_told(&message(&server), "").await;
    bed.wait_ready("orders").await;
    assert!(bed.operator_calls_on_secret("get", "other").await > 0, "so the count above counts");
    let server = bed.get_server().await;
    assert_eq!(
        message(&server),
        format!("{} answers and accepts the token", bed.connect.url()),
        "{}",
        server.name_any()
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_that_the_token_is_not_for_stops_the_first_one_too() {
    let bed = Bed::new("hosts-second").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await;
    let (url, connections) = listener().await;
    for hosts in [[bed.connect.url(), url.clone()], [url.clone(), bed.connect.url()]] {
        let hosts = hosts.map(|url| json!({"url": url}));
        bed.patch_server(json!({"spec": {"hosts": hosts}})).await;
        let server = bed.wait_server_reason("Ready", Reason::TokenNotForHost).await;
        assert!(message(&server).contains(&url), "{}", message(&server));
        bed.wait_reason("orders", Reason::TokenNotForHost).await;
        bed.connect.reset_requests();
        // Whoever comes new gets nothing either, not even of what is kept.
        bed.request("new", |_| {}).await;
        bed.wait_reason("new", Reason::TokenNotForHost).await;
        wait::throughout("silence", Duration::from_secs(1), async || {
            match (bed.connect.requests().total, connections.load(Ordering::SeqCst)) {
                (0, 0) => Ok(()),
                (first, second) => Err(format!("{first} requests and {second} connections")),
            }
        })
        .await;
        assert!(bed.secret("new").await.is_none());
        bed.delete_request("new").await;
        bed.patch_server(json!({"spec": {"hosts": [{"url": bed.connect.url()}]}})).await;
        bed.wait_ready("orders").await;
    }
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

/// Points the bed's server at a host alone, and waits until it is asked.
async fn move_to(bed: &Bed, host: &ConnectDev) {
    host.reset_requests();
    bed.patch_server(json!({"spec": {"hosts": [{"url": host.url()}]}})).await;
    wait::until("the host to be asked", wait::WAIT, async || {
        let polls = host.requests().route("GET /v1/vaults");
        (polls > 0).then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_starts_without_what_was_kept_of_the_first_one_and_without_its_breaker() {
    let bed = Bed::new("hosts-anew").await;
    for title in ["one", "two", "three"] {
        let value = format!("{}-{title}", bed.canary());
        bed.connect.add_item("services", ItemSpec::new(title).field("password", &value)).unwrap();
    }
    let second = bed.connect.replica().unwrap();
    let both = format!("{},{}", bed.connect.url(), second.url());
    let both = json!({"metadata": {"annotations": {ALLOWED_HOSTS: both}}});
    patch_token(&bed, "connect-token", both).await;
    // No poll is answered in between, which would be a sign of life.
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let items = format!("/v1/vaults/{}/items/", bed.connect.vault_id("services").unwrap());
    for path in [items.as_str(), "/heartbeat"] {
        bed.connect.fault(FaultSpec::new(FaultKind::Html { code: 502 }).under(path));
    }
    let data =
        ["one", "two", "three"].map(|title| (title, format!("op://services/{title}/password")));
    let data = data.each_ref().map(|(key, of)| (*key, of.as_str()));
    bed.request_data("three", &data).await;
    let open = || operator.metric("portcullis_connect_breaker_open", &[]);
    wait::until("the breaker to open", wait::WAIT, async || {
        if open() == 1.0 { Ok(()) } else { Err(format!("{} are open", open())) }
    })
    .await;
    move_to(&bed, &second).await;
    assert_eq!(open(), 0.0);
    bed.request("new", |_| {}).await;
    bed.wait_ready("new").await;
    bed.wait_ready("three").await;
    assert_eq!(
        second.requests().route(ITEM),
        4,
        "the one that was kept, and the three that were not"
    );
    // What the first one gave does not come back with it.
    bed.connect.clear_faults();
    move_to(&bed, &bed.connect).await;
    bed.request("newer", |_| {}).await;
    bed.wait_ready("newer").await;
    assert_eq!(bed.connect.requests().route(ITEM), 1);
    operator.stop().await;
}
