//! AccessProfile: what the operator may write, and that nothing else fits.

use chrono::{DateTime, TimeDelta, Utc};
use portcullis::api::AccessProfile;
use portcullis::behavior::{
    Attempt, AttemptedItem, Installation, Limits, NotedOutcome, Profile, Profiles,
};
use portcullis_test_support::kube::Api;
use portcullis_test_support::{Cluster, manifests};
use serde_json::{Value, json};

use super::{ACCEPTED, Case, check, remove};

const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// A profile with something in each list.
fn profile() -> Value {
    let mut profiles = Profiles::default();
    let installation = Installation { installed_at: AT, learning: std::time::Duration::ZERO };
    for (hour, outcome) in [
        (0, NotedOutcome::Granted { risk: 30 }),
        (1, NotedOutcome::Granted { risk: 50 }),
        (2, NotedOutcome::Denied { risk: 80 }),
        (3, NotedOutcome::Deferred),
    ] {
        let at = AT + TimeDelta::hours(hour);
        let item = AttemptedItem {
            vault_id: "v".repeat(26),
            item_id: format!("{hour:0>26}"),
            vault_name: "services".to_owned(),
            environment: Some("production".to_owned()),
        };
        let attempt = Attempt {
            namespace: "shop".to_owned(),
            namespace_created: None,
            request: "orders".to_owned(),
            uid: format!("uid-{hour}"),
            spec: format!("spec-{hour}"),
            consumer: Some("orders".to_owned()),
            items: vec![item],
            at,
        };
        let seen = profiles.look(&attempt, &installation, &Limits::default());
        profiles.note(&attempt, outcome, &seen, at);
    }
    profiles.doubt("shop", portcullis::api::RebuildCause::Broken, AT);
    let spec = profiles.get("shop").unwrap().seal("shop", |_| "v1.0.tag".to_owned());
    json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "AccessProfile",
        "metadata": {"name": "shop", "namespace": "default"}, "spec": spec,
    })
}

#[tokio::test]
async fn fields() {
    check(
        &profile(),
        &[
            Case("the valid profile", |_| {}, ACCEPTED),
            Case("no spec", |o| remove(o, "/spec"), &["spec: Required value"]),
            Case("no tag", |o| remove(o, "/spec/tag"), &["spec.tag: Required value"]),
            Case(
                "too long a tag",
                |o| o["spec"]["tag"] = json!("t".repeat(129)),
                &["spec.tag: Too long"],
            ),
            Case(
                "an unknown field",
                |o| o["spec"]["password"] = json!("p"),
                &["unknown field \"spec.password\""],
            ),
            Case("a time in words", |o| o["spec"]["since"] = json!("yesterday"), &["spec.since"]),
            Case(
                "another cause",
                |o| o["spec"]["rebuilt"]["cause"] = json!("Bored"),
                &["spec.rebuilt.cause: Unsupported value"],
            ),
            Case(
                "too many hours",
                |o| o["spec"]["hours"] = json!(vec![0; 25]),
                &["spec.hours: Too many"],
            ),
            Case("a fraction", |o| o["spec"]["grants"] = json!(1.5), &["spec.grants"]),
            Case(
                "a vault twice",
                |o| twice(&mut o["spec"]["vaults"]),
                &["spec.vaults[1]: Duplicate value"],
            ),
            Case(
                "an item twice",
                |o| twice(&mut o["spec"]["vaults"][0]["items"]),
                &["spec.vaults[0].items[2]: Duplicate value"],
            ),
            Case(
                "an environment twice",
                |o| twice(&mut o["spec"]["environments"]),
                &["spec.environments[1]: Duplicate value"],
            ),
            Case(
                "a consumer twice",
                |o| twice(&mut o["spec"]["consumers"]),
                &["spec.consumers[1]: Duplicate value"],
            ),
            Case(
                "a request twice",
                |o| twice(&mut o["spec"]["requests"]),
                &["spec.requests[1]: Duplicate value"],
            ),
            Case(
                "a denied request twice",
                |o| twice(&mut o["spec"]["denied"]),
                &["spec.denied[1]: Duplicate value"],
            ),
            Case(
                "an hour twice",
                |o| twice(&mut o["spec"]["deniedHours"]),
                &["spec.deniedHours[1]: Duplicate value"],
            ),
            Case(
                "too long an id",
                |o| o["spec"]["vaults"][0]["id"] = json!("v".repeat(65)),
                &["spec.vaults[0].id: Too long"],
            ),
            Case(
                "too many denied items",
                |o| o["spec"]["denied"][0]["items"] = json!(vec!["i"; 9]),
                &["spec.denied[0].items: Too many"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_profile_reads_back_from_the_api_server_as_what_was_signed() {
    let client = Cluster::shared().await.admin();
    let mut object = profile();
    object["metadata"]["name"] = json!("reads-back");
    manifests::apply(&client, &object).await.unwrap();
    let profiles: Api<AccessProfile> = Api::namespaced(client, "default");
    let stored = profiles.get("reads-back").await.unwrap().spec;
    assert_eq!(serde_json::to_value(&stored).unwrap(), object["spec"], "something was pruned");

    let mut signed = Vec::new();
    let opened = Profile::open("shop", &stored, |_, content| {
        signed = content.to_vec();
        true
    });
    let again = opened.unwrap().seal("shop", |content| {
        assert_eq!(content, signed);
        stored.tag.clone()
    });
    assert_eq!(again, stored);
}

/// Repeats the first entry of a list at its end.
fn twice(list: &mut Value) {
    let entries = list.as_array_mut().unwrap();
    assert!(!entries.is_empty(), "the valid profile has nothing there");
    entries.push(entries[0].clone());
}
