//! Sealing: what a sealed value is bound to, and so where alone it opens.

use std::sync::Arc;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use rand::TryRng as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::{Keyring, Subkey, put};

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Where values came from: the ConnectServer, and by which hosts and token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The ConnectServer's name.
    pub server: Arc<str>,
    /// A digest of the token and the hosts.
    pub connection: [u8; 32],
}

/// Which part of an item a sealed value is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// Its fields.
    Fields,
    /// A file, by id.
    File(Arc<str>),
}

/// What a sealed value is bound to, besides its [`Origin`]: it opens for just this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) vault: &'a str,
    pub(super) item: &'a str,
    pub(super) part: &'a Part,
    pub(super) version: i64,
    pub(super) class: &'a str,
    /// Milliseconds since 1970.
    pub(super) fetched_at: u64,
}

/// A sealed value: the nonce, the ciphertext and its tag.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) key_id: String,
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Its size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.ciphertext.len() + self.key_id.len() + NONCE_LEN
    }
}

impl Binding<'_> {
    fn message(&self, origin: &Origin) -> Vec<u8> {
        let mut message = Vec::new();
        let file = match self.part {
            Part::Fields => "",
            Part::File(id) => id,
        };
        for part in [
            b"portcullis cached value v1".as_slice(),
            origin.server.as_bytes(),
            &origin.connection,
            self.vault.as_bytes(),
            self.item.as_bytes(),
            file.as_bytes(),
            &self.version.to_be_bytes(),
            self.class.as_bytes(),
            &self.fetched_at.to_be_bytes(),
        ] {
            put(&mut message, part);
        }
        message
    }
}

/// Seals a value. `None` when there is no randomness for a nonce: then nothing is kept.
pub(super) fn seal(
    keyring: &Keyring,
    origin: &Origin,
    binding: &Binding<'_>,
    plain: Zeroizing<Vec<u8>>,
) -> Option<Sealed> {
    let subkey = keyring.sealing(origin, binding.vault)?;
    seal_with(&subkey, &binding.message(origin), plain)
}

/// Opens a value, if it was sealed for just this with a key that we have.
pub(super) fn open(
    keyring: &Keyring,
    origin: &Origin,
    binding: &Binding<'_>,
    sealed: &Sealed,
) -> Option<Zeroizing<Vec<u8>>> {
    let subkey = keyring.opening(&sealed.key_id, origin, binding.vault)?;
    open_with(&subkey, &binding.message(origin), sealed)
}

pub(super) fn seal_with(
    subkey: &Subkey,
    bound: &[u8],
    plain: Zeroizing<Vec<u8>>,
) -> Option<Sealed> {
    let mut nonce = [0; NONCE_LEN];
    rand::rngs::SysRng.try_fill_bytes(&mut nonce).ok()?;
    // Sized for the tag: a buffer that grows leaves a copy of the value behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_LEN));
    buffer.extend_from_slice(&plain);
    drop(plain);
    let cipher = Aes256Gcm::new((&*subkey.key).into());
    cipher.encrypt_in_place(&nonce.into(), bound, &mut *buffer).ok()?;
    Some(Sealed { key_id: subkey.id.clone(), nonce, ciphertext: std::mem::take(&mut *buffer) })
}

pub(super) fn open_with(
    subkey: &Subkey,
    bound: &[u8],
    sealed: &Sealed,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.ciphertext.clone());
    let cipher = Aes256Gcm::new((&*subkey.key).into());
    cipher.decrypt_in_place(&sealed.nonce.into(), bound, &mut *buffer).ok()?;
    Some(buffer)
}
