//! One of several replicas works, and the next one takes over: at once when the first ends in order, when its time is over
//! else. None writes besides the one that holds the Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::api::{CredentialPolicy, Reason, RequestCounts};
use portcullis::kube_io::{ApiError, KubeIo};
use portcullis::leader::{Candidate, CandidateConfig, Fence, Leader, LeaseTiming};
use portcullis::settings::Settings;
use portcullis::telemetry::Metrics;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::k8s_openapi::api::coordination::v1::Lease;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams};
use portcullis_test_support::kube::{Api, Client};
use portcullis_test_support::{Bed, wait};
use serde_json::{Value, json};

use crate::program::Program;
use crate::proxy::Proxy;

/// The name of the Lease that the chart gives rights on.
const LEASE: &str = "portcullis";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";
const FLAG: &str = "--lease=portcullis";

/// Short, but for the margins.
const TIMING: LeaseTiming = LeaseTiming {
    duration: Duration::from_secs(4),
    renew_deadline: Duration::from_secs(3),
    retry: Duration::from_millis(200),
    call: Duration::from_secs(1),
};

fn leases(bed: &Bed) -> Api<Lease> {
    Api::namespaced(bed.cluster.admin(), &bed.operator_namespace)
}

async fn candidate(bed: &Bed, replica: &str) -> Candidate {
    candidate_with(bed, replica, bed.service_account_client().await)
}

fn candidate_with(bed: &Bed, replica: &str, client: Client) -> Candidate {
    Candidate::new(CandidateConfig {
        client,
        namespace: bed.operator_namespace.clone(),
        lease: LEASE.to_owned(),
        replica: replica.to_owned(),
        timing: TIMING,
        metrics: Arc::new(Metrics::new()),
    })
}

async fn elected(bed: &Bed, replica: &str) -> Leader {
    candidate(bed, replica).await.campaign(|| {}).await
}

async fn holder(bed: &Bed) -> String {
    let lease = leases(bed).get(LEASE).await.unwrap();
    lease.spec.unwrap().holder_identity.unwrap()
}

fn term(leader: &Leader) -> u32 {
    leader.leadership().term.unwrap()
}

/// What a write of a leader comes to.
async fn write(bed: &Bed, fence: Fence) -> Result<(), ApiError> {
    let timeout = Duration::from_millis(500);
    let client = bed.service_account_client().await;
    let io = KubeIo::new(client, 1, timeout, fence, Arc::new(Metrics::new()));
    let status = json!({"requests": RequestCounts::default()});
    io.merge_status::<CredentialPolicy, _>("CredentialPolicy", &bed.policy, &status).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_given_up_is_taken_at_once_and_each_term_has_a_number() {
    let bed = Bed::new("leader-release").await;
    let first = elected(&bed, "a").await;
    assert_eq!((term(&first), holder(&bed).await.as_str()), (1, "a"));
    let looks = Arc::new(AtomicUsize::new(0));
    let (counted, next) = (looks.clone(), candidate(&bed, "b").await);
    let next = tokio::spawn(async move {
        next.campaign(|| {
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .await
    });
    // Longer than the Lease lasts unless it is renewed.
    wait::until("the other one to have stood by", wait::WAIT, async || {
        let looks = looks.load(Ordering::SeqCst);
        if looks >= 25 { Ok(()) } else { Err(format!("{looks} looks")) }
    })
    .await;
    assert_eq!(holder(&bed).await, "a");
    let of_first = first.leadership().fence;
    assert_eq!(write(&bed, of_first.clone()).await, Ok(()));
    first.release().await;
    assert_eq!(write(&bed, of_first).await, Err(ApiError::NotLeader));
    let second = tokio::time::timeout(Duration::from_secs(2), next).await.unwrap().unwrap();
    assert_eq!((term(&second), holder(&bed).await.as_str()), (2, "b"));
    assert_eq!(write(&bed, second.leadership().fence).await, Ok(()));
    second.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_deleted_or_edited_stays_its_holders() {
    let bed = Bed::new("leader-edited").await;
    let leader = elected(&bed, "a").await;
    let next = tokio::spawn(candidate(&bed, "b").await.campaign(|| {}));
    let is_kept = async |what: &str| {
        let before = leases(&bed).get(LEASE).await.ok().and_then(|l| l.spec?.renew_time);
        wait::until(what, wait::WAIT, async || {
            let spec = leases(&bed).get(LEASE).await.map_err(|e| e.to_string())?.spec.unwrap();
            let is_mine = spec.holder_identity.as_deref() == Some("a");
            let is_later = spec.renew_time > before;
            if is_mine && is_later { Ok(()) } else { Err(format!("{spec:?}")) }
        })
        .await;
    };
    let note = json!({"metadata": {"annotations": {"a": "b"}}});
    leases(&bed).patch(LEASE, &PatchParams::default(), &Patch::Merge(&note)).await.unwrap();
    is_kept("a renewal after the edit").await;
    leases(&bed).delete(LEASE, &DeleteParams::default()).await.unwrap();
    is_kept("a renewal after the deletion").await;
    let spec = leases(&bed).get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(1), "the same term goes on");
    assert!(!next.is_finished());
    next.abort();
    leader.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_another_one_took_is_lost_and_nothing_more_is_written() {
    let bed = Bed::new("leader-taken").await;
    let leader = elected(&bed, "a").await;
    let taken = json!({"spec": {"holderIdentity": "b", "leaseTransitions": 7}});
    leases(&bed).patch(LEASE, &PatchParams::default(), &Patch::Merge(&taken)).await.unwrap();
    tokio::time::timeout(wait::WAIT, leader.lost()).await.unwrap();
    assert_eq!(write(&bed, leader.leadership().fence).await, Err(ApiError::NotLeader));
    leader.release().await;
    assert_eq!(holder(&bed).await, "b", "what is lost is not given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_comes_back_under_the_same_name_takes_over_at_once_and_ends_the_other() {
    let bed = Bed::new("leader-again").await;
    let first = elected(&bed, "a").await;
    let second = tokio::time::timeout(TIMING.duration / 2, elected(&bed, "a")).await.unwrap();
    assert_eq!(term(&second), 2);
    tokio::time::timeout(wait::WAIT, first.lost()).await.unwrap();
    assert_eq!(write(&bed, second.leadership().fence).await, Ok(()));
    second.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_has_ended_before_the_next_one_begins() {
    let bed = Bed::new("leader-cut").await;
    let wire = Proxy::start(&bed).await;
    let cut = wire.client(&bed).await;
    let first = candidate_with(&bed, "a", cut).campaign(|| {}).await;
    let next = tokio::spawn(candidate(&bed, "b").await.campaign(|| {}));
    let fence = first.leadership().fence;
    assert_eq!(write(&bed, fence.clone()).await, Ok(()));
    wire.hold_requests();
    tokio::time::timeout(wait::WAIT, first.lost()).await.unwrap();
    assert!(!next.is_finished(), "the next one began before the first was over");
    assert_eq!(write(&bed, fence).await, Err(ApiError::NotLeader));
    let next = tokio::time::timeout(wait::WAIT, next).await.unwrap().unwrap();
    assert_eq!(term(&next), 2);
    next.release().await;
}

#[test]
fn what_passes_the_fence_of_a_leader_that_renews_ends_within_its_time() {
    for settings in [Settings::default(), Settings::for_tests()] {
        let LeaseTiming { duration, renew_deadline, retry, .. } = settings.lease;
        assert!(settings.write_timeout + retry < duration, "nothing would ever pass");
        assert!(renew_deadline < duration);
    }
}

/// A replica as a process.
async fn replica(bed: &Bed) -> Program {
    Program::spawn(bed, &bed.service_account_kubeconfig().await, &[FLAG])
}

async fn says(program: &Program, text: &str) {
    wait::until(text, Duration::from_secs(60), async || match program.get("/readyz").await {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") && answer.ends_with(text) => Ok(()),
        other => Err(format!("{other:?}, {}", program.stderr.text())),
    })
    .await;
}

const WORKS: &str = "\r\n\r\nok\n";
const STANDS_BY: &str = "standing by: another replica holds the Lease\n";

/// The records of a replica.
fn records(program: &Program) -> Vec<Value> {
    program.stdout.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_that_stands_by_goes_on_where_the_first_one_ends() {
    let bed = Bed::new("leader-rollout").await;
    bed.patch_server(json!({"spec": {"pollInterval": "1s"}})).await;
    let mut first = replica(&bed).await;
    says(&first, WORKS).await;
    let second = replica(&bed).await;
    says(&second, STANDS_BY).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    assert!(first.get("/metrics").await.unwrap().contains("\nportcullis_leader 1\n"));
    assert!(second.get("/metrics").await.unwrap().contains("\nportcullis_leader 0\n"));
    assert_eq!(second.stdout.text(), "", "one who stands by decides nothing");
    let (_, status) = first.terminate().await;
    assert!(status.success(), "{status}");
    says(&second, WORKS).await;
    bed.connect.set_field("services", "orders-db", "password", "moved on").unwrap();
    bed.wait_value("orders", "password", "moved on").await;
    let of_first = records(&first);
    assert!(of_first.iter().all(|record| record["term"] == 1), "{of_first:?}");
    wait::until("the records of the second", wait::WAIT, async || {
        let of_second = records(&second);
        let begins_after = &of_second.first().ok_or("none".to_owned())?["after"]["mac"];
        if *begins_after == of_first.last().unwrap()["mac"]
            && of_second.iter().all(|record| record["term"] == 2)
        {
            Ok(())
        } else {
            Err(format!("{of_second:?}"))
        }
    })
    .await;
}

/// Threats 3 and 10: what one replica knew when it was frozen is of no use to it when it wakes, and the next one decides on
/// what there is when its term begins, however long it stood by.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_writes_nothing_when_it_wakes_and_the_next_decides_on_nothing_stale() {
    let bed = Bed::new("leader-frozen").await;
    bed.patch_server(json!({"spec": {"pollInterval": "1s"}})).await;
    let mut first = replica(&bed).await;
    says(&first, WORKS).await;
    let second = replica(&bed).await;
    says(&second, STANDS_BY).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    // Frozen with a new value under way.
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_secs(2))).on(ITEM));
    bed.connect.set_field("services", "orders-db", "password", "stale").unwrap();
    bed.connect.reset_requests();
    wait::until("the new value to be asked for", Duration::from_secs(60), async || {
        let asked = bed.connect.requests().route(ITEM);
        if asked > 0 { Ok(()) } else { Err(format!("{asked} times")) }
    })
    .await;
    first.signal("STOP").await;
    bed.connect.clear_faults();
    bed.connect.set_field("services", "orders-db", "password", "newest").unwrap();
    // Asked for, and only then forbidden: whoever knows the request alone would grant it.
    bed.request_data("late", &[("password", "op://services/orders-api/password")]).await;
    let strict = bed
        .policy(
            "strict",
            json!({"rules": [{"name": "late", "when": "request.name == 'late'", "effect": "Deny",
                "message": "not this one"}]}),
        )
        .await;
    says(&second, WORKS).await;
    bed.wait_value("orders", "password", "newest").await;
    bed.wait_reason("late", Reason::Denied).await;
    let before = bed.secret("orders").await.unwrap();
    let known = records(&second).len();
    first.signal("CONT").await;
    let status = first.ended().await;
    assert!(!status.success(), "it ends, to begin anew: {status}");
    assert!(first.stderr.text().contains("the Lease was lost"), "{}", first.stderr.text());
    let after = bed.secret("orders").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert!(bed.secret("late").await.is_none());
    assert!(records(&second)[..known].iter().all(|record| record["term"] == 2));
    let of_first = records(&first);
    assert!(of_first.iter().all(|record| record["term"] == 1));
    assert!(!of_first.iter().any(|r| r["kind"] == "write" && r["request"]["name"] == "late"));
    bed.delete_policy(&strict).await;
}
