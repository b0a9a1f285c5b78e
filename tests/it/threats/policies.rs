//! A policy that cannot be used, or is away for a moment, must open nothing: not one that does not compile, not one of
//! a later version, not one that is deleted and created again. What was granted before stays.

use std::time::Duration;

use portcullis::api::{Outcome, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{DynamicObject, Patch, PatchParams};
use portcullis_test_support::kube::core::{ApiResource, GroupVersionKind};
use portcullis_test_support::{Bed, Cluster, TestOperator, condition, wait};
use serde_json::{Value, json};

pub(super) fn rule(name: &str, when: &str) -> Value {
    json!({"name": name, "when": when, "effect": "Deny", "message": format!("{name} says no")})
}

/// An operator that takes no first write back: what is denied just after one is here denied later in all but time.
async fn keeping(bed: &Bed) -> TestOperator {
    bed.operator_with(Settings { undo_window: Duration::ZERO, ..Settings::for_tests() }).await
}

async fn version_of(bed: &Bed, secret: &str) -> Option<String> {
    bed.secret(secret).await.expect("the Secret stays").metadata.resource_version
}

pub(super) fn valid_message(policy: &portcullis::api::CredentialPolicy) -> String {
    let conditions = &policy.status.as_ref().unwrap().conditions;
    conditions.iter().find(|c| c.type_ == "Valid").unwrap().message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_compile_stops_what_it_matches_and_nothing_else() {
    let bed = Bed::new("policy-broken").await;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}])).await;
    let operator = keeping(&bed).await;
    bed.request("before", |_| {}).await;
    bed.wait_ready("before").await;
    let secret = version_of(&bed, "before").await;

    let rules = json!([rule("fine", "false"), rule("typo", "refs.exists(r,\n  r.item === 'x')")]);
    let name =
        bed.policy("broken", json!({"match": {"vaults": ["services"]}, "rules": rules})).await;
    let message = valid_message(&bed.wait_policy(&name, "False").await);
    assert!(message.contains("rule typo") && message.contains("line 2"), "{message}");

    bed.request("after", |_| {}).await;
    let request = bed.wait_reason("after", Reason::PolicyInvalid).await;
    let ready = condition(&request, "Ready").unwrap();
    assert!(ready.message.contains(&name) && ready.message.contains("typo"), "{}", ready.message);
    assert_eq!(
        condition(&request, "Reconciling").unwrap().status,
        "True",
        "it heals when the policy is mended"
    );
    assert!(bed.secret("after").await.is_none());
    bed.request_data("elsewhere", &[("k", "op://infra/root/password")]).await;
    bed.wait_ready("elsewhere").await;
    bed.wait_reason("before", Reason::PolicyInvalid).await;
    assert_eq!(version_of(&bed, "before").await, secret);

    bed.policy(
        "broken",
        json!({"match": {"vaults": ["services"]}, "rules": [rule("fine", "false")]}),
    )
    .await;
    bed.wait_policy(&name, "True").await;
    bed.wait_ready("after").await;
    bed.wait_ready("before").await;
    assert_eq!(version_of(&bed, "before").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_deleted_and_created_again_opens_no_gap() {
    let bed = Bed::new("policy-gap").await;
    let strict = json!({"rules": [rule("all", "true")]});
    let name = bed.policy("strict", strict.clone()).await;
    // Long enough that what happens before its end is seen to happen before its end.
    let settings = Settings { policy_settle: Duration::from_secs(6), ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.wait_policy(&name, "True").await;
    bed.delete_policy(&name).await;
    bed.request("in-the-gap", |_| {}).await;
    bed.wait_reason("in-the-gap", Reason::Denied).await;
    bed.policy("strict", strict.clone()).await;
    bed.wait_policy(&name, "True").await;
    bed.request("after", |_| {}).await;
    bed.wait_reason("after", Reason::Denied).await;
    let still = async || match bed.secret("in-the-gap").await.or(bed.secret("after").await) {
        None => Ok(()),
        Some(_) => Err("a Secret".to_owned()),
    };
    wait::throughout(
        "the end of the first policy's time changes nothing",
        Duration::from_secs(7),
        still,
    )
    .await;
    bed.wait_reason("in-the-gap", Reason::Denied).await;

    // A removal that is meant takes effect, late and by itself.
    bed.delete_policy(&name).await;
    bed.wait_ready("in-the-gap").await;
    bed.wait_ready("after").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_deleted_and_created_again_while_the_operator_is_down_counts_from_the_first_decision()
 {
    let bed = Bed::new("policy-down").await;
    let strict = json!({"rules": [rule("all", "true")]});
    let name = bed.policy("strict", strict.clone()).await;
    let operator = bed.operator().await;
    bed.wait_policy(&name, "True").await;
    operator.stop().await;
    bed.delete_policy(&name).await;
    bed.policy("strict", strict).await;
    bed.request("orders", |_| {}).await;
    let operator = bed.operator().await;
    bed.wait_reason("orders", Reason::Denied).await;
    let outcomes: Vec<Value> = operator
        .audit
        .of("decision", "orders")
        .iter()
        .map(|d| d["decision"]["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["Denied"]);
    operator.stop().await;
}

/// A list without a version is of what etcd holds by then; one of any version may be of a cache that lags
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>).
#[tokio::test(flavor = "multi_thread")]
async fn each_start_decides_on_what_there_is_and_not_on_what_a_cache_had() {
    let bed = Bed::new("policy-reads").await;
    for name in ["first", "second"] {
        let operator = bed.operator().await;
        bed.request(name, |_| {}).await;
        bed.wait_ready(name).await;
        operator.stop().await;
    }
    let calls = bed.operator_calls().await;
    for resource in [
        "accessprofiles",
        "connectservers",
        "credentialpolicies",
        "credentialrequests",
        "namespaces",
    ] {
        let is = |c: &&Value| c["verb"] == "list" && c["objectRef"]["resource"] == resource;
        let lists: Vec<&str> =
            calls.iter().filter(is).map(|c| c["requestURI"].as_str().unwrap()).collect();
        assert!(lists.len() >= 2, "{resource}: {lists:?}");
        let of_a_version = lists.iter().find(|uri| uri.contains("resourceVersion="));
        assert_eq!(of_a_version, None, "{resource}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_of_two_policies_counts() {
    let bed = Bed::new("policy-worst").await;
    let score = |score: i32| json!({"rules": [{"name": "s", "when": "true", "score": score, "message": format!("scores {score}")}]});
    bed.policy("a", score(40)).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    // Scores of policies do not add up: 40 and 45 are no 85.
    let outcome = async |outcome: Outcome, risk: i32| {
        bed.wait_request("orders", &format!("{outcome:?} {risk}"), |r| {
            let decision = r.status.as_ref().and_then(|s| s.decision.as_ref());
            decision.is_some_and(|d| d.outcome == outcome && d.risk_score == risk)
        })
        .await
    };
    bed.policy("b", score(45)).await;
    outcome(Outcome::Allowed, 45).await;
    bed.policy("b", score(60)).await;
    outcome(Outcome::Alerted, 60).await;
    bed.policy("a", json!({"thresholds": {"alert": 20, "deny": 30}, "rules": score(40)["rules"]}))
        .await;
    let request = outcome(Outcome::Denied, 60).await;
    assert_eq!(request.status.unwrap().decision.unwrap().factor_count, 2);
    bed.policy("a", score(10)).await;
    outcome(Outcome::Alerted, 60).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_must_be_covered() {
    let bed = Bed::new("policy-cover").await;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}])).await;
    let one = bed.policy("services", json!({"match": {"vaults": ["services"]}})).await;
    bed.delete_policy(&bed.policy).await;
    let operator = keeping(&bed).await;
    let both = [("a", "op://services/orders-db/password"), ("b", "op://infra/root/password")];
    bed.request_data("both", &both).await;
    let request = bed.wait_reason("both", Reason::NoPolicyMatches).await;
    let message = &condition(&request, "Ready").unwrap().message;
    assert!(message.contains("spec.data[b]"), "{message}");
    assert_eq!(bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}"), 0);
    bed.policy("infra", json!({"match": {"vaults": ["inf?a"]}})).await;
    bed.wait_ready("both").await;
    let secret = version_of(&bed, "both").await;
    // Without cover the Secret stays, and follows nothing.
    bed.delete_policy(&one).await;
    bed.wait_reason("both", Reason::NoPolicyMatches).await;
    assert_eq!(version_of(&bed, "both").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_a_later_version_stops_every_new_grant_until_it_is_gone() {
    let cluster = Cluster::start().await.unwrap();
    let bed = Bed::on(&cluster, "policy-later").await;
    loosen(&bed).await;
    let operator = keeping(&bed).await;
    bed.request("before", |_| {}).await;
    bed.wait_ready("before").await;
    let secret = version_of(&bed, "before").await;

    // It matches another vault as far as we could tell; but nobody knows what else it says.
    let name = format!("{}-later", bed.class);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "portcullis.dev",
        "v1alpha1",
        "CredentialPolicy",
    ));
    let api: Api<DynamicObject> = Api::all_with(bed.client.clone(), &resource);
    let later = json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialPolicy", "metadata": {"name": name},
        "spec": {"controllerClass": bed.class, "mode": "Advise", "match": {"vaults": ["infra"]}}});
    wait::until("the loosened schema", wait::WAIT, async || {
        api.patch(&name, &PatchParams::apply("later"), &Patch::Apply(&later))
            .await
            .map(|_| ())
            .map_err(|e| e.to_string())
    })
    .await;
    bed.request("after", |_| {}).await;
    let request = bed.wait_reason("after", Reason::PolicyUnreadable).await;
    assert!(condition(&request, "Ready").unwrap().message.contains(&name));
    assert!(bed.secret("after").await.is_none());
    bed.wait_reason("before", Reason::PolicyUnreadable).await;
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    wait::until("the policy's status", wait::WAIT, async || {
        let policy = api.get(&name).await.map_err(|e| e.to_string())?;
        let conditions = policy.data["status"]["conditions"].clone();
        if conditions[0]["reason"] == "PolicyUnreadable" {
            Ok(())
        } else {
            Err(conditions.to_string())
        }
    })
    .await;
    assert_eq!(version_of(&bed, "before").await, secret);

    api.delete(&name, &portcullis_test_support::kube::api::DeleteParams::default()).await.unwrap();
    bed.wait_ready("after").await;
    bed.wait_value("before", "password", "rotated").await;
    operator.stop().await;
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

/// Lets the API server take policies that this version of Portcullis cannot read, as a later CRD would.
async fn loosen(bed: &Bed) {
    let patch = r#"[{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
                     "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]"#;
    let args = ["patch", "crd", "credentialpolicies.portcullis.dev", "--type=json", "-p", patch];
    let _ = bed.kubectl(&args).await.ok();
}
