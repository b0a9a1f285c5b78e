//! What the repository keeps that is made from the chart: `make chart` runs these tests to write it.

use std::fs;

use portcullis_test_support::{helm_template, manifests};

use super::described::described;
use super::{SHAPES, rendered};

const DOCUMENT: &str = "docs/install.md";
/// The line in the document after which the values are listed.
const BEGIN: &str = "<!-- From charts/portcullis/values.yaml, by `make chart`. -->\n";

/// Holds a file to what it is made from, or writes it where `PORTCULLIS_RENEW` is set.
#[track_caller]
fn held(file: &str, text: &str) {
    let path = manifests::repository().join(file);
    if std::env::var_os("PORTCULLIS_RENEW").is_some() {
        fs::write(&path, text).expect("the file can be written");
        return;
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let same = stored.lines().zip(text.lines()).take_while(|(stored, made)| stored == made).count();
    assert!(
        stored == text,
        "{file} is not what the chart says from line {} on; run `make chart`",
        same + 1
    );
}

#[tokio::test]
async fn the_golden_renders_are_what_the_chart_renders() {
    for name in SHAPES {
        held(&format!("tests/it/chart/golden/{name}.yaml"), &rendered(name).await);
    }
}

#[tokio::test]
async fn the_manifests_for_kubectl_are_the_chart_rendered() {
    held(manifests::INSTALL, &helm_template(&["--values", "deploy/values.yaml"], "").await.ok());
}

#[test]
fn the_document_lists_every_value_with_its_default() {
    let (mut table, mut section) = (String::new(), String::new());
    for value in described() {
        if value.section != section {
            section.clone_from(&value.section);
            table += &format!("\n### {section}\n\n| Value | Default | |\n|---|---|---|\n");
        }
        table += &format!("| `{}` | `{}` | {} |\n", value.path, value.default, value.text);
    }
    let stored = fs::read_to_string(manifests::repository().join(DOCUMENT)).unwrap();
    let (before, _) = stored.split_once(BEGIN).expect("the document says where the values begin");
    held(DOCUMENT, &format!("{before}{BEGIN}{table}"));
}
