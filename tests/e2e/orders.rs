//! The application of deploy/examples: a pod that has its Secret as files and as a variable.

use portcullis_test_support::{Cluster, wait};

use crate::kubectl;

/// Its namespace.
pub const NAMESPACE: &str = "shop";

/// Waits until a pod of it is ready.
pub async fn wait_ready(cluster: &Cluster) {
    let status = ["rollout", "status", "deployment/orders", "--timeout=60s"];
    let _ = kubectl(cluster, NAMESPACE, &status, "").await;
}

/// Deletes its pod and waits for the next one; the names of both.
pub async fn reschedule(cluster: &Cluster) {
    let before = pod(cluster).await.expect("a pod");
    let delete = ["delete", "pod", &before, "--grace-period=0", "--force"];
    let _ = kubectl(cluster, NAMESPACE, &delete, "").await;
    wait::until("another pod of the application", wait::LONGEST, async || {
        match pod(cluster).await {
            Some(pod) if pod != before => Ok(()),
            other => Err(format!("{other:?}, and {before} before")),
        }
    })
    .await;
    wait_ready(cluster).await;
}

/// The name of its only pod.
async fn pod(cluster: &Cluster) -> Option<String> {
    let name = ["get", "pods", "--output=jsonpath={.items[*].metadata.name}"];
    let names = kubectl(cluster, NAMESPACE, &name, "").await;
    (!names.is_empty() && !names.contains(' ')).then_some(names)
}

/// What the application reads in a file of the Secret.
pub async fn file(cluster: &Cluster, key: &str) -> String {
    inside(cluster, &["cat", &format!("/etc/orders-db/{key}")]).await
}

/// What the application has in its variable.
pub async fn variable(cluster: &Cluster, name: &str) -> String {
    let all = inside(cluster, &["env"]).await;
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no variable {name}")).to_owned()
}

async fn inside(cluster: &Cluster, program: &[&str]) -> String {
    let args = [["exec", "deployment/orders", "--"].as_slice(), program].concat();
    kubectl(cluster, NAMESPACE, &args, "").await
}

/// Waits until the application reads this in a file.
pub async fn wait_file(cluster: &Cluster, key: &str, value: &str) {
    wait::until(&format!("the new value in the file {key}"), wait::LONGEST, async || {
        let found = file(cluster, key).await;
        if found == value { Ok(()) } else { Err("another one".to_owned()) }
    })
    .await;
}
