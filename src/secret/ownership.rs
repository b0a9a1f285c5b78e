use super::{OWNER_TAG, Proof, Receipt, Signer};
use crate::index::{ObjectKey, SecretEntry};

/// What the metadata of a request's Secret tells, without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretState {
    /// None that has our label.
    Absent,
    /// Ours, and unchanged since our last write.
    Intact,
    /// Ours, and changed by somebody or not accounted for.
    Touched,
    /// Tagged with a key that we do not have: ours only if it holds what we would write.
    Unproven,
    /// Somebody else's.
    Foreign,
}

/// Reads the state off the metadata. A Secret is ours when its owner tag is valid, or when its UID is the
/// one of our receipt.
#[must_use]
pub fn state_of(
    entry: Option<&SecretEntry>,
    secret: &ObjectKey,
    request: &str,
    signer: &Signer,
    receipt: Option<&Receipt>,
) -> SecretState {
    let Some(entry) = entry else {
        return SecretState::Absent;
    };
    let receipt = receipt.filter(|r| *r.secret_uid == *entry.uid);
    if receipt.is_some_and(|r| r.resource_version == entry.resource_version) {
        return SecretState::Intact;
    }
    let proof = entry.annotations.get(OWNER_TAG).map_or(Proof::Invalid, |tag| {
        signer.check_owner(tag, &secret.namespace, &secret.name, request)
    });
    match proof {
        _ if receipt.is_some() => SecretState::Touched,
        Proof::Valid => SecretState::Touched,
        Proof::UnknownKey => SecretState::Unproven,
        Proof::Invalid => SecretState::Foreign,
    }
}
