//! Where the keys of the cache come from.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroizing;

use crate::cache::{Keyring, KeyringError};
use crate::index::ObjectKey;
use crate::kube_io::{ApiError, KubeIo};

/// Where the keys of the cache come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKeys {
    /// A key of this process alone: nothing survives a restart.
    Ephemeral,
    /// The files of a folder, one a key, as a mounted Secret has them.
    Files(PathBuf),
    /// The entries of a Secret, one a key.
    Secret {
        /// The Secret.
        secret: ObjectKey,
        /// What becomes of keys that lie beside the cache.
        beside: BesideCache,
    },
}

/// What becomes of keys in the namespace where the cache lies: who may read Secrets there has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BesideCache {
    /// They are refused.
    Refused,
    /// They are used; somebody said so.
    Allowed,
}

/// Why there are no keys for the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheKeyError {
    /// The Secret cannot be read.
    #[error("the Secret {0} with the keys of the cache cannot be read: {1}")]
    Api(ObjectKey, ApiError),
    /// There is no such Secret.
    #[error(
        "there is no Secret {0} with keys for the cache; make it: kubectl --namespace {ns} create secret generic {name} \
         --from-literal=key-0001=\"$(openssl rand -hex 32)\"", ns = .0.namespace, name = .0.name
    )]
    NotFound(ObjectKey),
    /// The folder cannot be read.
    #[error("the keys of the cache cannot be read from {0}: {1}")]
    Files(PathBuf, std::io::ErrorKind),
    /// What is there is no key.
    #[error("the keys of the cache are of no use: {0}")]
    Keyring(#[from] KeyringError),
}

/// The keys of the cache, and whether they outlive the process: why not, if they do not.
pub(super) struct LoadedKeys {
    pub(super) keyring: Keyring,
    pub(super) lasting: Result<(), String>,
}

pub(super) async fn load_cache_keys(
    keys: &CacheKeys,
    io: &KubeIo,
    operator_namespace: &str,
) -> Result<LoadedKeys, CacheKeyError> {
    let ephemeral =
        |why: String| Ok(LoadedKeys { keyring: Keyring::ephemeral()?, lasting: Err(why) });
    match keys {
        CacheKeys::Ephemeral => ephemeral(
            "the operator has no key for it; start it with --cache-keys-dir or --cache-keys-secret"
                .to_owned(),
        ),
        CacheKeys::Files(folder) => {
            let entries = read_folder(folder).await?;
            Ok(LoadedKeys { keyring: Keyring::new(entries)?, lasting: Ok(()) })
        }
        CacheKeys::Secret { secret, beside: BesideCache::Refused }
            if *secret.namespace == *operator_namespace =>
        {
            ephemeral(format!(
                "the key in Secret {secret} would lie beside the cache, where whoever reads Secrets has both; move it to \
                 another namespace, or start the operator with --cache-keys-beside-cache"
            ))
        }
        CacheKeys::Secret { secret, .. } => {
            let read = io.secret(secret).await;
            let found = read.map_err(|error| CacheKeyError::Api(secret.clone(), error))?;
            let found = found.ok_or_else(|| CacheKeyError::NotFound(secret.clone()))?;
            Ok(LoadedKeys { keyring: Keyring::new(entries_of(found))?, lasting: Ok(()) })
        }
    }
}

fn entries_of(secret: Secret) -> Vec<(String, Zeroizing<Vec<u8>>)> {
    let data = secret.data.into_iter().flatten();
    data.map(|(name, value)| (name, Zeroizing::new(value.0))).collect()
}

async fn read_folder(folder: &Path) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, CacheKeyError> {
    let failed = |error: std::io::Error| CacheKeyError::Files(folder.to_owned(), error.kind());
    let mut entries = Vec::new();
    let mut files = tokio::fs::read_dir(folder).await.map_err(failed)?;
    while let Some(file) = files.next_entry().await.map_err(failed)? {
        let name = file.file_name().to_string_lossy().into_owned();
        // A mounted Secret keeps its versions in folders whose names start with dots.
        let is_file = tokio::fs::metadata(file.path()).await.is_ok_and(|m| m.is_file());
        if is_file && !name.starts_with('.') {
            let key = tokio::fs::read(file.path()).await.map_err(failed)?;
            entries.push((name, Zeroizing::new(key)));
        }
    }
    Ok(entries)
}
