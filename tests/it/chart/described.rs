//! The values as the comments of `values.yaml` describe them.

use std::fs;

use portcullis_test_support::manifests;
use serde_json::Value;

const VALUES: &str = "charts/portcullis/values.yaml";

/// A value of the chart: a key with a comment right above it.
pub(super) struct Described {
    /// The heading that it is under.
    pub(super) section: String,
    /// Its keys, joined by dots.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) default: Value,
}

/// The values in their order.
pub(super) fn described() -> Vec<Described> {
    let file = fs::read_to_string(manifests::repository().join(VALUES)).unwrap();
    let defaults: Value = serde_saphyr::from_str(&file).unwrap();
    let (mut section, mut text, mut parents) = (String::new(), Vec::new(), Vec::new());
    let mut found: Vec<Described> = Vec::new();
    for line in file.lines() {
        let content = line.trim_start();
        if let Some(heading) = content.strip_prefix("## ") {
            heading.clone_into(&mut section);
        } else if let Some(comment) = content.strip_prefix("# ") {
            text.push(comment);
        } else if content.is_empty() {
            text.clear();
        } else if let Some((key, _)) = content.split_once(':') {
            // Two spaces a level.
            parents.truncate((line.len() - content.len()) / 2);
            parents.push(key);
            let path = parents.join(".");
            // What lies below a described value is a part of it.
            let part =
                found.last().is_some_and(|last| path.starts_with(&format!("{}.", last.path)));
            let default =
                defaults.pointer(&pointer(&path)).unwrap_or_else(|| panic!("no {path}")).clone();
            if !text.is_empty() {
                found.push(Described {
                    section: section.clone(),
                    path,
                    text: text.join(" "),
                    default,
                });
            } else if !part {
                let group = default.as_object().is_some_and(|group| !group.is_empty());
                assert!(group, "{path} has no comment in {VALUES}");
            }
            text.clear();
        }
    }
    found
}

/// A path as JSON has it.
pub(super) fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}
