//! The CRDs in `crds/` are what the types in `src/api` say, and every part of them is bounded.

use std::process::Command;

use portcullis::api;
use portcullis_test_support::manifests;
use serde_json::Value;

#[test]
fn the_files_are_what_the_types_say() {
    let mut expected = Vec::new();
    for crd in api::crds() {
        let names = &crd.spec.names;
        let file = format!("crds/{}.yaml", names.plural);
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["crd", "--kind", &names.kind])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let stored =
            std::fs::read_to_string(manifests::repository().join(&file)).unwrap_or_default();
        assert!(printed == stored, "{file} is not what src/api says; run `make crds`");

        let parsed = manifests::read(&file).unwrap();
        assert_eq!(parsed, [serde_json::to_value(&crd).unwrap()], "{file} reads as something else");
        expected.push(file);
    }
    expected.sort();
    assert_eq!(manifests::files("crds").unwrap(), expected, "crds/ holds other files");
}

#[test]
fn every_string_list_and_map_is_bounded() {
    let mut faults = Vec::new();
    for crd in manifests::crds().unwrap() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let schema = &version["schema"]["openAPIV3Schema"];
            check(&schema["properties"]["spec"], &format!("{kind}.spec"), &mut faults);
            if let Some(status) = schema["properties"].get("status") {
                check(status, &format!("{kind}.status"), &mut faults);
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check(schema: &Value, path: &str, faults: &mut Vec<String>) {
    let mut fault = |what: &str| faults.push(format!("{path}: {what}"));
    if !schema["default"].is_null() {
        fault("has a default, which a later version cannot take back");
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true
        || schema["x-kubernetes-int-or-string"] == true
    {
        fault("has no structure");
    }
    match schema["type"].as_str() {
        Some("string") => {
            let bounds = ["maxLength", "enum", "format", "pattern"];
            if bounds.iter().all(|bound| schema[bound].is_null()) {
                fault("a string without maxLength, enum, format or pattern");
            }
        }
        Some("array") => {
            if schema["maxItems"].is_null() {
                fault("a list without maxItems");
            }
            // Conditions are Kubernetes' own type, and only the operator writes them.
            if !path.ends_with(".status.conditions") {
                check(&schema["items"], &format!("{path}[]"), faults);
            }
        }
        Some("object") => {
            if !schema["additionalProperties"].is_null() {
                if schema["maxProperties"].is_null() {
                    fault("a map without maxProperties");
                }
                check(&schema["additionalProperties"], &format!("{path}{{}}"), faults);
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                check(property, &format!("{path}.{name}"), faults);
            }
        }
        Some("integer") => {
            if schema["format"].as_str().is_some_and(|format| format.starts_with("uint")) {
                fault("an unsigned integer, which the API server does not know");
            }
        }
        Some("boolean") => {}
        other => fault(&format!("the type {other:?}")),
    }
}
