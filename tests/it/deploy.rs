//! What `deploy/` ships is accepted by a real API server, as `kubectl apply` would send it.

use portcullis::api::CredentialPolicySpec;
use portcullis::policy::PolicyState;
use portcullis_test_support::{Cluster, manifests};
use serde_json::{Value, json};

const FOLDERS: [&str; 2] = ["deploy", "deploy/examples"];

#[tokio::test]
async fn the_api_server_takes_every_manifest() {
    let client = Cluster::shared().await.admin();
    let mut refused = Vec::new();
    for folder in FOLDERS {
        let files = manifests::files(folder).unwrap();
        assert!(!files.is_empty(), "{folder} is empty");
        let mut objects = Vec::new();
        for file in files {
            objects.extend(
                manifests::read(&file).unwrap().into_iter().map(|object| (file.clone(), object)),
            );
        }
        // What is in a namespace can be tried in no other.
        for (_, object) in objects.iter().filter(|(_, object)| object["kind"] == "Namespace") {
            manifests::apply(&client, object).await.unwrap();
        }
        for (file, object) in &objects {
            if let Err(error) = manifests::dry_run(&client, object).await {
                refused.push(format!("{file}: {error:#}"));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn the_policies_compile() {
    let mut names = Vec::new();
    for file in FOLDERS.map(|folder| manifests::files(folder).unwrap()).concat() {
        for mut object in manifests::read(&file).unwrap() {
            if object["kind"] == "CredentialPolicy" {
                let spec: CredentialPolicySpec =
                    serde_json::from_value(object["spec"].take()).unwrap();
                let state = PolicyState::compile(&file, &spec);
                assert!(matches!(state, PolicyState::Compiled(_)), "{state:?}");
                names.push(object["metadata"]["name"].take());
            }
        }
    }
    assert_eq!(names, ["baseline", "no-root-in-shop"]);
}

/// The namespace enforces the restricted Pod Security Standard, which admission checks on pods alone: a Deployment
/// that breaks it is accepted, and then has none.
#[tokio::test]
async fn the_operators_pod_is_admitted_to_its_namespace() {
    let client = Cluster::shared().await.admin();
    let read = |file: &str| manifests::read(&format!("deploy/{file}")).unwrap();
    for mut object in [read("00-namespace.yaml"), read("rbac.yaml")].concat() {
        rename_namespace(&mut object);
        if ["Namespace", "ServiceAccount"].contains(&object["kind"].as_str().unwrap()) {
            manifests::apply(&client, &object).await.unwrap();
        }
    }
    let mut pod = read("deployment.yaml").remove(0)["spec"]["template"].take();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("portcullis");
    pod["metadata"]["namespace"] = json!(POD_NAMESPACE);
    manifests::dry_run(&client, &pod).await.unwrap();

    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let error = manifests::dry_run(&client, &pod).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("violates PodSecurity"),
        "the namespace does not enforce: {error:#}"
    );
}

const POD_NAMESPACE: &str = "deploy-pod";

fn rename_namespace(object: &mut Value) {
    let field = if object["kind"] == "Namespace" { "name" } else { "namespace" };
    object["metadata"][field] = json!(POD_NAMESPACE);
}
