//! What the documents say is so.

use std::fs;

use portcullis::api::Reason;
use portcullis::behavior::{Detector, History};
use portcullis::telemetry::Metrics;
use portcullis_test_support::{Bed, helm_template, manifests};
use serde_json::{Value, json};

fn text(file: &str) -> String {
    fs::read_to_string(manifests::repository().join(file)).expect("the document is readable")
}

/// The YAML blocks of a document.
fn blocks(file: &str) -> Vec<String> {
    let text = text(file);
    let after = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    after.map(str::to_owned).collect()
}

/// The first YAML block of the README.
fn first_request() -> Value {
    serde_saphyr::from_str(&blocks("README.md")[0]).expect("it is YAML")
}

#[test]
fn the_readmes_request_is_the_example() {
    let example = manifests::read("deploy/examples/request.yaml").unwrap();
    assert_eq!(example, [first_request()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_request_becomes_a_secret() {
    let bed = Bed::new("readme").await;
    let operator = bed.operator().await;
    let mut request = first_request();
    request["metadata"]["namespace"] = json!(bed.namespace);
    request["spec"]["serverRef"] = json!({"name": bed.server});
    bed.apply_request(request).await.unwrap();
    bed.wait_ready("orders-db").await;
    bed.wait_value("orders-db", "username", &bed.value("orders-db", "username")).await;
    bed.wait_value("orders-db", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}

/// The workload of the README mounts what its request asks for.
#[test]
fn the_examples_workload_uses_the_examples_secret() {
    let workload = manifests::read("deploy/examples/workload.yaml").unwrap().remove(0);
    let request = first_request();
    let (name, spec) = (&request["metadata"]["name"], &workload["spec"]["template"]["spec"]);
    assert_eq!(&spec["volumes"][0]["secret"]["secretName"], name);
    let key = &spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"];
    assert_eq!(&key["name"], name);
    let keys = request["spec"]["data"].as_array().unwrap().iter().map(|entry| &entry["key"]);
    assert!(keys.into_iter().any(|known| known == &key["key"]));
}

/// The values of the README and of the page on installing are the same, and the server that they make lets the
/// README's request read what the server of the examples does.
#[tokio::test]
async fn the_readmes_values_make_the_examples_server() {
    let values = &blocks("README.md")[1];
    assert_eq!(values, &blocks("docs/install.md")[0]);
    let args = ["--values", "-", "--set", "connectServer.token.value=not-a-token"];
    let render = helm_template(&args, values).await.ok();
    let mut objects = serde_saphyr::from_multiple::<Value>(&render).unwrap().into_iter();
    let server = objects.find(|object| object["kind"] == "ConnectServer").unwrap();
    let example = manifests::read("deploy/examples/connect-server.yaml").unwrap().remove(0);
    for field in ["access", "vaults"] {
        assert_eq!(server["spec"][field], example["spec"][field], "{field}");
    }
    assert_eq!(server["metadata"]["name"], example["metadata"]["name"]);
}

fn portcullis(args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_portcullis")).args(args).output().unwrap()
}

#[test]
fn every_command_is_explained() {
    let page = text("docs/commands.md");
    for group in [[].as_slice(), &["policy"], &["audit"]] {
        let help = portcullis(&[group, &["--help"]].concat()).stdout;
        let help = String::from_utf8(help).unwrap();
        let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        let names = commands.lines().filter_map(|line| {
            let name = line.strip_prefix("  ")?.split(' ').next()?;
            (!name.is_empty() && name != "help").then_some(name)
        });
        let mut count = 0;
        for name in names {
            let command = [group, &[name]].concat().join(" ");
            assert!(
                page.contains(&format!("`{command}"))
                    || page.contains(&format!("portcullis {command}")),
                "{command}"
            );
            count += 1;
        }
        assert!(count >= 2, "{help}");
    }
}

#[test]
fn the_table_of_the_page_on_commands_decides_as_it_says() {
    let table = &blocks("docs/commands.md")[0];
    let cookbook = manifests::repository().join("docs/cookbook");
    let file = cookbook.join(format!(".commands-{}.table", std::process::id()));
    fs::write(&file, table).unwrap();
    let ran = portcullis(&["policy", "test", "-f", file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && said.contains("2 as expected"), "{said}");
}

#[test]
fn every_reason_is_explained() {
    let conditions = text("docs/conditions.md");
    let missing: Vec<&str> = Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .filter(|reason| !conditions.contains(&format!("`{reason}`")))
        .collect();
    assert!(missing.is_empty(), "docs/conditions.md does not explain {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let operations = text("docs/operations.md");
    let metrics = Metrics::new().encode();
    let missing: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !operations.contains(*name))
        .collect();
    assert!(missing.is_empty(), "docs/operations.md does not explain {missing:?}");
}

#[test]
fn every_detector_and_every_figure_of_the_past_is_explained() {
    let behavior = text("docs/behavior.md");
    let history = serde_json::to_value(History::default()).unwrap();
    let figures = history.as_object().unwrap().keys().map(String::as_str);
    let missing: Vec<&str> = Detector::ALL
        .iter()
        .map(|detector| detector.as_str())
        .chain(figures)
        .filter(|name| !behavior.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/behavior.md does not explain {missing:?}");
}
