//! 1Password Connect in the cluster: the development server, whose state is made up for this run.

use portcullis_test_support::connect_dev::Certificate;
use portcullis_test_support::{Cluster, wait};
use serde_json::json;

use crate::forward::Forward;
use crate::kubectl;

/// Its namespace.
pub const NAMESPACE: &str = "connect";
/// Where pods reach it, by the name of its Service.
pub const URL: &str = "https://connect.connect.svc:8443";
/// The port of its admin API, which listens inside of its pod alone.
const ADMIN_PORT: u16 = 8081;

/// What it holds.
pub struct Told {
    pub token: String,
    pub username: String,
    pub password: String,
}

/// Starts it and waits until it answers; in PEM, who signed its certificate.
pub async fn start(cluster: &Cluster, told: &Told) -> String {
    let certificate = Certificate::new(&["connect.connect.svc"]).expect("a certificate");
    let item = json!({
        "title": "orders-db", "category": "DATABASE",
        "fields": [{"label": "username", "value": told.username}, {"label": "password", "value": told.password}],
    });
    let state = json!({
        "tokens": [{"token": told.token, "vaults": ["services"]}],
        "vaults": [{"name": "services", "items": [item]}],
    });
    let labels = json!({"app": "connect"});
    let container = json!({
        "name": "connect",
        "image": "localhost/connect-dev:test",
        "args": [
            "--state=/state/state.yaml", "--tls-cert=/state/tls.crt", "--tls-key=/state/tls.key",
            "--listen=0.0.0.0:8443", format!("--admin=127.0.0.1:{ADMIN_PORT}"),
        ],
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
        "readinessProbe": {
            "httpGet": {"path": "/heartbeat", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1,
        },
    });
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        // JSON is YAML.
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "state", "namespace": NAMESPACE},
         "stringData": {"state.yaml": state.to_string(), "tls.crt": certificate.cert, "tls.key": certificate.key}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "connect", "namespace": NAMESPACE},
         "spec": {"selector": labels, "ports": [{"port": 8443}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "connect", "namespace": NAMESPACE},
         "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
             "automountServiceAccountToken": false,
             "terminationGracePeriodSeconds": 1,
             "containers": [container],
             "volumes": [{"name": "state", "secret": {"secretName": "state"}}],
         }}}},
    ]});
    let _ = kubectl(cluster, NAMESPACE, &["apply", "-f", "-"], &objects.to_string()).await;
    wait_started(cluster).await;
    certificate.ca
}

async fn wait_started(cluster: &Cluster) {
    let status = ["rollout", "status", "deployment/connect", "--timeout=60s"];
    let _ = kubectl(cluster, NAMESPACE, &status, "").await;
}

/// Takes it away: its Service has nobody behind it any more.
pub async fn stop(cluster: &Cluster) {
    let away = ["scale", "deployment/connect", "--replicas=0"];
    let _ = kubectl(cluster, NAMESPACE, &away, "").await;
    let pods = ["get", "pods", "--output=name"];
    wait::until("Connect's pod to be gone", wait::LONGEST, async || {
        let left = kubectl(cluster, NAMESPACE, &pods, "").await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Starts it again, with what it had at its first start.
pub async fn restart(cluster: &Cluster) {
    let back = ["scale", "deployment/connect", "--replicas=1"];
    let _ = kubectl(cluster, NAMESPACE, &back, "").await;
    wait_started(cluster).await;
}

/// Changes the password in 1Password.
pub async fn change_password(cluster: &Cluster, password: &str) {
    let admin = Forward::to(cluster, NAMESPACE, "deployment/connect", ADMIN_PORT).await;
    let url = format!("{}/items/services/orders-db/fields/password", admin.url());
    let answer = reqwest::Client::new().put(url).body(password.to_owned()).send().await;
    answer.expect("an answer").error_for_status().expect("the field is set");
}
