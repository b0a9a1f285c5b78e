//! The test bed itself: what tests rely on without looking.

use std::time::Duration;

use portcullis::api::CredentialRequest;
use portcullis_test_support::k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use portcullis_test_support::kube::api::{ListParams, Patch, PatchParams, PostParams};
use portcullis_test_support::kube::{self, Api, Client};
use portcullis_test_support::{Bed, Cluster, wait};
use serde_json::json;

fn is_forbidden<T>(answer: Result<T, kube::Error>) -> bool {
    match answer {
        Err(kube::Error::Api(status)) => status.is_forbidden(),
        _ => false,
    }
}

#[tokio::test]
async fn the_operator_may_do_its_work_and_no_more() {
    let bed = Bed::new("bed-rights").await;
    bed.request("orders", |_| {}).await;
    let operator = bed.service_account_client().await;
    let list = ListParams::default();
    let merge = PatchParams::default();

    let requests: Api<CredentialRequest> = Api::namespaced(operator.clone(), &bed.namespace);
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    assert!(is_forbidden(requests.patch("orders", &merge, &suspend).await));
    let request = CredentialRequest::new("own", bed.spec());
    assert!(is_forbidden(requests.create(&PostParams::default(), &request).await));
    let status = Patch::Merge(json!({"status": {"observedGeneration": 1}}));
    requests.patch_status("orders", &merge, &status).await.unwrap();

    let server = Patch::Merge(json!({"spec": {"access": []}}));
    let servers: Api<portcullis::api::ConnectServer> = Api::all(operator.clone());
    assert!(is_forbidden(servers.patch(&bed.server, &merge, &server).await));

    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}}))
            .unwrap();
    for namespace in [&bed.namespace, &bed.operator_namespace] {
        let secrets: Api<Secret> = Api::namespaced(operator.clone(), namespace);
        secrets.create(&PostParams::default(), &secret).await.unwrap();
        assert!(is_forbidden(secrets.replace("s", &PostParams::default(), &secret).await));
        assert!(is_forbidden(
            secrets.delete_collection(&kube::api::DeleteParams::default(), &list).await
        ));
    }
    let own: Api<ConfigMap> = Api::namespaced(operator.clone(), &bed.operator_namespace);
    own.list(&list).await.unwrap();
    let tenants: Api<ConfigMap> = Api::namespaced(operator.clone(), &bed.namespace);
    assert!(is_forbidden(tenants.list(&list).await));
    let pods: Api<Pod> = Api::all(operator);
    assert!(is_forbidden(pods.list(&list).await));
    bed.finish().await;
}

#[tokio::test]
async fn a_kubeconfig_and_a_user_are_whom_they_name() {
    let bed = Bed::new("bed-who").await;
    let file = std::env::temp_dir().join(format!("{}.kubeconfig", bed.class));
    std::fs::write(&file, bed.service_account_kubeconfig().await).unwrap();
    let said = bed.kubectl(&["--kubeconfig", file.to_str().unwrap(), "auth", "whoami"]).await;
    std::fs::remove_file(&file).unwrap();
    let account = format!("system:serviceaccount:{}:portcullis", bed.operator_namespace);
    assert!(said.clone().ok().contains(&account), "{said:?}");

    let nobody = bed.cluster.client_as("nobody", &["nobodies"]);
    let secrets: Api<Secret> = Api::namespaced(nobody, &bed.namespace);
    let refused = secrets.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(refused.contains("User \"nobody\" cannot list"), "{refused}");
}

#[tokio::test]
async fn values_are_the_beds_own() {
    let (one, other) = (Bed::new("bed-values").await, Bed::new("bed-values").await);
    assert_ne!(one.canary(), other.canary());
    assert!(one.value("orders-db", "password").contains(one.canary()));
    assert!(one.token.contains(one.canary()));
    for name in [&one.namespace, &one.operator_namespace, &one.class] {
        assert!(!name.contains(one.canary()), "{name}");
    }
    assert_eq!(one.connect.item_version("services", "orders-db"), Some(1));
    one.create_secret("mine", &[("k", "v")]).await;
    one.wait_value("mine", "k", "v").await;
    assert_eq!(other.secret("mine").await, None);
    one.delete_secret("mine").await;
    one.wait_no_secret("mine").await;
}

#[tokio::test]
async fn a_cluster_of_ones_own_ends_when_dropped() {
    let cluster = Cluster::start().await.unwrap();
    let (client, dir) = (cluster.admin(), cluster.dir().unwrap().to_owned());
    Bed::on(&cluster, "bed-own").await;
    assert!(cluster.audit_log().unwrap().exists());
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
    assert!(!dir.exists(), "{} is left", dir.display());
    assert!(is_down(&client).await);
}

async fn is_down(client: &Client) -> bool {
    client.apiserver_version().await.is_err()
}

#[tokio::test]
#[should_panic(expected = "waited 60ms for rain; last seen: sun")]
async fn a_wait_says_what_it_saw_last() {
    wait::until("rain", Duration::from_millis(60), async || Err::<(), _>("sun".to_owned())).await;
}
