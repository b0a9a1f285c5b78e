//! What Helm installs serves requests: the program, told what the Deployment tells it, as the ServiceAccount of the
//! release with its rights alone.

use std::net::TcpListener;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::PostParams;
use portcullis::api::CredentialRequest;
use portcullis_test_support::Bed;
use serde_json::{Value, json};

use crate::program::{Program, Start};

/// A release of the chart in the cluster of a bed, with a ConnectServer for the bed's Connect.
pub(super) struct Release<'b> {
    bed: &'b Bed,
    /// The release, its class, its ConnectServer, and what the names of its objects begin with.
    pub(super) name: String,
    pub(super) namespace: String,
}

impl<'b> Release<'b> {
    /// Installs it as the README has it, with more values.
    pub(super) async fn install(bed: &'b Bed, more: Value) -> Self {
        let name = format!("h-{}", bed.class);
        let release = Self { bed, namespace: format!("{name}-own"), name };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut values = json!({
            "fullnameOverride": release.name,
            "controllerClass": release.name,
            "listen": {"address": "127.0.0.1", "port": port},
            "baseline": {"name": release.name},
            // Of the whole cluster: it would stamp the requests of other tests.
            "admission": {"stampRequestedBy": false},
            "connectServer": {
                "create": true,
                "name": release.name,
                "hosts": [{"url": bed.connect.url()}],
                "allowInsecure": true,
                "access": [{"name": "all", "namespaces": {"all": true}, "vaults": [{"name": "services"}]}],
                "pollInterval": "1s",
            },
        });
        for (key, value) in more.as_object().unwrap() {
            values[key] = value.clone();
        }
        let token = std::env::temp_dir().join(format!("{}.token", release.name));
        // As an editor leaves it.
        std::fs::write(&token, format!("{}\n", bed.token)).unwrap();
        let set_token = format!("connectServer.token.value={}", token.display());
        let args =
            ["install", &release.name, "charts/portcullis", "--create-namespace", "--values", "-"];
        let args = [args.as_slice(), &["--set-file", &set_token]].concat();
        let installed = bed.cluster.run_helm(&release.namespace, &args, &values.to_string()).await;
        std::fs::remove_file(&token).unwrap();
        let _ = installed.ok();
        release
    }

    /// Starts the program as the Deployment says.
    async fn program(&self) -> Program {
        let deployments: Api<Deployment> =
            Api::namespaced(self.bed.client.clone(), &self.namespace);
        let deployment = deployments.get(&self.name).await.unwrap();
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        let account = pod.service_account_name.unwrap();
        let container = pod.containers.into_iter().next().unwrap();
        let variable = |variable: k8s_openapi::api::core::v1::EnvVar| {
            let value = variable.value.unwrap_or_else(|| {
                let source = variable.value_from.unwrap().field_ref.unwrap();
                match &*source.field_path {
                    "metadata.namespace" => self.namespace.clone(),
                    "metadata.name" | "metadata.uid" => self.name.clone(),
                    other => panic!("{other} is not known here"),
                }
            });
            (variable.name, value)
        };
        let kubeconfig =
            self.bed.cluster.service_account_kubeconfig(&self.namespace, &account).await;
        let env: Vec<(String, String)> = container.env.unwrap().into_iter().map(variable).collect();
        // As the kubelet does.
        let filled = |arg: String| {
            env.iter().fold(arg, |arg, (name, value)| arg.replace(&format!("$({name})"), value))
        };
        let args: Vec<String> = container.args.unwrap().into_iter().map(filled).collect();
        let listen = args.iter().find_map(|a| a.strip_prefix("--listen=")).unwrap().to_owned();
        Program::start_as(Start {
            name: self.name.clone(),
            kubeconfig: kubeconfig.unwrap(),
            env,
            args,
            listen,
        })
        .await
    }

    pub(super) async fn uninstall(self) {
        let ran = self.bed.cluster.run_helm(&self.namespace, &["uninstall", &self.name], "").await;
        let _ = ran.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_helm_installs_serves_a_request() {
    let bed = Bed::new("helm").await;
    let release = Release::install(&bed, json!({})).await;
    let mut program = release.program().await;
    bed.request("orders-db", |spec| spec.server_ref = server(&release)).await;
    bed.wait_ready("orders-db").await;
    bed.wait_value("orders-db", "password", &bed.value("orders-db", "password")).await;
    assert!(program.terminate().await.1.success());

    let secret = bed.secret("orders-db").await.unwrap();
    release.uninstall().await;
    assert_eq!(bed.secret("orders-db").await.unwrap(), secret, "uninstalling touched a Secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_namespaces_it_serves_these_alone() {
    let bed = Bed::new("helm-named").await;
    let elsewhere = bed.tenant("elsewhere", &[]).await;
    // Where the keys of the cache lie, the release may read that one Secret; without it the program does not start.
    let keys = bed.tenant("keys", &[]).await;
    let key = bed.canary().repeat(4);
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "cache-keys", "namespace": keys},
        "stringData": {"key-0001": key},
    }))
    .await;
    let values = json!({
        "namespaces": [bed.namespace],
        "cacheKeys": {"secret": {"namespace": keys, "name": "cache-keys"}},
    });
    let release = Release::install(&bed, values).await;
    let mut spec = bed.spec();
    spec.server_ref = server(&release);
    let others: Api<CredentialRequest> = Api::namespaced(bed.client.clone(), &elsewhere);
    let other = CredentialRequest::new("orders-db", spec);
    others.create(&PostParams::default(), &other).await.unwrap();
    let mut program = release.program().await;
    bed.request("orders-db", |spec| spec.server_ref = server(&release)).await;
    bed.wait_value("orders-db", "password", &bed.value("orders-db", "password")).await;
    bed.wait_ready("orders-db").await;
    assert_eq!(others.get("orders-db").await.unwrap().status, None);

    // A change, and a Secret that somebody deleted: with the rights of the Roles alone.
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("orders-db", "password", "rotated").await;
    bed.delete_secret("orders-db").await;
    bed.wait_value("orders-db", "password", "rotated").await;
    bed.delete_request("orders-db").await;
    assert!(program.terminate().await.1.success());
    let log = program.stderr.text();
    assert!(!log.contains("forbid"), "something is missing from the Roles: {log}");
    release.uninstall().await;
}

fn server(release: &Release<'_>) -> Option<portcullis::api::ServerRef> {
    serde_json::from_value(json!({"name": release.name})).unwrap()
}
