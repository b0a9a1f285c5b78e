use std::collections::BTreeMap;
use std::fmt;

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::bind::Origin;

/// The keys that seal cached values. The newest seals; the others still open.
pub struct Keyring {
    sealing: String,
    keys: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// Why there is no keyring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// No key at all.
    #[error("there is no key; put 32 random bytes or more into an entry of any name")]
    Empty,
    /// A key that could be guessed.
    #[error(
        "entry {0} is too short for a key; it must have {min} bytes or more",
        min = Keyring::MIN_KEY_LEN
    )]
    TooShort(String),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Random,
}

/// A key for the values of one vault, with the id of the key that it is derived from.
pub(super) struct Subkey {
    pub(super) id: String,
    pub(super) key: Zeroizing<[u8; 32]>,
}

impl Keyring {
    /// The least length of a key, in bytes.
    pub const MIN_KEY_LEN: usize = 32;

    /// A keyring of named entries, of which the one whose name sorts last seals.
    ///
    /// # Errors
    /// When there is no entry, or one is shorter than [`Keyring::MIN_KEY_LEN`].
    pub fn new(
        entries: impl IntoIterator<Item = (String, Zeroizing<Vec<u8>>)>,
    ) -> Result<Self, KeyringError> {
        let entries: BTreeMap<String, Zeroizing<Vec<u8>>> = entries.into_iter().collect();
        if let Some((name, _)) = entries.iter().find(|(_, key)| key.len() < Self::MIN_KEY_LEN) {
            return Err(KeyringError::TooShort(name.clone()));
        }
        let sealing =
            entries.values().next_back().map(|key| key_id(key)).ok_or(KeyringError::Empty)?;
        let keys = entries.into_values().map(|key| (key_id(&key), key)).collect();
        Ok(Self { sealing, keys })
    }

    /// A keyring of one key that ends with the process.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn ephemeral() -> Result<Self, KeyringError> {
        use rand::TryRng as _;
        let mut key = Zeroizing::new(vec![0; Self::MIN_KEY_LEN]);
        rand::rngs::SysRng.try_fill_bytes(&mut key).map_err(|_| KeyringError::Random)?;
        Self::new([("ephemeral".to_owned(), key)])
    }

    /// The id of the key that seals.
    pub(super) fn sealing_id(&self) -> &str {
        &self.sealing
    }

    /// The key that seals values of a vault.
    pub(super) fn sealing(&self, origin: &Origin, vault: &str) -> Option<Subkey> {
        self.opening(&self.sealing, origin, vault)
    }

    /// The key of an id for values of a vault, if we have it.
    pub(super) fn opening(&self, id: &str, origin: &Origin, vault: &str) -> Option<Subkey> {
        let master = self.keys.get(id)?;
        let mut info = Vec::new();
        for part in [
            b"portcullis cache key v1".as_slice(),
            origin.server.as_bytes(),
            &origin.connection,
            vault.as_bytes(),
        ] {
            put(&mut info, part);
        }
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, master).expand(&info, key.as_mut()).ok()?;
        Some(Subkey { id: id.to_owned(), key })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("sealing", &self.sealing).finish_non_exhaustive()
    }
}

/// The id by which sealed values name a key: public, and telling nothing of the key.
fn key_id(key: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"portcullis cache key id");
    hash.update(key);
    hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Appends a part with its length, so that no two lists of parts are the same bytes.
pub(super) fn put(message: &mut Vec<u8>, part: &[u8]) {
    message.extend((part.len() as u64).to_be_bytes());
    message.extend(part);
}
