//! What is in the operator's image, and what it says of itself.

use std::path::PathBuf;
use std::process::Command;

use portcullis_test_support::manifests;
use serde_json::{Value, json};

/// The most that a node may have to store of it.
const MOST: u64 = 40 << 20;

/// Where `make e2e` has an image packed.
pub fn archive(name: &str) -> PathBuf {
    let images = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("images");
    let archive = images.join(format!("{name}.tar"));
    assert!(archive.exists(), "there is no image {name}; run `make e2e`, which packs it");
    archive
}

/// A file in the archive.
fn member(path: &str) -> Vec<u8> {
    let tar =
        Command::new("tar").arg("-xOf").arg(archive("portcullis")).arg(path).output().unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    tar.stdout
}

fn blob(digest: &Value) -> Vec<u8> {
    member(&format!("blobs/{}", digest.as_str().unwrap().replace(':', "/")))
}

fn manifest() -> Value {
    let index: Value = serde_json::from_slice(&member("index.json")).unwrap();
    serde_json::from_slice(&blob(&index["manifests"][0]["digest"])).unwrap()
}

/// How much a node downloads of it.
pub fn bytes() -> u64 {
    let manifest = manifest();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum()
}

#[test]
fn the_image_has_the_program_and_certificates_and_nothing_else() {
    let mut files = Vec::new();
    let mut size = 0;
    for layer in manifest()["layers"].as_array().unwrap() {
        let file =
            std::env::temp_dir().join(format!("portcullis-layer-{}.tar.gz", std::process::id()));
        std::fs::write(&file, blob(&layer["digest"])).unwrap();
        let tar = Command::new("tar").arg("-tvzf").arg(&file).output().unwrap();
        std::fs::remove_file(&file).unwrap();
        for line in String::from_utf8(tar.stdout).unwrap().lines() {
            // -rwxr-xr-x 0/0  123 2026-01-01 00:00 name
            let [mode, _, bytes, _, _, name] = line.split_whitespace().collect::<Vec<_>>()[..]
            else {
                panic!("not a file: {line}");
            };
            if !mode.starts_with('d') {
                files.push(format!("{mode} {name}"));
                size += bytes.parse::<u64>().unwrap();
            }
        }
    }
    files.sort();
    assert_eq!(files, ["-rw-r--r-- etc/ssl/certs/ca-certificates.crt", "-rwxr-xr-x portcullis"]);
    assert!(size < MOST, "{size} bytes, unpacked");
}

#[test]
fn the_image_runs_as_nobody_and_says_what_it_is() {
    let config: Value = serde_json::from_slice(&blob(&manifest()["config"]["digest"])).unwrap();
    let config = &config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/portcullis"]));
    let labels = &config["Labels"];
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("title"), "portcullis");
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "Apache-2.0");
    // What Docker takes when it is told of no other.
    let dockerfile = std::fs::read_to_string(manifests::repository().join("Dockerfile")).unwrap();
    let default = format!("\nARG VERSION={}\n", env!("CARGO_PKG_VERSION"));
    assert!(dockerfile.contains(&default), "the Dockerfile has not {default:?}");
}
