use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use serde_json::{Value, json};
use zeroize::Zeroize as _;

use super::{AUDIT_RECORD, CONTENT_TAG, Content, ITEM_VERSIONS, OWNER_TAG, Proof, Signer};
use crate::api::{CredentialRequest, MANAGED_LABEL, OnRequestDeletion, Source};
use crate::index::{ObjectKey, SecretEntry};
use crate::render::Rendered;

/// What the Secret should be.
pub(super) struct Desired<'r> {
    pub(super) key: ObjectKey,
    pub(super) request: &'r str,
    pub(super) type_: &'static str,
    pub(super) owner_tag: String,
    pub(super) item_versions: String,
    pub(super) content_tag: String,
    pub(super) owner_references: Vec<OwnerReference>,
    pub(super) data: &'r BTreeMap<String, Vec<u8>>,
    pub(super) basis: &'r str,
    pub(super) granted: String,
    pub(super) source: Source,
}

impl<'r> Desired<'r> {
    pub(super) fn new<'g: 'r>(rendered: &'r Rendered<'g>, signer: &Signer, basis: &'r str) -> Self {
        let granted = rendered.grant().secret();
        let type_ = granted.type_.as_str();
        let owner_tag = signer.owner_tag(granted.namespace, granted.name, granted.request_name);
        let item_versions = rendered.item_versions();
        let content_tag = signer.content_tag(Content {
            owner_tag: &owner_tag,
            type_,
            item_versions: &item_versions,
            data: rendered.data(),
        });
        let owner = OwnerReference {
            api_version: CredentialRequest::api_version(&()).into_owned(),
            kind: CredentialRequest::kind(&()).into_owned(),
            name: granted.request_name.to_owned(),
            uid: granted.request_uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        Self {
            key: ObjectKey::new(granted.namespace, granted.name),
            request: granted.request_name,
            type_,
            owner_tag,
            item_versions,
            content_tag,
            owner_references: match granted.on_request_deletion {
                OnRequestDeletion::Delete => vec![owner],
                OnRequestDeletion::Retain => Vec::new(),
            },
            data: rendered.data(),
            basis,
            granted: rendered.grant().facts().request.spec_id(),
            source: rendered.source(),
        }
    }

    fn annotations(&self) -> [(&'static str, &str); 3] {
        [
            (OWNER_TAG, &self.owner_tag),
            (CONTENT_TAG, &self.content_tag),
            (ITEM_VERSIONS, &self.item_versions),
        ]
    }

    /// The Secret as it is created; `record` names the intent.
    pub(super) fn secret(&self, record: Option<&str>) -> Secret {
        let annotations = self.annotations().into_iter().chain(record.map(|r| (AUDIT_RECORD, r)));
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.key.name.to_string()),
                namespace: Some(self.key.namespace.to_string()),
                labels: Some(BTreeMap::from([(MANAGED_LABEL.to_owned(), "true".to_owned())])),
                annotations: Some(annotations.collect()),
                owner_references: Some(self.owner_references.clone()).filter(|o| !o.is_empty()),
                ..ObjectMeta::default()
            },
            type_: Some(self.type_.to_owned()),
            data: Some(self.byte_strings()),
            ..Secret::default()
        }
    }

    fn byte_strings(&self) -> BTreeMap<String, ByteString> {
        self.data.iter().map(|(key, value)| (key.clone(), ByteString(value.clone()))).collect()
    }

    pub(super) fn has_data_of(&self, secret: &Secret) -> bool {
        let existing = secret.data.iter().flatten().map(|(key, value)| (key, &value.0));
        existing.eq(self.data.iter())
    }

    /// All of it as JSON patch operations: the data as a whole, of the metadata only what is ours.
    pub(super) fn operations(&self, secret: &Secret, record: Option<&str>) -> Vec<Value> {
        let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        let mut operations = Vec::new();
        if secret.metadata.labels.is_none() {
            operations.push(add("/metadata/labels", json!({})));
        }
        if secret.metadata.annotations.is_none() {
            operations.push(add("/metadata/annotations", json!({})));
        }
        operations.push(add(&pointer("labels", MANAGED_LABEL), json!("true")));
        for (key, value) in self.annotations() {
            operations.push(add(&pointer("annotations", key), json!(value)));
        }
        let annotations = secret.metadata.annotations.as_ref();
        if let Some(record) = record {
            operations.push(add(&pointer("annotations", AUDIT_RECORD), json!(record)));
        } else if annotations.is_some_and(|a| a.contains_key(AUDIT_RECORD)) {
            // An earlier write's.
            let path = pointer("annotations", AUDIT_RECORD);
            operations.push(json!({"op": "remove", "path": path}));
        }
        operations.push(add("/metadata/ownerReferences", json!(self.owner_references)));
        operations.push(add("/data", json!(self.byte_strings())));
        operations
    }
}

/// The content tag of a Secret that is as we would leave it but for its data: label, owner and tags.
pub(super) fn tag_if_whole(
    secret: &Secret,
    entry: &SecretEntry,
    desired: &Desired<'_>,
    signer: &Signer,
) -> Option<String> {
    let label = secret.metadata.labels.as_ref()?.get(MANAGED_LABEL)?;
    let owners = secret.metadata.owner_references.as_deref().unwrap_or_default();
    let owner_tag = entry.annotations.get(OWNER_TAG)?;
    let content_tag = entry.annotations.get(CONTENT_TAG)?;
    let data: BTreeMap<String, Vec<u8>> =
        secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    let content = Content {
        owner_tag,
        type_: desired.type_,
        item_versions: entry.annotations.get(ITEM_VERSIONS)?,
        data: &data,
    };
    let whole = label == "true"
        && owners == desired.owner_references
        // Also one of an older key: it is replaced with the next content, not for its own sake.
        && signer.check_owner(owner_tag, &desired.key.namespace, &desired.key.name, desired.request)
            == Proof::Valid
        && signer.check_content(content_tag, content) == Proof::Valid;
    for mut value in data.into_values() {
        value.zeroize();
    }
    whole.then(|| content_tag.clone())
}

fn pointer(map: &str, key: &str) -> String {
    format!("/metadata/{map}/{}", key.replace('~', "~0").replace('/', "~1"))
}
