use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use serde_json::{Value, json};
use zeroize::Zeroize as _;

use super::{
    CONTENT_TAG, Content, ITEM_VERSIONS, OWNER_TAG, Receipt, SecretState, Signer, state_of,
};
use crate::api::{CredentialRequest, MANAGED_LABEL, OnRequestDeletion, Reason};
use crate::index::{Index, ObjectKey, SecretEntry};
use crate::kube_io::{ApiError, Expected, KubeIo};
use crate::policy::{Standing, Withdrawn};
use crate::render::Rendered;

/// Writes Secrets. Every method that sends a write demands that the grant stands.
#[derive(Clone)]
pub struct SecretWriter {
    io: KubeIo,
    index: Index,
}

/// What a write changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretChange {
    /// Nothing: the Secret held it all.
    None,
    /// There was none.
    Created,
    /// The content moved on.
    Updated,
    /// Somebody had changed it.
    Repaired,
    /// Nothing, but no record of ours said so: a write whose record was lost, or an earlier request's.
    Confirmed,
    /// The tags were made anew with the present key; the data is as it was.
    Retagged,
}

impl SecretChange {
    /// The change as it stands in metrics and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Repaired => "repaired",
            Self::Confirmed => "confirmed",
            Self::Retagged => "retagged",
        }
    }
}

/// The Secret after a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// What changed.
    pub change: SecretChange,
    /// What the receipt is to say.
    pub receipt: Receipt,
}

/// Why the Secret was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A Secret of that name is not this request's.
    #[error(
        "Secret {0} exists and was not written for this request; choose another spec.target.name, or remove it: \
         kubectl delete secret --namespace {ns} {name}", ns = .0.namespace, name = .0.name
    )]
    NotOwned(ObjectKey),
    /// The Secret is tagged with a key that is gone, and holds something else than 1Password.
    #[error(
        "Secret {0} was tagged with a key that this operator does not have, and holds something else than \
         1Password does; put the key back into the Secret portcullis-keys, or have the Secret written anew: \
         kubectl delete secret --namespace {ns} {name}", ns = .0.namespace, name = .0.name
    )]
    KeyLost(ObjectKey),
    /// The Secret has a type that cannot be changed.
    #[error(
        "Secret {0} has another type, and types cannot change; have it written anew: \
         kubectl delete secret --namespace {ns} {name}", ns = .0.namespace, name = .0.name
    )]
    OtherType(ObjectKey),
    /// Somebody made the Secret immutable.
    #[error(
        "Secret {0} was made immutable, and its data cannot change; have it written anew: \
         kubectl delete secret --namespace {ns} {name}", ns = .0.namespace, name = .0.name
    )]
    Immutable(ObjectKey),
    /// The grant does not stand any more.
    #[error("the decision changed before Secret {0} was written; nothing was written")]
    Withdrawn(ObjectKey),
    /// The API server did not do it.
    #[error("Secret {0}: {1}")]
    Api(ObjectKey, ApiError),
}

impl WriteError {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotOwned(_) | Self::KeyLost(_) | Self::OtherType(_) => Reason::SecretNotOwned,
            Self::Withdrawn(_) => Reason::GrantWithdrawn,
            Self::Immutable(_) | Self::Api(..) => Reason::WriteFailed,
        }
    }
}

/// What the Secret should be.
struct Desired<'r> {
    key: ObjectKey,
    request: &'r str,
    type_: &'static str,
    owner_tag: String,
    item_versions: String,
    content_tag: String,
    owner_references: Vec<OwnerReference>,
    data: &'r BTreeMap<String, Vec<u8>>,
    basis: &'r str,
}

impl SecretWriter {
    /// A writer that takes what it wrote into the index.
    #[must_use]
    pub fn new(io: KubeIo, index: Index) -> Self {
        Self { io, index }
    }

    /// Brings the grant's Secret to what was rendered. `confirm` is asked just before each write whether
    /// the grant still stands; `basis` goes into the receipt.
    ///
    /// # Errors
    /// When the Secret is not this request's, the grant was withdrawn, or the API server does not do it.
    /// Nothing was written then.
    pub async fn write<'g>(
        &self,
        rendered: &Rendered<'g>,
        signer: &Signer,
        receipt: Option<&Receipt>,
        basis: &str,
        confirm: impl Fn() -> Result<Standing<'g>, Withdrawn>,
    ) -> Result<Written, WriteError> {
        let desired = Desired::new(rendered, signer, basis);
        let api = |error| WriteError::Api(desired.key.clone(), error);
        let standing = || confirm().map_err(|Withdrawn| WriteError::Withdrawn(desired.key.clone()));
        let mut existing = match self.index.secret(&desired.key) {
            Some(_) => self.io.secret(&desired.key).await.map_err(api)?,
            None => None,
        };
        if existing.is_none() {
            match self.create(&standing()?, &desired).await {
                // What exists without our label is in no watch of ours: look whose it is.
                Err(ApiError::AlreadyExists) => {
                    existing = self.io.secret(&desired.key).await.map_err(api)?;
                }
                Err(error) => return Err(api(error)),
                Ok(written) => return Ok(written),
            }
        }
        let Some(mut secret) = existing else {
            return Err(api(ApiError::Conflict));
        };
        let result = self
            .update(&standing, &desired, signer, receipt, &secret)
            .await;
        wipe(&mut secret);
        result
    }

    /// Whether a Secret holds just what we wrote last, whoever touched it since.
    pub async fn holds(&self, key: &ObjectKey, signer: &Signer, receipt: &Receipt) -> bool {
        let Ok(Some(mut secret)) = self.io.secret(key).await else {
            return false;
        };
        let entry = SecretEntry::from_meta(&secret.metadata);
        let data: BTreeMap<String, Vec<u8>> = secret
            .data
            .take()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name, value.0))
            .collect();
        let holds = entry.as_ref().is_some_and(|entry| {
            let content = entry
                .annotations
                .get(OWNER_TAG)
                .zip(entry.annotations.get(ITEM_VERSIONS));
            content.is_some_and(|(owner_tag, item_versions)| {
                let type_ = secret.type_.as_deref().unwrap_or("Opaque");
                let content = Content {
                    owner_tag,
                    type_,
                    item_versions,
                    data: &data,
                };
                signer.check_content(&receipt.content_tag, content) == super::Proof::Valid
            })
        });
        for mut value in data.into_values() {
            value.zeroize();
        }
        holds
    }

    /// Deletes a Secret that was written just now under a grant that turned out to be withdrawn. Any
    /// later version of it is left alone.
    ///
    /// # Errors
    /// When the API server does not do it.
    pub async fn undo(&self, key: &ObjectKey, written: &Written) -> Result<(), ApiError> {
        let expected = Expected {
            uid: written.receipt.secret_uid.clone(),
            resource_version: written.receipt.resource_version.to_string(),
        };
        self.io.delete_secret(key, &expected).await
    }

    async fn create(
        &self,
        _standing: &Standing<'_>,
        desired: &Desired<'_>,
    ) -> Result<Written, ApiError> {
        let mut secret = desired.secret();
        let created = self.io.create_secret(&desired.key, &secret).await;
        wipe(&mut secret);
        self.written(
            desired,
            SecretChange::Created,
            desired.content_tag.clone(),
            created?,
        )
    }

    async fn update<'g>(
        &self,
        standing: &impl Fn() -> Result<Standing<'g>, WriteError>,
        desired: &Desired<'_>,
        signer: &Signer,
        receipt: Option<&Receipt>,
        secret: &Secret,
    ) -> Result<Written, WriteError> {
        let api = |error| WriteError::Api(desired.key.clone(), error);
        let entry =
            SecretEntry::from_meta(&secret.metadata).ok_or_else(|| api(ApiError::Conflict))?;
        let same_data = desired.has_data_of(secret);
        let state = state_of(Some(&entry), &desired.key, desired.request, signer, receipt);
        match state {
            SecretState::Intact | SecretState::Touched => {}
            SecretState::Unproven if same_data => {}
            SecretState::Unproven => return Err(WriteError::KeyLost(desired.key.clone())),
            SecretState::Foreign | SecretState::Absent => {
                return Err(WriteError::NotOwned(desired.key.clone()));
            }
        }
        if secret.immutable == Some(true) && !same_data {
            return Err(WriteError::Immutable(desired.key.clone()));
        }
        if secret.type_.as_deref().unwrap_or("Opaque") != desired.type_ {
            return Err(WriteError::OtherType(desired.key.clone()));
        }
        let tagged = tag_if_whole(secret, &entry, desired, signer);
        let change = match (&tagged, same_data) {
            (Some(tag), true) => {
                let known = receipt.is_some_and(|r| r.content_tag == *tag);
                let change = if known {
                    SecretChange::None
                } else {
                    SecretChange::Confirmed
                };
                return self
                    .written(desired, change, tag.clone(), secret.clone())
                    .map_err(api);
            }
            // What we wrote last is what we would write now: somebody put an older content back.
            (Some(_), false) if receipt.is_some_and(|r| r.content_tag == desired.content_tag) => {
                SecretChange::Repaired
            }
            (Some(_), false) => SecretChange::Updated,
            (None, true) if state == SecretState::Unproven => SecretChange::Retagged,
            // The request changed, which may be all that there is to it.
            (None, _) if receipt.is_some_and(|r| r.basis != desired.basis) => SecretChange::Updated,
            (None, _) => SecretChange::Repaired,
        };
        let _standing = standing()?;
        let expected = Expected {
            uid: entry.uid.to_string(),
            resource_version: entry.resource_version.to_string(),
        };
        let patched = self
            .io
            .patch_secret(&desired.key, &expected, desired.operations(secret))
            .await
            .map_err(api)?;
        self.written(desired, change, desired.content_tag.clone(), patched)
            .map_err(api)
    }

    fn written(
        &self,
        desired: &Desired<'_>,
        change: SecretChange,
        content_tag: String,
        mut secret: Secret,
    ) -> Result<Written, ApiError> {
        wipe(&mut secret);
        let entry = SecretEntry::from_meta(&secret.metadata).ok_or(ApiError::Unreachable)?;
        let receipt = Receipt {
            secret_uid: entry.uid.to_string(),
            resource_version: entry.resource_version,
            content_tag,
            basis: desired.basis.to_owned(),
        };
        self.index.observe_secret(&desired.key, entry);
        Ok(Written { change, receipt })
    }
}

impl<'r> Desired<'r> {
    fn new<'g: 'r>(rendered: &'r Rendered<'g>, signer: &Signer, basis: &'r str) -> Self {
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
        }
    }

    fn annotations(&self) -> [(&'static str, &str); 3] {
        [
            (OWNER_TAG, &self.owner_tag),
            (CONTENT_TAG, &self.content_tag),
            (ITEM_VERSIONS, &self.item_versions),
        ]
    }

    fn secret(&self) -> Secret {
        let annotations = self
            .annotations()
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.key.name.to_string()),
                namespace: Some(self.key.namespace.to_string()),
                labels: Some(BTreeMap::from([(
                    MANAGED_LABEL.to_owned(),
                    "true".to_owned(),
                )])),
                annotations: Some(BTreeMap::from(annotations)),
                owner_references: Some(self.owner_references.clone()).filter(|o| !o.is_empty()),
                ..ObjectMeta::default()
            },
            type_: Some(self.type_.to_owned()),
            data: Some(self.byte_strings()),
            ..Secret::default()
        }
    }

    fn byte_strings(&self) -> BTreeMap<String, ByteString> {
        self.data
            .iter()
            .map(|(key, value)| (key.clone(), ByteString(value.clone())))
            .collect()
    }

    fn has_data_of(&self, secret: &Secret) -> bool {
        let existing = secret
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key, &value.0));
        existing.eq(self.data.iter())
    }

    /// All of it as JSON patch operations: the data as a whole, of the metadata only what is ours.
    fn operations(&self, secret: &Secret) -> Vec<Value> {
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
        operations.push(add(
            "/metadata/ownerReferences",
            json!(self.owner_references),
        ));
        operations.push(add("/data", json!(self.byte_strings())));
        operations
    }
}

/// The content tag of a Secret that is as we would leave it but for its data: label, owner and tags.
fn tag_if_whole(
    secret: &Secret,
    entry: &SecretEntry,
    desired: &Desired<'_>,
    signer: &Signer,
) -> Option<String> {
    let label = secret.metadata.labels.as_ref()?.get(MANAGED_LABEL)?;
    let owners = secret
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    let owner_tag = entry.annotations.get(OWNER_TAG)?;
    let content_tag = entry.annotations.get(CONTENT_TAG)?;
    let data: BTreeMap<String, Vec<u8>> = secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .collect();
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
            == super::Proof::Valid
        && signer.check_content(content_tag, content) == super::Proof::Valid;
    for mut value in data.into_values() {
        value.zeroize();
    }
    whole.then(|| content_tag.clone())
}

fn pointer(map: &str, key: &str) -> String {
    format!(
        "/metadata/{map}/{}",
        key.replace('~', "~0").replace('/', "~1")
    )
}

/// Overwrites the values of a Secret that is not needed any more. The buffers of the HTTP client are out
/// of reach.
fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}
