//! The direction of the modules, read off the `use` lines: who may know whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with the modules of this crate that it may use.
const MAY_USE: [(&str, &[&str]); 24] = [
    ("api", &[]),
    ("reference", &["api"]),
    ("policy", &["api", "behavior", "reference"]),
    ("index", &["api"]),
    ("behavior", &["api"]),
    ("settings", &["behavior", "leader"]),
    ("leader", &["api", "telemetry"]),
    ("telemetry", &["api"]),
    ("kube_io", &["api", "index", "leader", "telemetry"]),
    ("connect", &["api", "policy", "reference"]),
    ("cache", &["connect", "policy", "reference"]),
    ("vaults", &["cache", "connect", "policy", "reference", "telemetry"]),
    (
        "fetch",
        &[
            "api",
            "cache",
            "connect",
            "index",
            "kube_io",
            "policy",
            "reference",
            "telemetry",
            "vaults",
        ],
    ),
    ("render", &["api", "connect", "fetch", "policy", "reference"]),
    ("secret", &["api", "index", "kube_io", "policy", "render"]),
    ("status", &["api", "index", "kube_io", "policy", "telemetry"]),
    (
        "audit",
        &["api", "behavior", "index", "kube_io", "policy", "reference", "secret", "telemetry"],
    ),
    (
        "controller",
        &[
            "api",
            "audit",
            "behavior",
            "cache",
            "connect",
            "fetch",
            "index",
            "kube_io",
            "leader",
            "policy",
            "reference",
            "render",
            "secret",
            "settings",
            "status",
            "telemetry",
            "vaults",
        ],
    ),
    ("plan", &["api", "behavior", "policy", "reference"]),
    ("server", &["controller", "telemetry"]),
    (
        "cli",
        &[
            "api",
            "audit",
            "behavior",
            "connect",
            "controller",
            "index",
            "kube_io",
            "leader",
            "plan",
            "policy",
            "reference",
            "secret",
            "server",
            "settings",
            "telemetry",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
    ("tests", &[]),
];

/// What a pure module must not name: clocks, clients, files, tasks.
const PURE: [&str; 6] = ["api", "behavior", "plan", "policy", "reference", "render"];
const IMPURE: [&str; 9] = [
    "kube::Client",
    "kube::Api",
    "reqwest",
    "tokio",
    "std::fs",
    "std::net",
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// The module of a file, and its text without tests at its end and comments.
fn sources() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files(&src)
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(&src).unwrap();
            let first = inner.components().next().unwrap().as_os_str().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
            let code = lines.collect::<Vec<_>>().join("\n");
            (module, path, code)
        })
        .filter(|(_, path, _)| {
            !path.ends_with("tests.rs") && !path.components().any(|c| c.as_os_str() == "tests")
        })
        .collect()
}

fn used(code: &str) -> BTreeSet<String> {
    code.match_indices("crate::")
        .map(|(at, _)| {
            code[at + "crate::".len()..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{} belongs to no known module", path.display()));
            continue;
        };
        for other in used(&code) {
            if other != module && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_clock_and_no_io() {
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        if PURE.contains(&module.as_str()) {
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|name| code.contains(**name))
                    .map(|name| format!("{} names {name}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_policy_issues_grants() {
    for (module, path, code) in sources() {
        assert!(
            module == "policy" || !code.contains("Grant::issue"),
            "{} issues a grant",
            path.display()
        );
    }
}
