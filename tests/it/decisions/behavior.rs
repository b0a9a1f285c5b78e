//! Past behaviour on a real API server: what is remembered of a namespace, and what it decides.

use std::time::Duration;

use portcullis::api::{AccessProfile, Outcome, Reason, RebuildCause};
use portcullis::behavior::Limits;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::k8s_openapi::api::events::v1::Event;
use portcullis_test_support::kube::Api;
use portcullis_test_support::kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use portcullis_test_support::{Bed, TestOperator, manifests, wait};
use serde_json::{Value, json};

use super::{SYNCED, wait_says};

/// An operator that has learned what is usual already.
async fn learned(bed: &Bed) -> TestOperator {
    bed.operator_with(Settings { learning: Duration::ZERO, ..Settings::for_tests() }).await
}

fn profiles(bed: &Bed) -> Api<AccessProfile> {
    Api::namespaced(bed.client.clone(), &bed.operator_namespace)
}

/// The name of the profile of the bed's namespace.
fn profile_name(bed: &Bed) -> String {
    format!("{}.{}", bed.namespace, bed.class)
}

async fn wait_profile(bed: &Bed, what: &str, is: impl Fn(&AccessProfile) -> bool) -> AccessProfile {
    let (api, name) = (profiles(bed), profile_name(bed));
    wait::until(what, wait::WAIT, async || {
        let found = api.get_opt(&name).await.map_err(|e| e.to_string())?;
        match found {
            Some(profile) if is(&profile) => Ok(profile),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn items(profile: &AccessProfile) -> usize {
    profile.spec.vaults.iter().map(|vault| vault.items.len()).sum()
}

async fn baseline(bed: &Bed) {
    let spec = manifests::baseline().unwrap()["spec"].take();
    bed.policy("baseline", spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_namespace_is_granted_is_stored_before_its_secret_is_written_and_survives_a_restart()
{
    let bed = Bed::new("profile").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    // At once, and not after a while: the write of the Secret waited for it.
    let profile = profiles(&bed).get(&profile_name(&bed)).await.unwrap();
    assert_eq!((profile.spec.grants, items(&profile)), (1, 1));
    let calls = bed.operator_calls().await;
    let at = |resource: &str, verb: &str| {
        calls.iter().position(|call| {
            call["objectRef"]["resource"] == resource
                && call["verb"] == verb
                && call["objectRef"]["name"] != "portcullis-keys"
        })
    };
    let (stored, written) =
        (at("accessprofiles", "create").unwrap(), at("secrets", "create").unwrap());
    assert!(stored < written, "{stored} {written}");

    operator.stop().await;
    let operator = bed.operator().await;
    bed.request_data("api", &[("k", "op://services/orders-api/password")]).await;
    wait_says(&bed, "api", &SYNCED).await;
    let profile = wait_profile(&bed, "two grants", |p| p.spec.grants == 2).await;
    assert_eq!(items(&profile), 2);
    // The same request again is no news.
    bed.delete_request("api").await;
    bed.wait_no_secret("api").await;
    bed.request_data("api", &[("k", "op://services/orders-api/password")]).await;
    wait_says(&bed, "api", &SYNCED).await;
    let profile = wait_profile(&bed, "three grants", |p| p.spec.grants == 3).await;
    assert_eq!(items(&profile), 2);
    operator.stop().await;
}

/// Waits for an Event on an AccessProfile that says something.
async fn wait_event(bed: &Bed, profile: &str, said: &str) {
    let events: Api<Event> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
    wait::until(&format!("an Event that {profile} {said}"), wait::WAIT, async || {
        let all = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let is = |event: &Event| {
            let about = event.regarding.as_ref();
            about.is_some_and(|r| r.kind.as_deref() == Some("AccessProfile"))
                && about.is_some_and(|r| r.name.as_deref() == Some(profile))
                && event.reason.as_deref() == Some("ProfileRebuilt")
                && event.note.as_deref().is_some_and(|note| note.contains(said))
        };
        if all.iter().any(is) { Ok(()) } else { Err(format!("{} Events", all.len())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_of_before_a_restart_is_the_same_attempt_after_it() {
    let bed = Bed::new("profile-denied").await;
    let no = json!({"name": "no", "when": "true", "effect": "Deny", "message": "not now"});
    bed.policy("no", json!({"rules": [no]})).await;
    let operator = learned(&bed).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", Reason::Denied).await;
    wait_profile(&bed, "a denial", |p| p.spec.denials == 1).await;
    operator.stop().await;
    let operator = learned(&bed).await;
    // What comes after it is looked at with what is known, so that the restart has been.
    bed.request_data("api", &[("k", "op://services/orders-api/password")]).await;
    bed.wait_reason("api", Reason::Denied).await;
    let after = wait_profile(&bed, "another denial", |p| p.spec.denials > 1).await;
    assert_eq!(after.spec.denials, 2, "one for each request");
    assert_eq!(
        operator.metric("portcullis_anomalies_total", &[("detector", "DeniedThenEdited")]),
        0.0
    );
    // An edit is another attempt.
    bed.patch_request("orders", json!({"spec": {"purpose": "another try"}})).await;
    wait_profile(&bed, "a third denial", |p| p.spec.denials == 3).await;
    assert!(
        operator.metric("portcullis_anomalies_total", &[("detector", "DeniedThenEdited")]) >= 1.0
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_looked_at_again_with_what_was_granted_since() {
    let bed = Bed::new("profile-waits").await;
    let rules = json!([
        {"name": "wait", "when": "request.name != 'opener' && history.grants == 0 && service.reachable",
         "effect": "Defer", "message": "not before the opener"},
        {"name": "dump", "when": "anomalies.exists(a, a.detector == 'BreadthWithinVault')",
         "effect": "Deny", "message": "so much of one vault"},
    ]);
    bed.policy("parked", json!({"rules": rules})).await;
    for n in 0..8 {
        let value = format!("{}-{n}", bed.canary());
        let item = ItemSpec::new(&format!("item-{n}")).field("password", &value);
        bed.connect.add_item("services", item).unwrap();
    }
    let mut settings = Settings { learning: Duration::ZERO, ..Settings::for_tests() };
    settings.behavior = Limits { breadth_items: 3, ..settings.behavior };
    let operator = bed.operator_with(settings).await;
    for n in 0..8 {
        let reference = format!("op://services/item-{n}/password");
        bed.request_data(&format!("parked-{n}"), &[("k", &reference)]).await;
        let request = bed.wait_reason(&format!("parked-{n}"), Reason::Deferred).await;
        let anomalies = request.status.unwrap().decision.unwrap().anomalies;
        assert!(anomalies.iter().all(|a| a.detector != "BreadthWithinVault"), "{anomalies:?}");
    }
    bed.request_data("opener", &[("k", "op://services/orders-db/password")]).await;
    bed.wait_ready("opener").await;
    let mut granted = 0;
    for n in 0..8 {
        let request = bed
            .wait_request(&format!("parked-{n}"), "to be decided", |r| {
                let decision = r.status.as_ref().and_then(|s| s.decision.as_ref());
                decision.is_some_and(|d| d.outcome != Outcome::Deferred)
            })
            .await;
        let decision = request.status.unwrap().decision.unwrap();
        match decision.outcome {
            Outcome::Denied => {
                let found = decision.anomalies.iter().any(|a| a.detector == "BreadthWithinVault");
                assert!(found, "{decision:?}");
            }
            _ => granted += 1,
        }
    }
    assert!(granted <= 3, "{granted} of 8 that waited were granted");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_no_access() {
    let bed = Bed::new("profile-refresh").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let before = profiles(&bed).get(&profile_name(&bed)).await.unwrap();
    for n in 0..3 {
        let rotated = format!("{}-{n}", bed.canary());
        bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
        bed.wait_value("orders", "password", &rotated).await;
    }
    bed.delete_secret("orders").await;
    bed.wait_secret("orders", |_| true).await;
    let after = profiles(&bed).get(&profile_name(&bed)).await.unwrap();
    assert_eq!(after, before);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_somebody_edits_puts_back_or_deletes_is_written_again_and_is_an_anomaly() {
    let bed = Bed::new("profile-foreign").await;
    let operator = learned(&bed).await;
    bed.request("orders", |_| {}).await;
    wait_says(&bed, "orders", &SYNCED).await;
    let (api, name) = (profiles(&bed), profile_name(&bed));
    let first = api.get(&name).await.unwrap();
    bed.request_data("api", &[("k", "op://services/orders-api/password")]).await;
    wait_says(&bed, "api", &SYNCED).await;
    let rebuilt = |cause: RebuildCause| {
        move |p: &AccessProfile| p.spec.rebuilt.is_some_and(|r| r.cause == cause) && items(p) == 2
    };
    let edit = |spec: Value| Patch::Merge(json!({ "spec": spec }));
    // Edited; an older one put back; not a profile at all; deleted.
    api.patch(&name, &PatchParams::default(), &edit(json!({"grants": 999}))).await.unwrap();
    wait_profile(&bed, "the edit undone", |p| {
        rebuilt(RebuildCause::Foreign)(p) && p.spec.grants == 2
    })
    .await;
    let mut old = json!(first.spec);
    for field in ["rebuilt", "lastGrant"] {
        old.as_object_mut().unwrap().entry(field).or_insert(Value::Null);
    }
    api.patch(&name, &PatchParams::default(), &edit(old)).await.unwrap();
    wait_profile(&bed, "the newer one", |p| {
        rebuilt(RebuildCause::Foreign)(p) && p.spec.grants == 2
    })
    .await;
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    wait_profile(&bed, "it is there again", rebuilt(RebuildCause::Missing)).await;
    let metric =
        |cause| operator.metric("portcullis_access_profiles_rebuilt_total", &[("cause", cause)]);
    assert!(metric("Foreign") >= 2.0 && metric("Missing") >= 1.0);
    for said in ["is not as the operator wrote it", "was deleted"] {
        wait_event(&bed, &name, said).await;
    }

    // While nobody looks, too: what is stored is not believed at the next start.
    operator.stop().await;
    api.patch(&name, &PatchParams::default(), &edit(json!({"grants": 999}))).await.unwrap();
    let operator = learned(&bed).await;
    bed.request_data(
        "both",
        &[("a", "op://services/orders-api/password"), ("b", "op://services/orders-db/password")],
    )
    .await;
    let request = wait_says(&bed, "both", &SYNCED).await;
    let anomalies = request.status.unwrap().decision.unwrap().anomalies;
    assert!(anomalies.iter().any(|a| a.detector == "ForeignProfile"), "{anomalies:?}");
    assert!(
        operator.metric("portcullis_anomalies_total", &[("detector", "ForeignProfile")]) >= 1.0
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anomaly_counts_twenty_alerts_while_learning_and_stays_that_of_its_request() {
    let bed = Bed::new("profile-score").await;
    baseline(&bed).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    wait_says(
        &bed,
        "orders",
        &["Ready=True Synced", "Authorized=True Alerted", "Synced=True Synced"],
    )
    .await;
    operator.stop().await;

    let operator = learned(&bed).await;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}])).await;
    let value = format!("{}-new", bed.canary());
    bed.connect.add_vault("other").unwrap();
    bed.connect.add_item("other", ItemSpec::new("item").field("password", &value)).unwrap();
    bed.request_data("other", &[("k", "op://other/item/password")]).await;
    let request = wait_says(&bed, "other", &SYNCED).await;
    let decision = request.status.unwrap().decision.unwrap();
    let detectors: Vec<_> = decision.anomalies.iter().map(|a| a.detector.as_str()).collect();
    assert_eq!((decision.outcome, decision.risk_score), (Outcome::Allowed, 20), "{detectors:?}");
    assert_eq!(detectors, ["NewVault"]);
    // A rotation and a restart later it is still the decision of the grant.
    operator.stop().await;
    let operator = learned(&bed).await;
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("other", "item", "password", &rotated).unwrap();
    bed.wait_value("other", "k", &rotated).await;
    let again = bed.get_request("other").await.status.unwrap().decision.unwrap();
    assert_eq!(again, decision);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_new_items_than_a_hundred_an_hour_wait_and_items_of_before_do_not() {
    let bed = Bed::new("profile-rate").await;
    baseline(&bed).await;
    // Of anomalies there are many in a dump; here it is the rate alone that is to count.
    let mut settings = Settings { learning: Duration::ZERO, ..Settings::for_tests() };
    settings.behavior = Limits {
        baseline_floor: 1000,
        burst_items: 1000,
        day_items: 1000,
        consumer_items: 1000,
        drip_items: 1000,
        breadth_items: 1000,
        spread_items: 1000,
        vault_day_items: 1000,
        vault_drip_items: 1000,
        ..settings.behavior
    };
    let names: Vec<String> = (0..120).map(|n| format!("item-{n}")).collect();
    for name in &names {
        let value = format!("{}-{name}", bed.canary());
        bed.connect.add_item("services", ItemSpec::new(name).field("password", &value)).unwrap();
    }
    let operator = bed.operator_with(settings).await;
    let data = |range: std::ops::Range<usize>| -> Vec<(String, String)> {
        names[range].iter().map(|n| (n.clone(), format!("op://services/{n}/password"))).collect()
    };
    let make = async |name: &str, data: &[(String, String)]| {
        let data: Vec<_> = data.iter().map(|(k, of)| json!({"key": k, "ref": of})).collect();
        let spec = json!({"serverRef": {"name": bed.server}, "purpose": "a test", "data": data});
        bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
    };
    make("most", &data(0..95)).await;
    bed.wait_secret("most", |_| true).await;
    make("more", &data(90..110)).await;
    let deferred = bed.wait_reason("more", portcullis::api::Reason::Deferred).await;
    assert_eq!(deferred.status.unwrap().decision.unwrap().outcome, Outcome::Deferred);
    assert!(bed.secret("more").await.is_none());
    make("again", &data(0..50)).await;
    bed.wait_secret("again", |_| true).await;
    operator.stop().await;
}
