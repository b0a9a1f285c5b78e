//! The story, step by step: each begins where the one before has ended.

use std::collections::BTreeSet;
use std::time::Instant;

use portcullis_test_support::{Cluster, manifests, wait};
use serde_json::json;

use crate::connect::Told;
use crate::figures::Figures;
use crate::operator::{self, Release};
use crate::traces::{Run, Traces};
use crate::{connect, image, kubectl, orders};

fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Something that nobody else would say.
fn made_up(what: &str) -> String {
    format!("made-up-{what}-{:016x}", rand::random::<u64>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_engineer_installs_it_and_a_pod_mounts_the_secret() {
    let traces = Traces::before();
    let mut figures = Figures::default();

    step("a node starts, with the images on it");
    let start = Instant::now();
    let images = ["busybox", "connect-dev", "portcullis"].map(image::archive);
    let cluster = Cluster::with_node(&images).await.unwrap();
    figures.seconds("node_ready_s", start.elapsed());
    figures.mebibytes("image_mib", image::bytes() as f64);

    let [token, username, password] = ["token", "username", "password"].map(made_up);
    let told = Told { token, username, password };
    let ca = connect::start(&cluster, &told).await;
    let run = Run::of(&cluster);
    let release = Release::new(&cluster, &told.token, ca);
    let before = everything(&cluster).await;

    step("one Helm command installs the operator and waits until it is ready");
    let start = Instant::now();
    release.install(&["shop"], &[]).await;
    figures.seconds("helm_install_to_ready_s", start.elapsed());

    first_secret(&cluster, &told, &mut figures).await;
    outage(&cluster, &told).await;
    let changed = change(&cluster, &mut figures).await;
    kill_and_upgrade(&cluster, &release, &mut figures).await;
    uninstall_and_return(&cluster, &release, &before, &changed).await;
    named_namespaces(&cluster, &release).await;

    step("it ends and leaves nothing behind");
    drop(cluster);
    traces.wait_gone(&run).await;
    figures.print();
}

async fn first_secret(cluster: &Cluster, told: &Told, figures: &mut Figures) {
    step("a request is granted, and a pod has the Secret as files and as a variable");
    let example = |name: &str| {
        let file = manifests::repository().join("deploy/examples").join(name);
        format!("--filename={}", file.display())
    };
    let files = ["namespace.yaml", "request.yaml", "workload.yaml"].map(example);
    let [namespace, request, workload] = files.each_ref().map(String::as_str);
    let _ = kubectl(cluster, "shop", &["apply", namespace], "").await;
    // For some seconds the API server knows too little of a kind that is new to stamp requests, and refuses them.
    wait::until("requests to be taken", wait::WAIT, async || {
        let tried = cluster.run_kubectl("shop", &["apply", "--dry-run=server", request], "").await;
        if tried.success { Ok(()) } else { Err(tried.stderr) }
    })
    .await;
    let start = Instant::now();
    let _ = kubectl(cluster, "shop", &["apply", namespace, request, workload], "").await;
    let ready = ["wait", "--for=condition=Ready", "credentialrequest/orders-db", "--timeout=60s"];
    let _ = kubectl(cluster, orders::NAMESPACE, &ready, "").await;
    orders::wait_ready(cluster).await;
    assert_eq!(orders::file(cluster, "password").await, told.password);
    figures.seconds("request_to_mounted_s", start.elapsed());
    assert_eq!(orders::file(cluster, "username").await, told.username);
    assert_eq!(orders::variable(cluster, "DATABASE_USER").await, told.username);
}

async fn outage(cluster: &Cluster, told: &Told) {
    step("Connect goes away, and the pod can be scheduled anew with its Secret");
    connect::stop(cluster).await;
    let unreachable =
        ["wait", "--for=condition=Reachable=false", "connectserver/default", "--timeout=60s"];
    let _ = kubectl(cluster, "default", &unreachable, "").await;
    orders::reschedule(cluster).await;
    assert_eq!(orders::file(cluster, "password").await, told.password);
    assert_eq!(orders::variable(cluster, "DATABASE_USER").await, told.username);
    let ready = ["wait", "--for=condition=Ready", "credentialrequest/orders-db", "--timeout=0"];
    let _ = kubectl(cluster, orders::NAMESPACE, &ready, "").await;

    connect::restart(cluster).await;
    let reachable = ["wait", "--for=condition=Reachable", "connectserver/default", "--timeout=60s"];
    let _ = kubectl(cluster, "default", &reachable, "").await;
}

async fn change(cluster: &Cluster, figures: &mut Figures) -> String {
    step("a change in 1Password reaches the file in the pod");
    let password = made_up("changed-password");
    let start = Instant::now();
    connect::change_password(cluster, &password).await;
    orders::wait_file(cluster, "password", &password).await;
    figures.seconds("change_to_file_s", start.elapsed());
    password
}

async fn kill_and_upgrade(cluster: &Cluster, release: &Release<'_>, figures: &mut Figures) {
    step(
        "the operator is killed, and then its pod, and the next takes up without writing a Secret",
    );
    let before = (operator::secret_writes(cluster).await, orders_secret(cluster).await);
    assert!(before.0 > 0, "the audit log tells of the Secrets that were written");
    operator::kill(cluster).await;
    operator::wait_taken_up(cluster).await;
    operator::replace(cluster).await;
    operator::wait_taken_up(cluster).await;
    figures.number("pod_idle_cpu_m", operator::idle_millicores(cluster).await);
    figures.mebibytes("pod_idle_rss_mib", operator::resident(cluster).await);

    step("helm upgrade with other values replaces the pod, and no Secret");
    release.upgrade("log.filter=debug,connectServer.pollInterval=4s").await;
    let args = ["get", "pods", "--output=jsonpath={.items[*].spec.containers[0].args}"];
    // The one before goes once the new one stands by.
    wait::until("the pod of before to go", wait::LONGEST, async || {
        let args = kubectl(cluster, operator::NAMESPACE, &args, "").await;
        let is_alone = args.contains("--log=debug") && args.matches("\"run\"").count() == 1;
        if is_alone { Ok(()) } else { Err(args) }
    })
    .await;
    let poll = ["get", "connectserver/default", "--output=jsonpath={.spec.pollInterval}"];
    assert_eq!(kubectl(cluster, "default", &poll, "").await, "4s");
    operator::wait_taken_up(cluster).await;
    let after = (operator::secret_writes(cluster).await, orders_secret(cluster).await);
    assert_eq!(after, before);
}

async fn uninstall_and_return(
    cluster: &Cluster,
    release: &Release<'_>,
    before: &BTreeSet<String>,
    password: &str,
) {
    step(
        "helm uninstall leaves the kinds, the requests, their Secrets, the profiles, the end of the audit stream and the key, and nothing else",
    );
    let secret = orders_secret(cluster).await;
    // What a namespace was granted is written down some time later.
    let profile = ["wait", "--for=create", "accessprofile/shop", "--timeout=60s"];
    let _ = kubectl(cluster, operator::NAMESPACE, &profile, "").await;
    release.uninstall().await;
    let left = everything(cluster).await;
    let left: Vec<_> = left.difference(before).map(String::as_str).collect();
    assert_eq!(
        left,
        [
            // Of the kinds.
            "APIService v1alpha1.portcullis.dev",
            "AccessProfile portcullis/shop",
            "ConfigMap portcullis/kube-root-ca.crt",
            "ConfigMap portcullis/portcullis-audit",
            "ConfigMap shop/kube-root-ca.crt",
            "CredentialRequest shop/orders-db",
            "CustomResourceDefinition accessprofiles.portcullis.dev",
            "CustomResourceDefinition connectservers.portcullis.dev",
            "CustomResourceDefinition credentialpolicies.portcullis.dev",
            "CustomResourceDefinition credentialrequests.portcullis.dev",
            "Deployment shop/orders",
            "Namespace portcullis",
            "Namespace shop",
            "Secret portcullis/portcullis-keys",
            "Secret shop/orders-db",
            "ServiceAccount portcullis/default",
            "ServiceAccount shop/default",
        ]
    );
    assert_eq!(orders_secret(cluster).await, secret);

    step("a new install takes up where the old one ended");
    let writes = operator::secret_writes(cluster).await;
    release.install(&["shop"], &[]).await;
    operator::wait_taken_up(cluster).await;
    assert_eq!(operator::secret_writes(cluster).await, writes);
    assert_eq!(orders_secret(cluster).await, secret);
    assert_eq!(orders::file(cluster, "password").await, password);
    let password = made_up("password-after-return");
    connect::change_password(cluster, &password).await;
    orders::wait_file(cluster, "password", &password).await;
}

async fn named_namespaces(cluster: &Cluster, release: &Release<'_>) {
    step("an install that names namespaces serves these alone");
    release.uninstall().await;
    let _ = kubectl(cluster, "default", &["create", "namespace", "billing"], "").await;
    release.install(&["shop", "billing"], &["--set=namespaces={shop}"]).await;
    // First the one that is to be passed over.
    for namespace in ["billing", "shop"] {
        let request = json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest", "metadata": {"name": "second"},
            "spec": {"purpose": "is served where it may be",
                     "data": [{"key": "password", "ref": "op://services/orders-db/password"}]},
        });
        let _ = kubectl(cluster, namespace, &["apply", "-f", "-"], &request.to_string()).await;
    }
    let ready = ["wait", "--for=condition=Ready", "credentialrequest/second", "--timeout=60s"];
    let _ = kubectl(cluster, "shop", &ready, "").await;
    let status = ["get", "credentialrequest/second", "--output=jsonpath={.status}"];
    assert_eq!(kubectl(cluster, "billing", &status, "").await, "");
    let secrets = kubectl(cluster, "billing", &["get", "secrets", "--output=name"], "").await;
    assert_eq!(secrets, "");
}

/// What identifies the Secret of the request and each write of it.
async fn orders_secret(cluster: &Cluster) -> String {
    let version = "--output=jsonpath={.metadata.uid} {.metadata.resourceVersion}";
    kubectl(cluster, orders::NAMESPACE, &["get", "secret/orders-db", version], "").await
}

/// All objects of all kinds, but those that come and go with others or with time.
async fn everything(cluster: &Cluster) -> BTreeSet<String> {
    const PASSING: [&str; 7] =
        ["Endpoints", "EndpointSlice", "Event", "Lease", "Pod", "ReplicaSet", "IPAddress"];
    let kinds = ["api-resources", "--verbs=list,get", "--output=name"];
    let kinds = kubectl(cluster, "default", &kinds, "").await;
    let kinds = kinds.lines().collect::<Vec<_>>().join(",");
    let columns = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let all = ["get", &kinds, "--all-namespaces", "--no-headers", "--output", columns];
    let all = wait::until("all objects to be listed", wait::LONGEST, async || {
        // A kind may go between the two commands.
        let ran = cluster.run_kubectl("default", &all, "").await;
        if ran.success { Ok(ran.stdout) } else { Err(ran.stderr) }
    })
    .await;
    let object = |line: &str| {
        let [kind, namespace, name] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("not an object: {line}");
        };
        let name =
            if namespace == "<none>" { name.to_owned() } else { format!("{namespace}/{name}") };
        (!PASSING.contains(&kind)).then(|| format!("{kind} {name}"))
    };
    all.lines().filter_map(object).collect()
}
