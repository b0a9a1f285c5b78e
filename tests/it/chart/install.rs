//! Helm and kubectl on a cluster that has never heard of Portcullis.

use portcullis_test_support::{Cluster, manifests, wait};
use serde_json::json;

const NAMESPACE: &str = "portcullis";

/// What stays when the operator goes: a request, the master key, and a Secret as applications use it.
const LEFT: [&str; 3] =
    ["credentialrequest/orders-db", "secret/portcullis-keys", "secret/orders-db"];

async fn kubectl(cluster: &Cluster, args: &[&str], input: &str) -> String {
    cluster.run_kubectl(NAMESPACE, args, input).await.ok()
}

async fn leave_something(cluster: &Cluster) {
    let request = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
        "metadata": {"name": "orders-db"},
        "spec": {"purpose": "orders reads", "data": [{"key": "password", "ref": "op://services/orders-db/password"}]},
    });
    // For some seconds the API server knows too little of a kind that is new to stamp requests, and refuses them.
    wait::until("the request to be taken", wait::WAIT, async || {
        let input = request.to_string();
        let tried = cluster.run_kubectl(NAMESPACE, &["apply", "-f", "-"], &input).await;
        if tried.success { Ok(()) } else { Err(tried.stderr) }
    })
    .await;
    for secret in ["portcullis-keys", "orders-db"] {
        let _ = kubectl(cluster, &["create", "secret", "generic", secret], "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_helm_command_installs_all_of_it_and_uninstalling_leaves_what_is_not_helms() {
    let cluster = Cluster::bare().await.unwrap();
    let values = json!({"connectServer": {
        "create": true,
        "hosts": [{"url": "https://connect.internal:8443"}],
        "access": [{"name": "shop", "namespaces": {"names": ["shop"]}, "vaults": [{"name": "services"}]}],
        "token": {"value": "not-a-token"},
    }})
    .to_string();
    let install =
        ["install", "portcullis", "charts/portcullis", "--create-namespace", "--values", "-"];
    let notes = cluster.run_helm(NAMESPACE, &install, &values).await.ok();
    assert!(notes.contains("kubectl get connectserver default"), "{notes}");
    assert!(notes.contains("cannot be pulled"), "{notes}");
    assert!(!notes.contains("helm show crds"), "{notes}");
    let server = ["get", "connectserver", "default", "-o", "jsonpath={.spec.tokenSecretRef.name}"];
    let token = kubectl(&cluster, &server, "").await;
    let value = ["get", "secret", &token, "-o", "go-template={{base64decode .data.token}}"];
    assert_eq!(kubectl(&cluster, &value, "").await, "not-a-token");
    let _ = kubectl(&cluster, &["get", "credentialpolicy", "baseline"], "").await;
    leave_something(&cluster).await;

    // An upgrade changes what the values say, and nothing about kinds: of these it tells.
    let drop_column =
        r#"[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]"#;
    let crd = "crd/connectservers.portcullis.dev";
    let _ = kubectl(&cluster, &["patch", crd, "--type=json", "-p", drop_column], "").await;
    let upgrade = [
        "upgrade",
        "portcullis",
        "charts/portcullis",
        "--reuse-values",
        "--set",
        "log.filter=debug",
    ];
    let notes = cluster.run_helm(NAMESPACE, &upgrade, "").await.ok();
    assert!(notes.contains("other definitions of connectservers.portcullis.dev than"), "{notes}");
    let args = [
        "get",
        "deployment",
        "portcullis",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].args}",
    ];
    assert!(kubectl(&cluster, &args, "").await.contains("--log=debug"));

    let crds = cluster.run_helm(NAMESPACE, &["show", "crds", "charts/portcullis"], "").await.ok();
    let bring_up = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let _ = kubectl(&cluster, &bring_up, &crds).await;
    let notes = cluster.run_helm(NAMESPACE, &upgrade, "").await.ok();
    assert!(!notes.contains("helm show crds"), "{notes}");

    let manifest = cluster.run_helm(NAMESPACE, &["get", "manifest", "portcullis"], "").await.ok();
    let installed: Vec<String> = kubectl(&cluster, &["get", "-o", "name", "-f", "-"], &manifest)
        .await
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(installed.len() > 10, "{installed:?}");
    let _ = cluster.run_helm(NAMESPACE, &["uninstall", "portcullis"], "").await.ok();
    for object in installed {
        let gone = ["get", &object, "--ignore-not-found", "-o", "name"];
        wait::until(&format!("{object} to be gone"), wait::WAIT, async || {
            let found = kubectl(&cluster, &gone, "").await;
            if found.is_empty() { Ok(()) } else { Err(found) }
        })
        .await;
    }
    for object in LEFT {
        let _ = kubectl(&cluster, &["get", object], "").await;
    }

    // And back again, over what was left.
    let notes = cluster.run_helm(NAMESPACE, &install, &values).await.ok();
    assert!(!notes.contains("helm show crds"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_without_a_server_says_how_to_give_it_one() {
    let cluster = Cluster::shared().await;
    let set = "fullnameOverride=portcullis-notes,baseline.create=false,controllerClass=team";
    let install = ["install", "notes", "charts/portcullis", "--dry-run=server", "--set", set];
    let notes = cluster.run_helm("default", &install, "").await.ok();
    assert!(notes.contains("create secret generic connect-token"), "{notes}");
    assert!(notes.contains("portcullis.dev/allowed-hosts="), "{notes}");
    assert!(notes.contains("spec.controllerClass: team"), "{notes}");
    assert!(notes.contains("baseline.create is off"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_commands_install_the_manifests_with_kubectl() {
    let cluster = Cluster::bare().await.unwrap();
    let document =
        std::fs::read_to_string(manifests::repository().join("docs/install.md")).unwrap();
    let section =
        document.split("## With kubectl\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let commands: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("    kubectl ")).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    let run = async |command: &str| {
        let _ = kubectl(&cluster, &command.split(' ').collect::<Vec<_>>(), "").await;
    };
    for command in &commands[..3] {
        run(command).await;
    }
    let _ = kubectl(&cluster, &["get", "-f", manifests::INSTALL], "").await;
    // A second time changes nothing.
    let again = kubectl(&cluster, &["apply", "-f", manifests::INSTALL], "").await;
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    run(commands[3]).await;
    let image = ["-n", NAMESPACE, "get", "deployment/portcullis", "-o"];
    let image = [&image[..], &["jsonpath={.spec.template.spec.containers[*].image}"]].concat();
    assert_eq!(kubectl(&cluster, &image, "").await, "registry.example.com/portcullis:0.1.0");
    // An upgrade by the same commands leaves the image where it is.
    for command in &commands {
        run(command).await;
    }
    assert_eq!(kubectl(&cluster, &image, "").await, "registry.example.com/portcullis:0.1.0");

    // Kubernetes' own roles have taken in what people may do.
    for (role, user) in [("edit", "writer"), ("view", "reader")] {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let _ = kubectl(&cluster, &["create", "rolebinding", &user[7..], &role, &user], "").await;
    }
    for (user, may) in [("writer", ["yes", "yes", "no"]), ("reader", ["no", "yes", "no"])] {
        let asked = ["create credentialrequests", "list credentialrequests", "list connectservers"];
        wait::until(&format!("the rights of the {user}"), wait::WAIT, async || {
            let mut answers = Vec::new();
            for question in asked {
                let args = format!("auth can-i {question} --as {user}");
                let args: Vec<&str> = args.split(' ').collect();
                // It says no with its exit code, too.
                let answer = cluster.run_kubectl(NAMESPACE, &args, "").await.stdout;
                answers.push(answer.trim().to_owned());
            }
            if answers == may { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
    }
}
