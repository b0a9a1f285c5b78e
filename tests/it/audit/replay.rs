//! Decisions of an operator's stream, taken again by other policies.

use std::path::Path;
use std::process::Output;

use portcullis::api::Reason;
use portcullis_test_support::Bed;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Folder, text};

async fn replay(bed: &Bed, stream: &Path, policies: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["policy", "replay", "--policies", policies.to_str().unwrap()])
        .args(["--controller-class", &bed.class])
        .args(more)
        .arg(stream)
        .env_remove("KUBECONFIG")
        .output()
        .await
        .unwrap()
}

/// All policies as kubectl prints them: a list, with those of other beds in it.
async fn policies(bed: &Bed) -> Value {
    let all = bed.kubectl(&["get", "credentialpolicies", "-o", "json"]).await.ok();
    serde_json::from_str(&all).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_tried_on_what_was_decided_before() {
    let (bed, folder) = (Bed::new("replay").await, Folder::new());
    bed.label_namespace("team", Some("shop")).await;
    bed.policy(
        "tickets",
        json!({"rules": [{
            "name": "ticket", "when": "!request.claims.purpose.matches('[A-Z]+-[0-9]+')",
            "effect": "Deny", "message": "name the ticket",
        }]}),
    )
    .await;
    let operator = bed.operator().await;
    bed.request("with", |spec| spec.purpose = "OPS-7: orders".to_owned()).await;
    bed.request_data("without", &[("k", "op://services/orders-api/password")]).await;
    bed.wait_ready("with").await;
    bed.wait_reason("without", Reason::Denied).await;
    bed.request_data("outside", &[("k", "op://emergency/root/password")]).await;
    bed.wait_reason("outside", Reason::VaultNotAllowed).await;
    let stream = folder.write("audit.log", operator.audit.text());
    operator.stop().await;

    let in_force = policies(&bed).await;
    let file = folder.write("in-force.json", in_force.to_string());
    let same = replay(&bed, &stream, &file, &[]).await;
    let said = text(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{said}{}", text(&same.stderr));
    assert!(said.contains("2 decisions: 2 as before; without 1 that do not say"), "{said}");

    // Everything that rules read is in the records: labels, ids, history, the hour.
    let mut other = in_force.clone();
    let ours = |policy: &&mut Value| policy["spec"]["controllerClass"] == *bed.class;
    for policy in other["items"].as_array_mut().unwrap().iter_mut().filter(ours) {
        policy["spec"]["rules"] = json!([{
            "name": "shop", "effect": "Deny", "message": "not the shop",
            "when": "namespace.labels['team'] == 'shop' && service.reachable && history.newItems > 0 \
                     && now > timestamp('2020-01-01T00:00:00Z') && refs.all(r, r.vault == 'services' && r.type != '')",
        }]);
    }
    let file = folder.write("other.json", other.to_string());
    let changed = replay(&bed, &stream, &file, &[]).await;
    let said = text(&changed.stdout);
    assert_eq!(changed.status.code(), Some(1), "{said}{}", text(&changed.stderr));
    assert!(said.contains(&format!("{}/with  Allowed 0 -> Denied 0", bed.namespace)), "{said}");
    assert!(said.contains("2 decisions: 1 as before, 1 from Allowed to Denied"), "{said}");
    let told = replay(&bed, &stream, &file, &["-o", "json", "--request", "with"]).await;
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["changed"][0]["wouldBe"]["outcome"], "Denied", "{told}");

    for (more, why) in [
        (["--request", "nobody"].as_slice(), "none of the records"),
        (&["--since", "2020-13-01"], "it must be a time"),
    ] {
        let failed = replay(&bed, &stream, &file, more).await;
        assert!(failed.status.code().is_some_and(|code| code > 1), "{more:?}");
        assert!(text(&failed.stderr).contains(why), "{}", text(&failed.stderr));
    }
}
