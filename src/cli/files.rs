//! Manifests in files, for the commands that work without a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{AccessProfile, ConnectServer, CredentialPolicy, CredentialRequest};
use crate::policy::{PolicySet, PolicyState};

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0}: it is not YAML: {1}")]
    NotYaml(PathBuf, String),
    #[error("{file}: it holds no {kind} of portcullis.dev/v1alpha1")]
    None { file: PathBuf, kind: &'static str },
    #[error("{file}: {kind} {name}: {error}")]
    NotSo { file: PathBuf, kind: &'static str, name: String, error: String },
    #[error("{file}: rule {rule} of CredentialPolicy {policy} does not compile{place}: {error}")]
    Rule { file: PathBuf, policy: String, rule: String, place: String, error: String },
}

fn text(file: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(file).map_err(|error| FileError::Unreadable(file.to_owned(), error))
}

/// The objects of a file: its documents, or what is in the lists that they are, as kubectl prints them.
fn objects(file: &Path) -> Result<Vec<Value>, FileError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text(file)?)
        .map_err(|error| FileError::NotYaml(file.to_owned(), error.to_string()))?;
    let objects = documents.into_iter().flat_map(|mut document| {
        let is_list =
            document.get("kind").and_then(Value::as_str).is_some_and(|k| k.ends_with("List"));
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => items,
            _ => vec![document],
        }
    });
    Ok(objects.collect())
}

/// A file as a whole.
pub(super) fn whole<T: DeserializeOwned>(file: &Path) -> Result<T, FileError> {
    serde_saphyr::from_str(&text(file)?)
        .map_err(|error| FileError::NotYaml(file.to_owned(), error.to_string()))
}

fn of_kind<T: DeserializeOwned>(file: &Path, kind: &'static str) -> Result<Vec<T>, FileError> {
    let found = objects(file)?.into_iter().filter(|value| {
        value.get("kind").is_some_and(|k| k == kind)
            && value.get("apiVersion").is_some_and(|v| v == "portcullis.dev/v1alpha1")
    });
    let read = found.map(|value| {
        let name =
            value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let not_so = |error: serde_json::Error| FileError::NotSo {
            file: file.to_owned(),
            kind,
            name,
            error: error.to_string(),
        };
        serde_json::from_value(value).map_err(not_so)
    });
    let read: Vec<T> = read.collect::<Result<_, _>>()?;
    if read.is_empty() { Err(FileError::None { file: file.to_owned(), kind }) } else { Ok(read) }
}

/// The requests of a file.
pub(super) fn requests(file: &Path) -> Result<Vec<CredentialRequest>, FileError> {
    of_kind(file, "CredentialRequest")
}

/// The first ConnectServer of a file.
pub(super) fn server(file: &Path) -> Result<ConnectServer, FileError> {
    let servers: Vec<ConnectServer> = of_kind(file, "ConnectServer")?;
    let none = || FileError::None { file: file.to_owned(), kind: "ConnectServer" };
    servers.into_iter().next().ok_or_else(none)
}

/// The AccessProfiles of files.
pub(super) fn profiles<'f>(
    files: impl Iterator<Item = &'f Path>,
) -> Result<Vec<AccessProfile>, FileError> {
    let mut profiles = Vec::new();
    for file in files {
        profiles.extend(of_kind::<AccessProfile>(file, "AccessProfile")?);
    }
    Ok(profiles)
}

/// Which policies are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class<'c> {
    /// All.
    Any,
    /// Those that an operator of this class reads.
    Of(&'c str),
}

/// The policies of files. One that does not compile is an error here: it would stop every grant.
pub(super) fn policies<'f>(
    files: impl Iterator<Item = &'f Path>,
    class: Class<'_>,
) -> Result<PolicySet, FileError> {
    let is_meant = |policy: &CredentialPolicy| match class {
        Class::Any => true,
        Class::Of(class) => policy.spec.controller_class.as_deref().unwrap_or_default() == class,
    };
    let mut states = Vec::new();
    for file in files {
        let all = of_kind::<CredentialPolicy>(file, "CredentialPolicy")?;
        for policy in all.into_iter().filter(is_meant) {
            let name = policy.metadata.name.unwrap_or_default();
            let state = PolicyState::compile(&name, &policy.spec);
            if let PolicyState::Invalid { name, rule, error, column, .. } = state {
                return Err(FileError::Rule {
                    file: file.to_owned(),
                    policy: name,
                    rule,
                    place: column.map(|c| format!(" at column {c}")).unwrap_or_default(),
                    error: error.to_string(),
                });
            }
            states.push(Arc::new(state));
        }
    }
    Ok(PolicySet::new(states))
}
