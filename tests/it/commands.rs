//! The commands for people: plan, explain, refresh, and tables of policies.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use portcullis::settings::Settings;
use portcullis_test_support::{Bed, manifests, wait};
use serde_json::{Value, json};

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(manifests::repository())
        .env_remove("KUBECONFIG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn tables() -> Vec<String> {
    let folder = manifests::repository().join("docs/cookbook");
    let names =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut tables: Vec<String> = names.filter(|name| name.ends_with(".test.yaml")).collect();
    tables.sort();
    tables
}

#[test]
fn every_policy_of_the_cookbook_decides_as_its_table_says() {
    let tables = tables();
    assert!(tables.len() >= 10, "{tables:?}");
    for table in tables {
        let ran = portcullis(&["policy", "test", "-f", &format!("docs/cookbook/{table}")]);
        assert!(ran.status.success(), "{table}: {}", text(&ran.stderr));
    }
}

#[test]
fn the_policy_of_the_chart_scores_as_its_table_says() {
    let ran = portcullis(&["policy", "test", "-f", "tests/it/decisions/baseline.test.yaml"]);
    let said = text(&ran.stderr);
    assert!(ran.status.success() && said.contains("16 as expected"), "{said}");
}

#[test]
fn the_cookbook_shows_its_policies_as_they_are() {
    let page = fs::read_to_string(manifests::repository().join("docs/cookbook.md")).unwrap();
    let mut shown = BTreeSet::new();
    for table in tables() {
        let name = table.trim_end_matches(".test.yaml").to_owned();
        let file = format!("docs/cookbook/{name}.yaml");
        let policy = fs::read_to_string(manifests::repository().join(&file)).unwrap();
        let spec = &policy[policy.find("spec:").unwrap()..];
        assert!(page.contains(&format!("```yaml\n{spec}```")), "{file} is not shown as it is");
        shown.insert(name);
    }
    assert_eq!(page.matches("its table](").count(), shown.len());
}

#[tokio::test]
async fn the_api_server_takes_every_policy_of_the_cookbook() {
    let client = portcullis_test_support::Cluster::shared().await.admin();
    for table in tables() {
        let file = format!("docs/cookbook/{}", table.replace(".test.yaml", ".yaml"));
        for object in manifests::read(&file).unwrap() {
            manifests::dry_run(&client, &object).await.unwrap_or_else(|e| panic!("{file}: {e:#}"));
        }
    }
}

#[test]
fn a_table_says_what_is_not_as_expected_and_what_cannot_be_read() {
    let folder = std::env::temp_dir().join(format!("portcullis-tables-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let policy = manifests::repository().join("docs/cookbook/no-root-accounts.yaml");
    let broken = "apiVersion: portcullis.dev/v1alpha1\nkind: CredentialPolicy\nmetadata: {name: broken}\n\
                  spec: {rules: [{name: r, when: 'request.nonsense == 1', score: 1, message: m}]}\n";
    fs::write(folder.join("broken.yaml"), broken).unwrap();
    for (table, code, told) in [
        (
            format!(
                "policies: [{}]\ntests: [{{name: wrong, given: {{refs: ['op://v/root/f']}}, expect: {{outcome: Allowed}}}}]",
                policy.display()
            ),
            1,
            "wrong: outcome is Denied and not Allowed",
        ),
        ("policies: [broken.yaml]\ntests: []".to_owned(), 3, "request has no member 'nonsense'"),
        ("policies: [nowhere.yaml]\ntests: []".to_owned(), 3, "nowhere.yaml"),
        (
            format!(
                "policies: [{}]\ntests: [{{name: n, gave: {{}}, expect: {{outcome: Allowed}}}}]",
                policy.display()
            ),
            3,
            "gave",
        ),
        (format!("policies: [{}]\ntests: []", policy.display()), 3, "0 as expected"),
    ] {
        let file = folder.join("table.yaml");
        fs::write(&file, &table).unwrap();
        let ran = portcullis(&["policy", "test", "-f", file.to_str().unwrap()]);
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{table}: {said}");
        assert!(said.contains(told), "{table}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_plan_from_files_says_what_would_be_decided_and_exits_by_it() {
    let request = "deploy/examples/request.yaml";
    let allowed = portcullis(&[
        "plan",
        "-f",
        request,
        "--policies",
        "docs/cookbook/no-root-accounts.yaml",
        "-o",
        "json",
    ]);
    let shown: Value = serde_json::from_slice(&allowed.stdout).unwrap();
    assert_eq!((allowed.status.code(), &shown["outcome"]), (Some(0), &json!("Allowed")));
    assert_eq!(shown["fetches"][0]["item"], "orders-db");
    let denied = portcullis(&[
        "plan",
        "-f",
        "deploy/examples/request-denied.yaml",
        "--policies",
        "docs/cookbook/no-root-accounts.yaml",
    ]);
    let said = text(&denied.stdout);
    assert_eq!(denied.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no-root-accounts/root-account") && !said.contains("would hold"),
        "{said}"
    );
    let staging = portcullis(&[
        "plan",
        "-f",
        request,
        "--policies",
        "docs/cookbook/change-freeze.yaml",
        "--label",
        "portcullis.dev/environment=staging",
    ]);
    assert!(
        text(&staging.stdout).contains("no CredentialPolicy covers"),
        "{}",
        text(&staging.stdout)
    );
    let failed = portcullis(&[
        "plan",
        "-f",
        "deploy/examples/namespace.yaml",
        "--policies",
        "docs/cookbook/change-freeze.yaml",
    ]);
    assert_eq!(failed.status.code(), Some(3), "{}", text(&failed.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_planned_explained_and_refreshed_on_a_cluster() {
    let bed = Bed::new("commands").await;
    let folder = std::env::temp_dir().join(format!("portcullis-commands-{}", bed.class));
    fs::create_dir_all(&folder).unwrap();
    let (kubeconfig, file) = (folder.join("kubeconfig"), folder.join("request.yaml"));
    fs::copy(portcullis_test_support::Cluster::shared().await.kubeconfig_path(), &kubeconfig)
        .unwrap();
    let command = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(arguments)
            .args(["--namespace", &bed.namespace])
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap()
    };
    let request = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest", "metadata": {"name": "orders"},
        "spec": bed.spec(),
    });
    fs::write(&file, request.to_string()).unwrap();
    let planned = command(&["plan", "-f", file.to_str().unwrap()]);
    let said = text(&planned.stdout);
    assert_eq!(planned.status.code(), Some(0), "{said}{}", text(&planned.stderr));
    assert!(said.contains("Secret orders would hold:"), "{said}");
    bed.policy(
        "no",
        json!({"rules": [{"name": "no", "when": "true", "effect": "Deny", "message": "not now"}]}),
    )
    .await;
    let denied = command(&["plan", "-f", file.to_str().unwrap()]);
    assert_eq!(denied.status.code(), Some(2), "{}", text(&denied.stdout));

    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", portcullis::api::Reason::Denied).await;
    let explained = text(&command(&["explain", "orders"]).stdout);
    for part in ["It was denied", "by rule no of policy", "not now", "Ready is False (Denied)"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    bed.delete_policy(&format!("{}-no", bed.class)).await;
    bed.wait_reason("orders", portcullis::api::Reason::Synced).await;
    let before = bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}");
    let refreshed = command(&["refresh", "orders"]);
    assert!(refreshed.status.success(), "{}", text(&refreshed.stderr));
    wait::until("1Password to be asked anew", wait::WAIT, async || {
        let now = bed.connect.requests().route("GET /v1/vaults/{v}/items/{i}");
        if now > before { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let missing = command(&["explain", "nobody"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(
        text(&missing.stderr).contains("no CredentialRequest nobody"),
        "{}",
        text(&missing.stderr)
    );
    fs::remove_dir_all(&folder).unwrap();
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_weighs_what_is_known_of_the_past() {
    let bed = Bed::new("plan-past").await;
    let folder = std::env::temp_dir().join(format!("portcullis-past-{}", bed.class));
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, content: &Value| {
        let file = folder.join(name);
        fs::write(&file, content.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let kubeconfig = folder.join("kubeconfig");
    fs::copy(portcullis_test_support::Cluster::shared().await.kubeconfig_path(), &kubeconfig)
        .unwrap();
    let plan = |arguments: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["plan", "--namespace", &bed.namespace])
            .args(["--operator-namespace", &bed.operator_namespace])
            .args(arguments)
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap();
        (ran.status.code().unwrap(), text(&ran.stdout) + &text(&ran.stderr))
    };
    let request = |name: &str, reference: &str| {
        let mut spec = json!(bed.spec());
        spec["data"] = json!([{"key": "k", "ref": reference}]);
        write(
            name,
            &json!({
                "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialRequest",
                "metadata": {"name": "next"}, "spec": spec,
            }),
        )
    };
    let rules = json!([
        {"name": "known", "when": "history.grants > 0", "effect": "Alert", "message": "it had something before"},
        {"name": "vault", "when": "anomalies.exists(a, a.detector == 'NewVault')", "score": 90, "message": "a new vault"},
    ]);
    bed.policy("past", json!({"rules": rules})).await;
    let access = json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]);
    bed.set_access(access.clone()).await;
    let operator =
        bed.operator_with(Settings { learning: Duration::ZERO, ..Settings::for_tests() }).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let id = bed.item_id("orders-db");
    let (known, new) = (
        request("known.json", &format!("op://services/{id}/password")),
        request("new.json", "op://infra/root/password"),
    );
    // Of the cluster.
    let (code, said) = plan(&["-f", &known]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it had something before") && !said.contains("note:"), "{said}");
    let (code, said) = plan(&["-f", &new]);
    assert!(said.contains("named by title count as new"), "{code} {said}");

    // The same from files, where the learning period is long over.
    let profiles = bed
        .kubectl(&["get", "accessprofiles", "-n", &bed.operator_namespace, "-o", "json"])
        .await
        .ok();
    let mut profiles: Value = serde_json::from_str(&profiles).unwrap();
    for profile in profiles["items"].as_array_mut().unwrap() {
        profile["spec"]["since"] = json!("2020-01-01T00:00:00Z");
    }
    let policy = json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialPolicy", "metadata": {"name": "past"},
        "spec": {"controllerClass": bed.class, "rules": rules},
    });
    let (profiles, policy) = (write("profiles.json", &profiles), write("policy.json", &policy));
    let mut server = bed.server_manifest();
    server["spec"]["access"] = access;
    let server = write("server.json", &server);
    let files = ["--policies", &policy, "--server", &server, "--label", "a=b"];
    let with = [&files[..], &["--profiles", &profiles]].concat();
    let (code, said) = plan(&[&with[..], &["-f", &known]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it had something before"), "{said}");
    let (code, said) = plan(&[&with[..], &["-f", &new, "-o", "json"]].concat());
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &shown["outcome"]), (2, &json!("Denied")), "{said}");
    let anomalies = shown["anomalies"].as_array().unwrap();
    assert!(anomalies.iter().any(|a| a["detector"] == "NewVault"), "{said}");
    let (code, said) = plan(&[&files[..], &["-f", &new]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("what is usual was not weighed"), "{said}");
    fs::remove_dir_all(&folder).unwrap();
    operator.stop().await;
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = portcullis(&["completion", shell]);
        assert!(ran.status.success() && text(&ran.stdout).contains("explain"), "{shell}");
    }
}
