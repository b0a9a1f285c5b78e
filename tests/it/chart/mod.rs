//! The chart: what it renders, that each of its values counts, what its rights are, and that Helm installs it.
//!
//! What is made from it and kept in the repository is in `written`.

mod admission;
mod described;
mod install;
mod render;
mod rights;
mod serves;
mod values;
mod written;

use portcullis_test_support::helm_template;
use serde_json::Value;

/// The main shapes of the chart: values in `shapes/`, renders in `golden/`.
const SHAPES: [&str; 5] = ["default", "namespaces", "connect-server", "connect", "everything"];

/// The values of a shape, by their path from the root.
fn shape(name: &str) -> String {
    format!("tests/it/chart/shapes/{name}.yaml")
}

/// Tells Helm that the cluster serves what the control plane of the tests does. Without it, it knows no kinds.
const SERVED: [&str; 2] =
    ["--api-versions", "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"];

/// What the chart renders with a shape's values.
async fn rendered(name: &str) -> String {
    let served = if name == "everything" { &SERVED[..] } else { &[] };
    helm_template(&[&["--values", &shape(name)], served].concat(), "").await.ok()
}

fn objects(rendered: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(rendered).expect("what is rendered is YAML")
}
