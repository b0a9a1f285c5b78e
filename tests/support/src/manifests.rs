//! The YAML files of the repository, as objects for the API server.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

/// Who applies manifests.
const FIELD_MANAGER: &str = "portcullis-tests";

/// The chart as it is rendered for kubectl.
pub const INSTALL: &str = "deploy/install.yaml";

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate is at tests/support")
        .to_owned()
}

/// The objects in a YAML file, by its path from the root.
///
/// # Errors
/// When the file cannot be read or is not YAML.
pub fn read(file: &str) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(repository().join(file)).context(file.to_owned())?;
    serde_saphyr::from_multiple(&text).context(file.to_owned())
}

/// The YAML files right in a folder, by their paths from the root, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join(folder)).context(folder.to_owned())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            found.push(format!("{folder}/{name}"));
        }
    }
    found.sort();
    Ok(found)
}

/// The CustomResourceDefinitions in `crds/`.
///
/// # Errors
/// When a file cannot be read or is not YAML.
pub fn crds() -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for file in files("crds")? {
        all.extend(read(&file)?);
    }
    Ok(all)
}

/// What gives the operator its rights in `deploy/install.yaml`: its ServiceAccount, its roles and their bindings.
///
/// # Errors
/// When the file cannot be read or is not YAML.
pub fn operator_rights() -> anyhow::Result<Vec<Value>> {
    let mut objects = read(INSTALL)?;
    objects.retain(|object| {
        let of_operator = object["metadata"]["labels"]["app.kubernetes.io/component"] == "operator";
        let group = object["apiVersion"].as_str().unwrap_or_default();
        of_operator && (group.starts_with("rbac.") || object["kind"] == "ServiceAccount")
    });
    Ok(objects)
}

/// The CredentialPolicy in `deploy/install.yaml`.
///
/// # Errors
/// When the file cannot be read, is not YAML or has none.
pub fn baseline() -> anyhow::Result<Value> {
    let mut objects = read(INSTALL)?.into_iter();
    objects.find(|object| object["kind"] == "CredentialPolicy").context("there is no policy")
}

/// The API for objects of this one's kind, in its namespace if it has one.
///
/// # Errors
/// When it has no apiVersion or kind.
pub fn api(client: &Client, object: &Value) -> anyhow::Result<Api<DynamicObject>> {
    let text =
        |field: &str| object[field].as_str().with_context(|| format!("an object has no {field}"));
    let (version, kind) = (text("apiVersion")?, text("kind")?);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

/// Applies an object as `kubectl apply --server-side --validate=strict` would.
///
/// # Errors
/// When the API server refuses it.
pub async fn apply(client: &Client, object: &Value) -> anyhow::Result<DynamicObject> {
    let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
    send(client, object, &params).await
}

/// Asks the API server whether it would take the object, strictly and with all admission.
///
/// # Errors
/// When it would not.
pub async fn dry_run(client: &Client, object: &Value) -> anyhow::Result<DynamicObject> {
    let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict().dry_run();
    send(client, object, &params).await
}

async fn send(
    client: &Client,
    object: &Value,
    params: &PatchParams,
) -> anyhow::Result<DynamicObject> {
    let name = object["metadata"]["name"].as_str().context("an object has no name")?;
    let applied = api(client, object)?.patch(name, params, &Patch::Apply(object)).await;
    applied.with_context(|| format!("cannot apply {} {name}", object["kind"]))
}
