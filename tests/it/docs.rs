//! What the documents say is so.

use std::fs;

use portcullis::api::Reason;
use portcullis::behavior::{Detector, History};
use portcullis::telemetry::Metrics;
use portcullis_test_support::{Bed, manifests};
use serde_json::{Value, json};

fn text(file: &str) -> String {
    fs::read_to_string(manifests::repository().join(file)).expect("the document is readable")
}

/// The first YAML block of the README.
fn first_request() -> Value {
    let readme = text("README.md");
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    serde_saphyr::from_str(block.expect("the README has a YAML block")).expect("it is YAML")
}

#[test]
fn the_readmes_request_is_the_example() {
    let example = manifests::read("deploy/examples/request.yaml").unwrap();
    assert_eq!(example, [first_request()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_request_becomes_a_secret() {
    let bed = Bed::new("readme").await;
    let operator = bed.operator().await;
    let mut request = first_request();
    request["metadata"]["namespace"] = json!(bed.namespace);
    request["spec"]["serverRef"] = json!({"name": bed.server});
    bed.apply_request(request).await.unwrap();
    bed.wait_ready("orders-db").await;
    bed.wait_value("orders-db", "username", &bed.value("orders-db", "username")).await;
    bed.wait_value("orders-db", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

#[test]
fn every_reason_is_explained() {
    let conditions = text("docs/conditions.md");
    let missing: Vec<&str> = Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .filter(|reason| !conditions.contains(&format!("`{reason}`")))
        .collect();
    assert!(missing.is_empty(), "docs/conditions.md does not explain {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let operations = text("docs/operations.md");
    let metrics = Metrics::new().encode();
    let missing: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !operations.contains(*name))
        .collect();
    assert!(missing.is_empty(), "docs/operations.md does not explain {missing:?}");
}

#[test]
fn every_detector_and_every_figure_of_the_past_is_explained() {
    let behavior = text("docs/behavior.md");
    let history = serde_json::to_value(History::default()).unwrap();
    let figures = history.as_object().unwrap().keys().map(String::as_str);
    let missing: Vec<&str> = Detector::ALL
        .iter()
        .map(|detector| detector.as_str())
        .chain(figures)
        .filter(|name| !behavior.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/behavior.md does not explain {missing:?}");
}
