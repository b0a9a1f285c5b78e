//! What the chart renders, and what the API server thinks of it.

use std::collections::BTreeSet;

use portcullis_test_support::{Cluster, helm_lint, helm_template, manifests, wait};
use serde_json::{Value, json};

use super::{SHAPES, objects, rendered, shape};

#[tokio::test]
async fn helm_finds_nothing_to_complain_about() {
    for name in SHAPES {
        let _ = helm_lint(&["--values", &shape(name)]).await.ok();
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = manifests::read("charts/portcullis/Chart.yaml").unwrap().remove(0);
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
}

#[tokio::test]
async fn the_api_server_takes_every_render() {
    let client = Cluster::shared().await.admin();
    let mut refused = Vec::new();
    for name in SHAPES {
        let objects = objects(&rendered(name).await);
        // What is in a namespace can be tried in no other.
        let namespaces: BTreeSet<&str> =
            objects.iter().filter_map(|o| o["metadata"]["namespace"].as_str()).collect();
        for namespace in namespaces {
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            manifests::apply(&client, &object).await.unwrap();
        }
        for object in &objects {
            if let Err(error) = manifests::dry_run(&client, object).await {
                refused.push(format!("{name}: {error:#}"));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[tokio::test]
async fn requests_are_stamped_by_the_best_version_that_the_cluster_serves_and_by_none_otherwise() {
    let kind = "MutatingAdmissionPolicy";
    let served = |version: &str| format!("admissionregistration.k8s.io/{version}/{kind}");
    let both = format!("{},{}", served("v1beta1"), served("v1"));
    for (said, version) in [
        ("example.com/v1/Other".to_owned(), None),
        (served("v1alpha1"), None),
        (served("v1beta1"), Some("v1beta1")),
        (both, Some("v1")),
    ] {
        let objects = objects(&helm_template(&["--api-versions", &said], "").await.ok());
        let made: Vec<_> = objects
            .iter()
            .filter(|o| o["kind"].as_str().unwrap().starts_with(kind))
            .map(|o| o["apiVersion"].as_str().unwrap())
            .collect();
        let wanted = version.map(|version| format!("admissionregistration.k8s.io/{version}"));
        assert_eq!(made, wanted.iter().chain(&wanted).collect::<Vec<_>>(), "with {said}");
    }
}

/// A namespace may enforce the restricted Pod Security Standard, which admission checks on pods alone: a Deployment
/// that breaks it is accepted, and then has none.
#[tokio::test]
async fn a_namespace_with_restricted_pods_admits_those_of_the_chart() {
    const NAMESPACE: &str = "chart-restricted";
    let client = Cluster::shared().await.admin();
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    manifests::apply(&client, &namespace).await.unwrap();
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "portcullis", "namespace": NAMESPACE},
    });
    manifests::apply(&client, &account).await.unwrap();

    let mut pods = Vec::new();
    for name in ["default", "connect"] {
        let objects = objects(&rendered(name).await);
        pods.extend(
            objects.into_iter().filter(|o| o["kind"] == "Deployment").map(|o| pod(o, NAMESPACE)),
        );
    }
    assert_eq!(pods.len(), 3, "the operator twice, and Connect");
    for mut pod in pods {
        // The ServiceAccount `default` comes some time after its namespace.
        wait::until("the pod to be admitted", wait::WAIT, async || {
            manifests::dry_run(&client, &pod).await.map_err(|error| format!("{error:#}"))
        })
        .await;
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let error = format!("{:#}", manifests::dry_run(&client, &pod).await.unwrap_err());
        assert!(error.contains("violates PodSecurity"), "the namespace does not enforce: {error}");
    }
}

fn pod(mut deployment: Value, namespace: &str) -> Value {
    let mut pod = deployment["spec"]["template"].take();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = deployment["metadata"]["name"].take();
    pod["metadata"]["namespace"] = json!(namespace);
    pod
}
