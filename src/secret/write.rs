use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use tokio::sync::OnceCell;
use zeroize::Zeroize as _;

use super::desired::{Desired, tag_if_whole};
use super::{Content, ITEM_VERSIONS, OWNER_TAG, Proof, Receipt, SecretState, Signer, state_of};
use crate::api::{Reason, Source};
use crate::index::{Index, ObjectKey, SecretEntry};
use crate::kube_io::{ApiError, Expected, KubeIo};
use crate::policy::{Standing, Unconfirmed};
use crate::render::Rendered;

/// Writes Secrets. Every method that sends a write demands that the grant stands.
#[derive(Clone)]
pub struct SecretWriter {
    pub(super) io: KubeIo,
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
    /// Where the values came from.
    pub source: Source,
    /// The intent that it was written by, where there is one.
    pub intent: Option<String>,
}

/// Permission to send one write, given just before it.
struct Permission<'g> {
    _standing: Standing<'g>,
    /// The intent that was recorded.
    intent: Option<String>,
    /// The annotation that names it.
    named: Option<String>,
}

/// Why the Secret was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A Secret of that name is not this request's.
    #[error(
        "Secret {0} exists and was not written for this request; make another request with another \
         spec.target.name, or, if nobody needs the Secret: kubectl delete secret --namespace {ns} {name}", ns = .0.namespace, name = .0.name
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
    /// Nobody knows just now whether the grant stands.
    #[error("what the decision on Secret {0} rests on is being read anew; nothing was written yet")]
    Unknown(ObjectKey),
    /// The audit stream does not take the intent.
    #[error("Secret {0} is not written, since the audit stream cannot be; mend the stream")]
    Unrecorded(ObjectKey),
    /// The API server did not do it.
    #[error("Secret {0}: {1}")]
    Api(ObjectKey, ApiError),
}

impl WriteError {
    /// Whether it is known that nothing was written: an answer that did not come says neither.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Api(_, error) if !error.is_certain())
    }

    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotOwned(_) | Self::KeyLost(_) | Self::OtherType(_) => Reason::SecretNotOwned,
            Self::Withdrawn(_) | Self::Unknown(_) => Reason::GrantWithdrawn,
            Self::Unrecorded(_) => Reason::AuditFailed,
            Self::Immutable(_) | Self::Api(..) => Reason::WriteFailed,
        }
    }
}

impl SecretWriter {
    /// A writer that takes what it wrote into the index.
    #[must_use]
    pub fn new(io: KubeIo, index: Index) -> Self {
        Self { io, index }
    }

    /// Brings the grant's Secret to what was rendered. Before the first write `intend` records it; `confirm` is
    /// asked before that and just before each write whether the grant still stands. `basis` goes into the receipt.
    ///
    /// # Errors
    /// When the Secret is not this request's, the grant was withdrawn, or the API server does not do it.
    /// Nothing was written then.
    pub async fn write<'g, F>(
        &self,
        rendered: &Rendered<'g>,
        (signer, receipt, basis): (&Signer, Option<&Receipt>, &str),
        confirm: impl Fn() -> Result<Standing<'g>, Unconfirmed>,
        intend: impl Fn() -> F,
    ) -> Result<Written, WriteError>
    where
        F: Future<Output = Result<Option<String>, Unconfirmed>>,
    {
        let desired = Desired::new(rendered, signer, basis);
        let api = |error| WriteError::Api(desired.key.clone(), error);
        let unconfirmed = |why| match why {
            Unconfirmed::Withdrawn => WriteError::Withdrawn(desired.key.clone()),
            Unconfirmed::Unknown => WriteError::Unknown(desired.key.clone()),
            Unconfirmed::Unrecorded => WriteError::Unrecorded(desired.key.clone()),
        };
        let intent = OnceCell::new();
        let permission = async || {
            confirm().map_err(unconfirmed)?;
            let intent = intent.get_or_try_init(&intend).await.map_err(unconfirmed)?.clone();
            // That took its time.
            let standing = confirm().map_err(unconfirmed)?;
            let named = intent.as_deref().map(|record| {
                signer.audit_record(&desired.key.namespace, &desired.key.name, record)
            });
            Ok(Permission { _standing: standing, intent, named })
        };
        let mut existing = match self.index.secret(&desired.key) {
            Some(_) => self.io.secret(&desired.key).await.map_err(api)?,
            None => None,
        };
        if existing.is_none() {
            match self.create(permission().await?, &desired).await {
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
        let result = self.update(&permission, &desired, (signer, receipt), &secret).await;
        wipe(&mut secret);
        result
    }

    /// Whether a Secret holds just what we wrote last, whoever touched it since.
    pub async fn holds(&self, key: &ObjectKey, signer: &Signer, receipt: &Receipt) -> bool {
        let Ok(Some(mut secret)) = self.io.secret(key).await else {
            return false;
        };
        let entry = SecretEntry::from_meta(&secret.metadata);
        let data: BTreeMap<String, Vec<u8>> =
            secret.data.take().into_iter().flatten().map(|(name, value)| (name, value.0)).collect();
        let holds = entry.as_ref().is_some_and(|entry| {
            let content =
                entry.annotations.get(OWNER_TAG).zip(entry.annotations.get(ITEM_VERSIONS));
            content.is_some_and(|(owner_tag, item_versions)| {
                let type_ = secret.type_.as_deref().unwrap_or("Opaque");
                let content = Content { owner_tag, type_, item_versions, data: &data };
                signer.check_content(&receipt.content_tag, content) == Proof::Valid
            })
        });
        for mut value in data.into_values() {
            value.zeroize();
        }
        holds
    }

    async fn create(
        &self,
        permission: Permission<'_>,
        desired: &Desired<'_>,
    ) -> Result<Written, ApiError> {
        let mut secret = desired.secret(permission.named.as_deref());
        let created = self.io.create_secret(&desired.key, &secret).await;
        wipe(&mut secret);
        let tag = desired.content_tag.clone();
        let written = self.written(desired, SecretChange::Created, tag, created?)?;
        Ok(Written { intent: permission.intent, ..written })
    }

    async fn update<'g, F>(
        &self,
        permission: &impl Fn() -> F,
        desired: &Desired<'_>,
        (signer, receipt): (&Signer, Option<&Receipt>),
        secret: &Secret,
    ) -> Result<Written, WriteError>
    where
        F: Future<Output = Result<Permission<'g>, WriteError>>,
    {
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
                let change = if known { SecretChange::None } else { SecretChange::Confirmed };
                return self.written(desired, change, tag.clone(), secret.clone()).map_err(api);
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
        let permission = permission().await?;
        let expected = Expected {
            uid: entry.uid.to_string(),
            resource_version: entry.resource_version.to_string(),
        };
        let patched = self
            .io
            .patch_secret(
                &desired.key,
                &expected,
                desired.operations(secret, permission.named.as_deref()),
            )
            .await
            .map_err(api)?;
        let tag = desired.content_tag.clone();
        let written = self.written(desired, change, tag, patched).map_err(api)?;
        Ok(Written { intent: permission.intent, ..written })
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
            granted: desired.granted.clone(),
            record: String::new(),
        };
        self.index.observe_secret(&desired.key, entry);
        Ok(Written { change, receipt, source: desired.source, intent: None })
    }
}

/// Overwrites the values of a Secret that is not needed any more. The buffers of the HTTP client are out
/// of reach.
fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}
