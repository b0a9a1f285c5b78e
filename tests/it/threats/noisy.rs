//! Threat 15: one server that hangs, or one tenant who never rests, holds up the others. While it goes on, another
//! request's rotation and the repair of its Secret go through, and what it costs Connect is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, CredentialRequest, CredentialRequestSpec, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use portcullis_test_support::{Bed, condition, wait};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::isolation::operator_in_with;

const LIST: &str = "GET /v1/vaults/{v}/items";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

/// A minute at a thirtieth of the scale.
const MINUTE: Duration = Duration::from_secs(2);

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

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    async fn wait_rounds(&self, count: u64) {
        wait::until("the storm to blow", wait::WAIT, async || {
            let rounds = self.rounds();
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

/// Makes, edits and deletes ten requests of its own, one a round.
async fn stir(api: Api<CredentialRequest>, spec: CredentialRequestSpec, which: u64, round: u64) {
    let name = format!("loud-{which}-{}", round % 10);
    let purpose = json!({"spec": {"purpose": format!("round {round}")}});
    let edit = api.patch(&name, &PatchParams::default(), &Patch::Merge(purpose)).await;
    if edit.is_err() {
        let request = CredentialRequest::new(&name, spec);
        api.create(&PostParams::default(), &request).await.expect("it can be created");
    } else if round.is_multiple_of(7) {
        api.delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_who_creates_edits_and_deletes_without_rest_holds_nobody_up() {
    let bed = Bed::new("noisy-edits").await;
    let loud = bed.tenant("loud", &[]).await;
    let names = json!({"names": [bed.namespace, loud]});
    bed.set_access(
        json!([{"name": "both", "namespaces": names, "vaults": [{"name": "services"}]}]),
    )
    .await;
    // As few workers as the storm can take up, all but one of which take everything.
    let settings =
        Settings { workers: 3, interactive_workers: 1, flow_workers: 3, ..Settings::for_tests() };
    let operator = operator_in_with(&bed, &[&bed.namespace, &loud], settings).await;
    neighbour(&bed).await;
    let api: Api<CredentialRequest> = Api::namespaced(bed.client.clone(), &loud);
    let storms: Vec<Storm> = (0..4)
        .map(|which| {
            let (api, spec) = (api.clone(), bed.spec());
            Storm::begin(move |round| stir(api.clone(), spec.clone(), which, round))
        })
        .collect();
    let began = Instant::now();
    while began.elapsed() < MINUTE {
        let rounds: u64 = storms.iter().map(Storm::rounds).sum();
        assert_neighbour_is_served(&bed).await;
        for storm in &storms {
            storm.wait_rounds(rounds / 4 + 10).await;
        }
    }
    for storm in storms {
        storm.end().await;
    }
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
