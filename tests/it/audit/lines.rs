//! What an operator's records say.

use portcullis_test_support::Bed;
use portcullis_test_support::kube::ResourceExt as _;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_a_decision_an_intent_and_a_change_and_the_secret_names_its_intent() {
    let bed = Bed::new("audit-lines").await;
    let operator = bed.operator().await;
    bed.request("orders", |spec| spec.purpose = "shown\u{1b}[2J\u{202e}\nas typed".to_owned())
        .await;
    bed.wait_ready("orders").await;
    let text = operator.audit.text();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|l| l["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["decision", "intent", "write"]);
    let intent = format!("{}-2", lines[1]["stream"].as_str().unwrap());
    assert_eq!(lines[2]["closes"], intent.as_str());
    assert_eq!(lines[2]["previous"], lines[1]["mac"]);
    assert_eq!(lines[0]["v"], 1);
    assert!(lines.iter().all(|l| l["durationMs"].is_u64()));
    assert_eq!(lines[0]["request"]["purpose"], "shown\u{1b}[2J\u{202e}\nas typed");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "what could steer a terminal is spelled out");
    let secret = bed.secret("orders").await.unwrap();
    let named = &secret.annotations()["portcullis.dev/audit-record"];
    assert!(named.starts_with(&format!("{intent}.v1.")), "{named}");

    // Changed by hand, then back: a repair is an intent of its own.
    bed.patch_secret("orders", serde_json::json!({"stringData": {"password": "by hand"}})).await;
    let repaired = bed
        .wait_secret("orders", |s| s.annotations()["portcullis.dev/audit-record"] != *named)
        .await;
    assert_eq!(repaired.uid(), secret.uid());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_an_intent_that_somebody_made_up_closes_nothing() {
    let bed = Bed::new("audit-forged").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await.unwrap();
    let named = &secret.annotations()["portcullis.dev/audit-record"];
    let (id, tag) = named.split_once('.').unwrap();
    let (stream, _) = id.split_once('-').unwrap();
    let forged = format!("{stream}-99.{tag}");
    let patch = serde_json::json!({
        "metadata": {"annotations": {"portcullis.dev/audit-record": forged}},
        "stringData": {"password": "by hand"},
    });
    bed.patch_secret("orders", patch).await;
    bed.wait_value("orders", "password", &bed.value("orders-db", "password")).await;
    let writes = operator.audit.of("write", "orders");
    let changes: Vec<&str> =
        writes.iter().map(|w| w["secret"]["change"].as_str().unwrap()).collect();
    assert!(!changes.contains(&"found"), "{changes:?}");
    operator.stop().await;
}
