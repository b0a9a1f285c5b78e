use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rand::TryRng as _;
use zeroize::Zeroizing;

use super::MasterKeys;
use crate::index::ObjectKey;
use crate::kube_io::{ApiError, KubeIo};

/// The Secret of the operator's namespace that holds the master keys, one an entry, each of 32 bytes.
/// The entry whose name sorts last signs; the others verify. To rotate, add an entry and restart.
pub const KEY_SECRET: &str = "portcullis-keys";

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The Secret cannot be read or made.
    #[error("the Secret {KEY_SECRET} with the master keys can be neither read nor made: {0}")]
    Api(#[from] ApiError),
    /// The Secret holds something else.
    #[error("entry {entry} of the Secret {KEY_SECRET} is no master key: it must have 32 bytes")]
    Malformed {
        /// The entry.
        entry: String,
    },
    /// The Secret holds nothing.
    #[error(
        "the Secret {KEY_SECRET} has no entry; delete it to have a new key made, or put the old one back"
    )]
    Empty,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Random,
}

/// Reads the master keys, or makes the first one where there is no such Secret yet.
///
/// # Errors
/// When the Secret can be neither read nor made, or holds what is no key. A key is never replaced.
pub async fn load_or_create_keys(io: &KubeIo, namespace: &str) -> Result<LoadedKeys, KeyError> {
    let key = ObjectKey::new(namespace, KEY_SECRET);
    if let Some(keys) = load_keys(io, namespace).await? {
        return Ok(keys);
    }
    let mut bytes = Zeroizing::new(vec![0; MasterKeys::KEY_LEN]);
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|_| KeyError::Random)?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                "portcullis".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([("key-0001".to_owned(), ByteString(bytes.to_vec()))])),
        ..Secret::default()
    };
    match io.create_secret(&key, &secret).await {
        Ok(created) => parse(created),
        // Another instance was first: its key counts.
        Err(ApiError::AlreadyExists) => parse(io.secret(&key).await?.ok_or(ApiError::Conflict)?),
        Err(error) => Err(error.into()),
    }
}

/// The master keys, and since when there are any: as long as Portcullis is installed.
#[derive(Debug)]
pub struct LoadedKeys {
    /// The keys.
    pub keys: MasterKeys,
    /// When their Secret was made.
    pub since: SystemTime,
}

/// Reads the master keys, if there are any.
///
/// # Errors
/// When the Secret cannot be read, or holds what is no key.
pub async fn load_keys(io: &KubeIo, namespace: &str) -> Result<Option<LoadedKeys>, KeyError> {
    io.secret(&ObjectKey::new(namespace, KEY_SECRET)).await?.map(parse).transpose()
}

fn parse(secret: Secret) -> Result<LoadedKeys, KeyError> {
    let since = secret.metadata.creation_timestamp.as_ref();
    let since = since.map_or_else(SystemTime::now, |time| SystemTime::from(time.0));
    let mut keys = Vec::new();
    for (entry, value) in secret.data.unwrap_or_default() {
        let value = Zeroizing::new(value.0);
        if value.len() != MasterKeys::KEY_LEN {
            return Err(KeyError::Malformed { entry });
        }
        keys.push(value);
    }
    let signing = keys.pop().ok_or(KeyError::Empty)?;
    Ok(LoadedKeys { keys: MasterKeys::new(signing, keys), since })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, usize)]) -> Secret {
        let data =
            entries.iter().map(|(name, len)| ((*name).to_owned(), ByteString(vec![1; *len])));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn only_whole_keys_are_taken() {
        assert!(parse(secret(&[("a", 32), ("b", 32)])).is_ok());
        assert!(matches!(parse(secret(&[("a", 32), ("b", 31)])), Err(KeyError::Malformed { .. })));
        assert!(matches!(parse(secret(&[])), Err(KeyError::Empty)));
    }
}
