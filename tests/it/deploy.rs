//! What `deploy/` ships is accepted by a real API server, as `kubectl apply` would send it.

use portcullis::api::CredentialPolicySpec;
use portcullis::policy::PolicyState;
use portcullis_test_support::{Cluster, manifests};

/// The chart as it is rendered for kubectl, and the examples.
fn shipped() -> Vec<String> {
    [vec![manifests::INSTALL.to_owned()], manifests::files("deploy/examples").unwrap()].concat()
}

#[tokio::test]
async fn the_api_server_takes_every_manifest() {
    let client = Cluster::shared().await.admin();
    let mut objects = Vec::new();
    for file in shipped() {
        objects.extend(
            manifests::read(&file).unwrap().into_iter().map(|object| (file.clone(), object)),
        );
    }
    // What is in a namespace can be tried in no other.
    for (_, object) in objects.iter().filter(|(_, object)| object["kind"] == "Namespace") {
        manifests::apply(&client, object).await.unwrap();
    }
    let mut refused = Vec::new();
    for (file, object) in &objects {
        if let Err(error) = manifests::dry_run(&client, object).await {
            refused.push(format!("{file}: {error:#}"));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn the_policies_compile() {
    let mut names = Vec::new();
    for file in shipped() {
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
