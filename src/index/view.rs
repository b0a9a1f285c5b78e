use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::Versioned;
use crate::api::{
    CredentialRequest, CredentialRequestSpec, CredentialRequestStatus, REFRESH_ANNOTATION,
    REQUESTED_BY_ANNOTATION,
};

/// A custom resource as the watch delivers it. Spec and status stay raw until they are needed: one that
/// cannot be read must not stop the others.
#[derive(Deserialize, Serialize)]
#[serde(bound = "")]
pub struct Raw<K> {
    /// The metadata without managed fields, which would be the most of it.
    #[serde(deserialize_with = "without_managed_fields")]
    pub metadata: ObjectMeta,
    /// The raw spec.
    #[serde(default)]
    pub spec: Value,
    /// The raw status.
    #[serde(default)]
    pub status: Value,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

/// A CredentialRequest as the watch delivers it.
pub type RequestView = Raw<CredentialRequest>;

impl<K> Clone for Raw<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            spec: self.spec.clone(),
            status: self.status.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Raw<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

fn without_managed_fields<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    metadata.managed_fields = None;
    Ok(metadata)
}

impl<K: Resource<DynamicType = ()>> Resource for Raw<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(dt: &()) -> Cow<'_, str> {
        K::kind(dt)
    }
    fn group(dt: &()) -> Cow<'_, str> {
        K::group(dt)
    }
    fn version(dt: &()) -> Cow<'_, str> {
        K::version(dt)
    }
    fn plural(dt: &()) -> Cow<'_, str> {
        K::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What is kept of a request: about as many bytes as its spec and status have as text.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestEntry {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether the request is being deleted.
    pub is_deleting: bool,
    /// The name of its server.
    pub server: Arc<str>,
    /// The name of its Secret.
    pub secret_name: Arc<str>,
    /// What somebody wrote into the annotation that asks for 1Password to be asked anew, if it is short enough.
    pub refresh_requested: Option<Box<str>>,
    /// Who wrote the spec, as the annotation says.
    pub requested_by: Option<Box<str>>,
    /// Since when its Secret is not confirmed, by its status.
    pub stale_since: Option<SystemTime>,
    /// How many records its history has.
    pub history_len: usize,
    spec: Box<str>,
    status: Option<Box<str>>,
}

impl RequestEntry {
    pub(super) fn from_view(view: &RequestView) -> Option<Self> {
        let metadata = &view.metadata;
        let name = metadata.name.as_deref()?;
        let text_at = |pointer: &str| view.spec.pointer(pointer).and_then(Value::as_str);
        let mut status = CredentialRequestStatus::deserialize(&view.status).ok();
        let stale_since = status.as_ref().and_then(|s| s.sync.as_ref()?.stale_since.as_ref());
        let stale_since = stale_since.map(|time| SystemTime::from(time.0));
        let history_len = status.as_ref().map_or(0, |s| s.history.len());
        if let Some(status) = &mut status {
            status.history = Vec::new();
        }
        Some(Self {
            uid: metadata.uid.as_deref()?.into(),
            resource_version: resource_version(metadata),
            generation: metadata.generation.unwrap_or(0),
            is_deleting: metadata.deletion_timestamp.is_some(),
            server: text_at("/serverRef/name").unwrap_or("default").into(),
            secret_name: text_at("/target/name").unwrap_or(name).into(),
            refresh_requested: refresh_requested(metadata).map(Into::into),
            requested_by: requested_by(metadata).map(Into::into),
            stale_since,
            history_len,
            spec: view.spec.to_string().into(),
            status: status.and_then(|s| serde_json::to_string(&s).ok()).map(Into::into),
        })
    }

    /// The spec.
    ///
    /// # Errors
    /// When it is not one that this version of the operator knows. The text says where, and quotes nothing.
    pub fn spec(&self) -> Result<CredentialRequestSpec, String> {
        serde_json::from_str(&self.spec)
            .map_err(|e| format!("at line {}, column {} of its JSON", e.line(), e.column()))
    }

    /// The status without its history, if there is one that can be read.
    #[must_use]
    pub fn status(&self) -> Option<CredentialRequestStatus> {
        self.status.as_deref().and_then(|text| serde_json::from_str(text).ok())
    }
}

/// The value of the annotation that asks for a refresh; what is too long to be answered in status is none.
#[must_use]
pub fn refresh_requested(metadata: &ObjectMeta) -> Option<&str> {
    let value = metadata.annotations.as_ref()?.get(REFRESH_ANNOTATION)?;
    (!value.is_empty() && value.len() <= 64).then_some(value.as_str())
}

/// The value of the annotation that says who wrote the spec; what is too long to be a user's name is none.
fn requested_by(metadata: &ObjectMeta) -> Option<&str> {
    let value = metadata.annotations.as_ref()?.get(REQUESTED_BY_ANNOTATION)?;
    (!value.is_empty() && value.len() <= 253).then_some(value.as_str())
}

impl Versioned for RequestEntry {
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

/// What is kept of a Secret: its identity and all of its annotations that start with our group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// Our annotations.
    pub annotations: BTreeMap<String, String>,
}

impl SecretEntry {
    /// Reads the metadata of a Secret; one without a UID is none.
    #[must_use]
    pub fn from_meta(metadata: &ObjectMeta) -> Option<Self> {
        let ours = metadata.annotations.iter().flatten();
        Some(Self {
            uid: metadata.uid.as_deref()?.into(),
            resource_version: resource_version(metadata),
            annotations: ours
                .filter(|(key, _)| key.starts_with("portcullis.dev/"))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        })
    }
}

impl Versioned for SecretEntry {
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

/// What is kept of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct NamespaceEntry {
    resource_version: u64,
    /// When it was created.
    pub created: Option<SystemTime>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl NamespaceEntry {
    pub(super) fn from_meta(metadata: &ObjectMeta) -> Option<Self> {
        metadata.name.as_ref()?;
        Some(Self {
            resource_version: resource_version(metadata),
            created: metadata.creation_timestamp.as_ref().map(|time| SystemTime::from(time.0)),
            labels: metadata.labels.clone().unwrap_or_default(),
        })
    }
}

impl Versioned for NamespaceEntry {
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

/// A resource version as the number that it is in every supported API server, so that versions of one
/// kind can be compared (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
#[must_use]
pub fn resource_version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}
