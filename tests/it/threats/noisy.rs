//! Threat 15: one server that hangs, or one tenant who never rests, holds up the others. While it goes on, another
//! request's rotation and the repair of its Secret go through, and what it costs Connect is bounded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use portcullis_test_support::{Bed, OperatorOptions, condition, wait};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::isolation::operator_in;

const LIST: &str = "GET /v1/vaults/{v}/items";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

/// A request of another tenant: what is wanted of it goes on whatever the others do.
async fn neighbour(bed: &Bed) {
    bed.request("neighbour", |_| {}).await;
    bed.wait_ready("neighbour").await;
}

/// Its password is rotated and its Secret damaged, some times over, and each comes right.
async fn assert_neighbour_is_served(bed: &Bed) {
    for n in 0..3 {
        let value = format!("{}-rotated-{n}", bed.canary());
        bed.connect.set_field("services", "orders-db", "password", &value).unwrap();
        bed.wait_value("neighbour", "password", &value).await;
        bed.patch_secret("neighbour", json!({"stringData": {"password": "damaged"}})).await;
        bed.wait_value("neighbour", "password", &value).await;
        bed.delete_secret("neighbour").await;
        bed.wait_value("neighbour", "password", &value).await;
    }
}

/// Something that is done without a pause until it is told to end.
struct Storm {
    ends: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Storm {
    fn begin<F: Future<Output = ()> + Send>(round: impl Fn(u64) -> F + Send + 'static) -> Self {
        let (ends, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (ends.clone(), rounds.clone());
        let task = tokio::spawn(async move {
            while !told.load(Ordering::SeqCst) {
                round(counted.fetch_add(1, Ordering::SeqCst)).await;
            }
        });
        Self { ends, rounds, task }
    }

    async fn wait_rounds(&self, count: u64) {
        wait::until("the storm to blow", wait::WAIT, async || {
            let rounds = self.rounds.load(Ordering::SeqCst);
            if rounds >= count { Ok(()) } else { Err(format!("{rounds} rounds")) }
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.ends.store(true, Ordering::SeqCst);
        self.task.await.expect("each round goes through");
        self.rounds.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_takes_no_worker_from_another() {
    let bed = Bed::new("noisy-hang").await;
    let hung = bed.connect.replica().unwrap();
    let mut server = bed.server_manifest();
    let name = format!("{}-hung", bed.class);
    server["metadata"]["name"] = json!(name);
    server["spec"]["hosts"] = json!([{"url": hung.url()}]);
    server["spec"]["tokenSecretRef"] = json!({"name": "hung-token"});
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "hung-token", "namespace": bed.operator_namespace,
                     "labels": {"portcullis.dev/purpose": "connect-token"},
                     "annotations": {ALLOWED_HOSTS_ANNOTATION: hung.url()}},
        "stringData": {"token": bed.token},
    }))
    .await;
    bed.apply(server).await;
    // As few workers as make the point, and items that hang for as long as the test goes on.
    let settings = Settings {
        workers: 4,
        interactive_workers: 1,
        flow_workers: 4,
        call_timeout: wait::LONGEST,
        ..Settings::for_tests()
    };
    let operator = bed.operator_with(settings).await;
    neighbour(&bed).await;
    hung.fault(FaultSpec::new(FaultKind::Hang).on(ITEM));
    for n in 0..40 {
        let item = if n % 2 == 0 { "orders-db" } else { "orders-api" };
        let of = format!("op://services/{item}/password");
        let spec = json!({"serverRef": {"name": name}, "purpose": "a test", "data": [{"key": "password", "ref": of}]});
        let request = json!({"metadata": {"name": format!("hung-{n}")}, "spec": spec});
        bed.apply_request(request).await.unwrap();
    }
    wait::until("both items to hang", wait::WAIT, async || {
        let asked = hung.requests().route(ITEM);
        if asked >= 2 { Ok(()) } else { Err(format!("{asked} are asked for")) }
    })
    .await;
    assert_neighbour_is_served(&bed).await;
    bed.request_data("new", &[("password", "op://services/orders-api/password")]).await;
    bed.wait_ready("new").await;
    assert!(
        hung.requests().route(ITEM) >= 2 && bed.secret("hung-0").await.is_none(),
        "it hangs still"
    );
    bed.servers().delete(&name, &DeleteParams::default()).await.unwrap();
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_who_edits_and_creates_without_rest_holds_nobody_up() {
    let bed = Bed::new("noisy-edits").await;
    let loud = bed.tenant("loud", &[]).await;
    let names = json!({"names": [bed.namespace, loud]});
    bed.set_access(
        json!([{"name": "both", "namespaces": names, "vaults": [{"name": "services"}]}]),
    )
    .await;
    let operator = operator_in(&bed, &[&bed.namespace, &loud]).await;
    neighbour(&bed).await;
    let api: Api<CredentialRequest> = Api::namespaced(bed.client.clone(), &loud);
    let spec = bed.spec();
    let storm = Storm::begin(move |round| {
        let (api, spec) = (api.clone(), spec.clone());
        async move {
            let name = format!("loud-{}", round % 10);
            let purpose = json!({"spec": {"purpose": format!("round {round}")}});
            let edit = api.patch(&name, &PatchParams::default(), &Patch::Merge(purpose)).await;
            if edit.is_err() {
                let request = CredentialRequest::new(&name, spec);
                api.create(&PostParams::default(), &request).await.expect("it can be created");
            } else if round % 7 == 0 {
                api.delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
            }
        }
    });
    storm.wait_rounds(50).await;
    assert_neighbour_is_served(&bed).await;
    assert!(storm.end().await > 50);
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_made_up_at_random_cost_a_bounded_number_of_lists() {
    let bed = Bed::new("noisy-names").await;
    let settings = Settings::for_tests();
    let interval = settings.look_interval;
    let operator = bed.operator_with(settings).await;
    neighbour(&bed).await;
    bed.connect.reset_requests();
    let began = Instant::now();
    for n in 0..200 {
        let of = format!("op://services/made-up-{n}/password");
        bed.request_data(&format!("made-up-{n}"), &[("password", of.as_str())]).await;
    }
    let says = |r: &CredentialRequest| {
        condition(r, "Ready").is_some_and(|c| c.reason == Reason::ItemNotFound.as_str())
    };
    for n in 0..200 {
        bed.wait_request(&format!("made-up-{n}"), "to find nothing", says).await;
    }
    let lists = bed.connect.requests().route(LIST);
    // One an interval, however long the machine took, and one that was under way at either end.
    let most = began.elapsed().as_millis() / interval.as_millis() + 2;
    assert!(u128::from(lists) <= most, "{lists} lists, and not {most} at most");
    assert!(lists < 200, "{lists} lists for 200 names");
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    assert_neighbour_is_served(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_who_makes_names_up_in_many_vaults_uses_up_its_own_looks_and_nobody_elses() {
    const VAULTS: u64 = 6;
    let bed = Bed::new("noisy-looks").await;
    let quiet = bed.tenant("quiet", &[]).await;
    let namespaces = [&bed.namespace, &quiet];
    bed.set_access(
        json!([{"name": "all", "namespaces": {"names": namespaces}, "vaults": [{"name": "*"}]}]),
    )
    .await;
    for vault in 0..VAULTS {
        bed.connect.add_vault(&format!("vault-{vault}")).unwrap();
    }
    // Polls tell nothing in the time of the test, and a list is old after a second.
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let interval = Duration::from_secs(1);
    let settings = Settings {
        look_interval: interval,
        look_burst: const { NonZeroU32::new(2).unwrap() },
        ..Settings::for_tests()
    };
    let options =
        OperatorOptions { settings, namespaces: vec![quiet.clone()], ..Default::default() };
    let operator = bed.operator_of(options).await;
    let made_up = |vault: u64, round: u64| json!([{"key": "k", "ref": format!("op://vault-{vault}/made-up-{round}/password")}]);
    for vault in 0..VAULTS {
        let spec = json!({"purpose": "a test", "data": made_up(vault, 0)});
        let request = json!({"metadata": {"name": format!("made-up-{vault}")}, "spec": spec});
        bed.apply_request(request).await.unwrap();
        bed.wait_reason(&format!("made-up-{vault}"), Reason::ItemNotFound).await;
    }
    bed.connect.reset_requests();
    let began = Instant::now();
    let requests = bed.requests();
    let storm = Storm::begin(move |round| {
        let (requests, vault) = (requests.clone(), round % VAULTS);
        let patch = Patch::Merge(json!({"spec": {"data": made_up(vault, round)}}));
        async move {
            let (name, params) = (format!("made-up-{vault}"), PatchParams::default());
            requests.patch(&name, &params, &patch).await.expect("a request can be edited");
        }
    });
    let lists = || bed.connect.requests().route(LIST);
    wait::until("the looks to be used up", wait::WAIT, async || {
        if began.elapsed() > 5 * interval { Ok(()) } else { Err(format!("{} lists", lists())) }
    })
    .await;

    // Only a look of its own finds what came after the last list.
    let value = format!("{}-late", bed.canary());
    let late = ItemSpec::new("late").field("password", &value);
    bed.connect.add_item("vault-0", late).unwrap();
    let data = json!([{"key": "k", "ref": "op://vault-0/late/password"}]);
    bed.apply(json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": {"name": "late", "namespace": quiet},
        "spec": {"serverRef": {"name": bed.server}, "purpose": "a test", "data": data},
    }))
    .await;
    let secrets: Api<Secret> = Api::namespaced(bed.client.clone(), &quiet);
    wait::until("the quiet one's Secret", wait::WAIT, async || {
        secrets.get("late").await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    storm.end().await;
    // One an interval after the first two, the quiet one's few, and not one an interval and vault.
    let intervals = began.elapsed().as_millis() / interval.as_millis();
    let most = u64::try_from(intervals).unwrap() + 2 + 3;
    assert!(lists() <= most, "{} lists, and not {most} at most", lists());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refreshes_evicts_nothing_and_holds_nobody_up() {
    let bed = Bed::new("noisy-refresh").await;
    let operator = bed.operator().await;
    neighbour(&bed).await;
    bed.request_data("loud", &[("password", "op://services/orders-api/password")]).await;
    bed.wait_ready("loud").await;
    let refresh = |round: u64| -> Value {
        json!({"metadata": {"annotations": {"portcullis.dev/refresh-requested-at": format!("round {round}")}}})
    };
    let (requests, servers, server) = (bed.requests(), bed.servers(), bed.server.clone());
    let storm = Storm::begin(move |round| {
        let (requests, servers, server) = (requests.clone(), servers.clone(), server.clone());
        async move {
            let (patch, params) = (Patch::Merge(refresh(round)), PatchParams::default());
            requests.patch("loud", &params, &patch).await.expect("a request can be annotated");
            servers.patch(&server, &params, &patch).await.expect("a server can be annotated");
        }
    });
    storm.wait_rounds(30).await;
    assert_neighbour_is_served(&bed).await;
    // In the midst of it Connect goes: what is kept is still there.
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    for (name, item) in [("api", "orders-api"), ("db", "orders-db")] {
        let of = format!("op://services/{item}/username");
        bed.request_data(name, &[("username", of.as_str())]).await;
        bed.wait_reason(name, Reason::ServedFromCache).await;
        bed.wait_value(name, "username", &bed.value(item, "username")).await;
    }
    assert_eq!(operator.metric("portcullis_cache_evicted_values", &[]), 0.0);
    assert!(bed.secret("loud").await.is_some());
    storm.end().await;
    operator.stop().await;
}
