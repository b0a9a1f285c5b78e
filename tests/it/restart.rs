//! A restart with nothing changed costs nothing; one after a kill, or after the world moved on meanwhile, ends in the
//! state that it should.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, TestOperator, condition, wait};
use serde_json::{Value, json};

const LIST: &str = "GET /v1/vaults/{v}/items";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

/// The versions of everything that an operator could write to.
async fn versions(bed: &Bed, requests: &[String]) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    for name in requests {
        all.insert(format!("request {name}"), bed.get_request(name).await.resource_version());
        all.insert(
            format!("Secret {name}"),
            bed.secret(name).await.and_then(|s| s.resource_version()),
        );
    }
    all.insert("server".to_owned(), bed.get_server().await.resource_version());
    all.insert(
        "policy".to_owned(),
        bed.policies().get(&bed.policy).await.unwrap().resource_version(),
    );
    all
}

/// Waits until the operator has looked at so many requests and found them synced, and has polled again since.
pub(crate) async fn settled(bed: &Bed, operator: &TestOperator, requests: usize) {
    wait::until("every request to be looked at", wait::WAIT, async || {
        let synced = operator.metric("portcullis_reconciles_total", &[("reason", "Synced")]);
        let polls = bed.connect.requests().route("GET /v1/vaults");
        if synced >= requests as f64 && polls >= 3 {
            Ok(())
        } else {
            Err(format!("{synced} synced, {polls} polls"))
        }
    })
    .await;
}

fn revision(request: &CredentialRequest) -> Option<i64> {
    request.status.as_ref()?.sync.as_ref().map(|s| s.content_revision)
}

/// Replaces the status, as if later writes of it had been lost.
async fn put_status_back(bed: &Bed, request: &CredentialRequest) {
    let status = json!(request.status);
    let patch: json_patch::Patch =
        serde_json::from_value(json!([{"op": "replace", "path": "/status", "value": status}]))
            .unwrap();
    let patched = bed
        .requests()
        .patch_status(&request.name_any(), &PatchParams::default(), &Patch::<Value>::Json(patch))
        .await;
    patched.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_nothing_changed_writes_nothing_and_fetches_nothing() {
    let bed = Bed::new("restart-idle").await;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}])).await;
    let operator = bed.operator().await;
    let mut names: Vec<String> = (0..12).map(|n| format!("orders-{n}")).collect();
    for name in &names {
        bed.request(name, |_| {}).await;
    }
    names.push("root".to_owned());
    bed.request_data("root", &[("k", "op://infra/root/password")]).await;
    for name in &names {
        bed.wait_ready(name).await;
    }
    bed.request_data("denied", &[("k", "op://services/no-such-item/password")]).await;
    bed.wait_reason("denied", Reason::ItemNotFound).await;
    wait::until("the policy to count", wait::WAIT, async || {
        let policy = bed.policies().get(&bed.policy).await.map_err(|e| e.to_string())?;
        let counts = policy.status.and_then(|status| status.requests);
        // What is not there was never decided.
        let all = counts.as_ref().is_some_and(|c| c.allowed == 13);
        if all { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    operator.stop().await;
    let requests: Vec<String> = names.iter().cloned().chain(["denied".to_owned()]).collect();
    let before = versions(&bed, &requests).await;
    let events = bed.events("orders-0").await.len();

    bed.connect.reset_requests();
    // A list takes its time, so that all requests want it before it is there, and policies are counted meanwhile.
    bed.connect.fault(FaultSpec::new(FaultKind::Latency(Duration::from_millis(1500))).on(LIST));
    let operator = bed.operator().await;
    settled(&bed, &operator, names.len()).await;
    assert_eq!(versions(&bed, &requests).await, before);
    assert_eq!(bed.events("orders-0").await.len(), events);
    assert_eq!(operator.audit.text(), "", "nothing is decided or written anew");
    assert_eq!(operator.metric("portcullis_api_writes_total", &[]), 0.0);
    let asked = bed.connect.requests();
    assert_eq!(asked.route(ITEM), 0, "{:?}", asked.by_route);
    // `denied` may have one more look for what is not there.
    assert!((2..=3).contains(&asked.route(LIST)), "one list of each vault in use: {:?}", asked.log);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_whose_record_was_lost_is_taken_up_without_another_write() {
    let bed = Bed::new("restart-record").await;
    let operator = bed.operator().await;
    bed.request("fresh", |_| {}).await;
    bed.request("changed", |_| {}).await;
    bed.wait_ready("fresh").await;
    let first = bed.wait_ready("changed").await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("changed", "password", "rotated").await;
    for name in ["changed", "fresh"] {
        bed.wait_request(name, "at revision 2", |r| revision(r) == Some(2)).await;
    }
    operator.stop().await;
    // Killed after the first write of a Secret, and after a later one, each time before the status.
    let unset: Value = json!({"status": null});
    bed.requests()
        .patch_status("fresh", &PatchParams::default(), &Patch::Merge(&unset))
        .await
        .unwrap();
    put_status_back(&bed, &first).await;
    let secrets = [bed.secret("fresh").await.unwrap(), bed.secret("changed").await.unwrap()];

    let operator = bed.operator().await;
    let fresh = bed.wait_ready("fresh").await;
    assert_eq!(revision(&fresh), Some(1), "nobody knows of an earlier one");
    bed.wait_request("changed", "at revision 2 again", |r| revision(r) == Some(2)).await;
    for (name, before) in ["fresh", "changed"].into_iter().zip(&secrets) {
        let after = bed.secret(name).await.unwrap();
        assert_eq!(after.resource_version(), before.resource_version(), "{name} was written again");
        assert_eq!(condition(&bed.get_request(name).await, "Synced").unwrap().status, "True");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_lost_what_it_said_of_the_secret_gets_it_back() {
    let bed = Bed::new("restart-sync").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
    let before = bed.secret("orders").await.unwrap();
    let unset = json!({"status": {"sync": null}});
    bed.requests()
        .patch_status("orders", &PatchParams::default(), &Patch::Merge(&unset))
        .await
        .unwrap();
    let operator = bed.operator().await;
    bed.wait_request("orders", "to say what it holds", |r| {
        r.status
            .as_ref()
            .unwrap()
            .sync
            .as_ref()
            .is_some_and(|s| s.keys == ["password"] && !s.receipt.is_empty())
    })
    .await;
    assert_eq!(bed.secret("orders").await.unwrap().resource_version(), before.resource_version());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_receipt_vouches_for_nothing() {
    let bed = Bed::new("restart-receipt").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    let request = bed.wait_ready("orders").await;
    operator.stop().await;
    // Edited by hand, with a receipt that says it is as it was written.
    let before = bed.secret("orders").await.unwrap().resource_version().unwrap();
    let edited = bed
        .patch_secret("orders", json!({"stringData": {"password": "by hand"}}))
        .await
        .resource_version()
        .unwrap();
    let receipt = request.status.unwrap().sync.unwrap().receipt.replace(&before, &edited);
    let forged = json!({"status": {"sync": {"receipt": receipt}}});
    bed.requests()
        .patch_status("orders", &PatchParams::default(), &Patch::Merge(&forged))
        .await
        .unwrap();
    let operator = bed.operator().await;
    bed.wait_value("orders", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_the_operator_was_down_is_made_up_for() {
    let bed = Bed::new("restart-down").await;
    let operator = bed.operator().await;
    let names = ["edited", "deleted", "unlabelled", "suspended", "api"];
    for name in names {
        let item = if name == "api" { "orders-api" } else { "orders-db" };
        bed.request_data(name, &[("password", &format!("op://services/{item}/password"))]).await;
    }
    for name in names {
        bed.wait_ready(name).await;
    }
    operator.stop().await;
    let value = bed.value("orders-db", "password");
    bed.patch_secret("edited", json!({"stringData": {"password": "by hand", "more": "x"}})).await;
    bed.delete_secret("deleted").await;
    let bare = bed
        .patch_secret(
            "unlabelled",
            json!({"metadata": {"labels": {"portcullis.dev/managed": null}}}),
        )
        .await;
    bed.patch_request("suspended", json!({"spec": {"suspend": true}})).await;
    bed.patch_secret("suspended", json!({"stringData": {"password": "left alone"}})).await;
    bed.connect.set_field("services", "orders-api", "password", "moved on").unwrap();
    bed.request("new", |_| {}).await;

    bed.connect.reset_requests();
    let operator = bed.operator().await;
    let edited = bed.wait_value("edited", "password", &value).await;
    assert_eq!(edited.data.unwrap().len(), 1, "what was added goes");
    bed.wait_value("deleted", "password", &value).await;
    bed.wait_value("new", "password", &value).await;
    bed.wait_value("api", "password", "moved on").await;
    let relabelled =
        bed.wait_secret("unlabelled", |s| s.labels().get("portcullis.dev/managed").is_some()).await;
    assert_eq!(relabelled.uid(), bare.uid());
    for name in ["edited", "deleted", "unlabelled", "api", "new"] {
        let request = bed.wait_reason(name, Reason::Synced).await;
        let expected = if name == "api" { 2 } else { 1 };
        assert_eq!(revision(&request), Some(expected), "{name}: a repair is no new content");
        let change = operator
            .audit
            .of("write", name)
            .iter()
            .map(|l| l["secret"]["change"].clone())
            .collect::<Vec<_>>();
        let expected = match name {
            "edited" | "unlabelled" => "repaired",
            "deleted" | "new" => "created",
            _ => "updated",
        };
        assert_eq!(change, [expected], "{name}");
    }
    bed.wait_request("suspended", "to be observed", |_| true).await;
    assert_eq!(bed.secret_values("suspended").await["password"], "left alone");
    assert_eq!(bed.connect.requests().route(LIST), 1);
    operator.stop().await;
}
