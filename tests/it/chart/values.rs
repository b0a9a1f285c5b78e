//! Each value counts, and nothing else is taken for one.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use portcullis_test_support::{helm_template, manifests};
use serde_json::{Value, json};

use super::described::{described, pointer};
use super::{SERVED, SHAPES, objects, rendered, shape};

const SCHEMA: &str = "charts/portcullis/values.schema.json";

/// One value and what it is changed to: a row of `changes.yaml`.
struct Change {
    path: String,
    to: Value,
    with: Option<Value>,
}

fn changes() -> Vec<Change> {
    let rows = manifests::read("tests/it/chart/changes.yaml").unwrap().remove(0);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| Change {
        path: row["value"].as_str().unwrap().to_owned(),
        to: row["to"].clone(),
        with: row.get("with").cloned(),
    })
    .collect()
}

/// The values that set one value.
fn nested(path: &str, to: Value) -> Value {
    path.rsplit('.').fold(to, |inner, key| json!({key: inner}))
}

#[tokio::test]
async fn every_value_changes_what_is_rendered() {
    let listed: Vec<String> = described().into_iter().map(|value| value.path).collect();
    let changes = changes();
    let tried: Vec<&String> = changes.iter().map(|change| &change.path).collect();
    assert_eq!(
        tried,
        listed.iter().collect::<Vec<_>>(),
        "tests/it/chart/changes.yaml and values.yaml differ"
    );

    let everything = shape("everything");
    let scratch =
        std::env::temp_dir().join(format!("portcullis-values-{}.yaml", std::process::id()));
    let mut before: BTreeMap<String, String> = BTreeMap::new();
    let mut idle = Vec::new();
    for Change { path, to, with } in changes {
        let base = with.map(|with| with.to_string());
        let file = match &base {
            Some(text) => {
                std::fs::write(&scratch, text).unwrap();
                scratch.to_str().unwrap()
            }
            None => &everything,
        };
        let key = base.clone().unwrap_or_default();
        if !before.contains_key(&key) {
            let args = [&SERVED[..], &["--values", file]].concat();
            before.insert(key.clone(), helm_template(&args, "").await.ok());
        }
        let values = nested(&path, to).to_string();
        let args = [&SERVED[..], &["--values", file, "--values", "-"]].concat();
        let after = helm_template(&args, &values).await.ok();
        if objects(&after) == objects(&before[&key]) {
            idle.push(path);
        }
    }
    std::fs::remove_file(&scratch).unwrap();
    assert!(idle.is_empty(), "these values do nothing: {idle:?}");
}

#[tokio::test]
async fn mistakes_are_refused_with_what_is_wrong() {
    let rows = manifests::read("tests/it/chart/mistakes.yaml").unwrap().remove(0);
    let mut taken = Vec::new();
    for row in rows.as_array().unwrap() {
        let (values, says) = (row["values"].to_string(), row["says"].as_str().unwrap());
        let answer = helm_template(&["--values", "-"], &values).await;
        if answer.success || !answer.stderr.contains(says) {
            taken.push(format!("{values}: wanted `{says}`, got `{}`", answer.stderr));
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

#[tokio::test]
async fn the_chart_can_be_part_of_another() {
    let values = json!({"global": {"imageRegistry": "registry.example.com"}}).to_string();
    let _ = helm_template(&["--values", "-"], &values).await.ok();
}

#[test]
fn the_schema_knows_the_values_and_no_others() {
    let schema = manifests::read(SCHEMA).unwrap().remove(0);
    let values = manifests::read("charts/portcullis/values.yaml").unwrap().remove(0);
    let mut known = schema["properties"].clone();
    // Of charts that this one is a part of.
    known.as_object_mut().unwrap().remove("global").unwrap();
    for value in described() {
        let property = value.path.replace('.', "/properties/");
        assert!(
            known.pointer(&format!("/{property}")).is_some(),
            "no {} in the schema",
            value.path
        );
        assert!(values.pointer(&pointer(&value.path)).is_some());
    }
    same_keys(&known, &values, "");
}

/// As long as the schema lists the properties right where they are: a part that is described elsewhere is Kubernetes'.
fn same_keys(properties: &Value, values: &Value, path: &str) {
    let keys =
        |value: &Value| value.as_object().map(|o| o.keys().cloned().collect::<BTreeSet<_>>());
    let (known, there) = (keys(properties).unwrap(), keys(values).unwrap_or_default());
    // A value that is empty has no keys to compare.
    if there.is_empty() {
        return;
    }
    assert_eq!(known, there, "at {path:?}");
    for key in known {
        if let Some(inner) = properties[&key].get("properties") {
            same_keys(inner, &values[&key], &format!("{path}.{key}"));
        }
    }
}

/// Whatever may be said of a Kubernetes object is open; whatever is the chart's own is closed.
#[test]
fn the_schema_is_closed_but_for_what_kubernetes_describes() {
    let schema = manifests::read(SCHEMA).unwrap().remove(0);
    let mut open = Vec::new();
    walk(&schema, "", &mut |path, part| {
        let object = part["type"] == "object";
        if object && part["additionalProperties"].is_null() {
            open.push(path.to_owned());
        }
    });
    let allowed = [
        "/definitions/containers/items",
        "/definitions/kubernetes",
        "/properties/extraObjects/items",
        "/properties/extraVolumes/items",
        "/properties/global",
    ];
    assert_eq!(open, allowed);
}

fn walk(part: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
    if part.is_object() {
        see(path, part);
    }
    for (key, inner) in part.as_object().into_iter().flatten() {
        walk(inner, &format!("{path}/{key}"), see);
    }
}

/// Fields of the custom resource, each of which the chart passes on.
#[test]
fn the_schema_has_every_field_of_a_connect_server() {
    let schema = manifests::read(SCHEMA).unwrap().remove(0);
    let crd = manifests::read("crds/connectservers.yaml").unwrap().remove(0);
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let fields = |schema: &Value, part: &Value| {
        let mut found = BTreeSet::new();
        let mut queue = vec![(String::new(), part.clone())];
        while let Some((path, part)) = queue.pop() {
            let part = match part["$ref"].as_str() {
                Some(reference) => schema.pointer(&reference[1..]).unwrap().clone(),
                None => part,
            };
            for (name, inner) in part["properties"].as_object().into_iter().flatten() {
                found.insert(format!("{path}.{name}"));
                queue.push((format!("{path}.{name}"), inner.clone()));
            }
            if part["items"].is_object() {
                queue.push((format!("{path}[]"), part["items"].clone()));
            }
        }
        found
    };
    let of_chart = fields(&schema, &schema["properties"]["connectServer"]);
    let chart: BTreeSet<_> = of_chart
        .iter()
        .filter(|f| !f.starts_with(".token") && !matches!(f.as_str(), ".create" | ".name"))
        .cloned()
        .collect();
    let of_server = fields(&crd, spec);
    // The chart fills these in itself: `controllerClass` is one of its values, and the reference follows the token.
    let server: BTreeSet<_> = of_server
        .iter()
        .filter(|f| !f.starts_with(".tokenSecretRef") && *f != ".controllerClass")
        .cloned()
        .collect();
    assert_eq!(chart, server);
}

#[tokio::test]
async fn every_flag_of_the_operator_has_a_value() {
    let help =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: BTreeSet<&str> = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|flag| flag.split(|c: char| !c.is_ascii_alphabetic() && c != '-').next().unwrap())
        // `audit-otlp` is there in a build for it alone, which the image is not; `extraArgs` is for such.
        .filter(|flag| !flag.is_empty() && !["help", "audit-otlp"].contains(flag))
        .collect();
    let mut told = BTreeSet::new();
    let mut renders = vec![helm_template(&["--set", "cacheKeys.dir=/keys"], "").await.ok()];
    for name in SHAPES {
        renders.push(rendered(name).await);
    }
    for object in renders.iter().flat_map(|render| objects(render)) {
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        for argument in container["args"].as_array().into_iter().flatten() {
            let argument = argument.as_str().unwrap().trim_start_matches("--");
            told.insert(argument.split('=').next().unwrap().to_owned());
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap();
            if let Some(flag) = name.strip_prefix("PORTCULLIS_") {
                told.insert(flag.to_lowercase().replace('_', "-"));
            }
        }
    }
    let silent: Vec<_> = flags.iter().filter(|flag| !told.contains(**flag)).collect();
    assert!(flags.len() >= 10, "the help lists only {flags:?}");
    assert!(silent.is_empty(), "no value of the chart sets {silent:?}");
}
