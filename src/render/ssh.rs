//! Private keys in the OpenSSH format. 1Password Connect gives a key as it was stored, mostly in PKCS#8; what
//! uses keys wants what `ssh-keygen` writes
//! (<https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key>).
//!
//! The same key of the same item always becomes the same text: a random one would change the Secret with
//! each refresh.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs1::RsaPrivateKeyRef;
use pkcs8::der::asn1::{BitStringRef, OctetStringRef, UintRef};
use pkcs8::der::{Decode as _, pem};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const RSA: ObjectIdentifier = pkcs1::ALGORITHM_OID;
/// RFC 8410, 3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
const END: &str = "-----END OPENSSH PRIVATE KEY-----\n";
/// As `ssh-keygen` wraps it, in characters.
const LINE: usize = 70;
/// What the private part is padded to when it is not encrypted, in bytes.
const BLOCK: usize = 8;

/// Why a text does not become an OpenSSH key. Never holds the text. Reads on after the name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    /// No PEM, or broken.
    #[error("is not a private key in PEM, or a broken one")]
    Unreadable,
    /// A passphrase is needed.
    #[error("is a private key with a passphrase, which Portcullis does not have")]
    Encrypted,
    /// PEM of something else: a public key, a certificate.
    #[error("is not a private key but something else in PEM")]
    NotPrivateKey,
    /// A key of another algorithm.
    #[error(
        "is neither an RSA nor an Ed25519 key, and only those can be put into the OpenSSH format"
    )]
    Algorithm,
    /// The two halves of the key do not belong together.
    #[error("is a private key with the public key of another")]
    Mismatch,
}

/// Puts a private key into the OpenSSH format: RSA in PKCS#1 or PKCS#8 and Ed25519 in PKCS#8. What is in the
/// OpenSSH format already is passed through as it is, whatever its algorithm or passphrase.
///
/// The format has a number in it that is random elsewhere. Here it comes from the item's id, in the way of
/// 1Password's own Terraform provider, so that both give the same text
/// (<https://github.com/1Password/terraform-provider-onepassword>, `internal/onepassword/ssh`).
///
/// # Errors
/// [`SshKeyError`].
pub fn openssh(key: &str, item_id: &str) -> Result<Zeroizing<String>, SshKeyError> {
    if key.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(SshKeyError::Encrypted); // RFC 1421, of PKCS#1 with a passphrase.
    }
    let (label, body) = decode(key.trim())?;
    let check = check_number(item_id);
    match label {
        "OPENSSH PRIVATE KEY" if body.starts_with(MAGIC) => Ok(Zeroizing::new(key.to_owned())),
        "OPENSSH PRIVATE KEY" => Err(SshKeyError::Unreadable),
        "PRIVATE KEY" => of_pkcs8(&body, check),
        "RSA PRIVATE KEY" => of_rsa(&body, check),
        "ENCRYPTED PRIVATE KEY" => Err(SshKeyError::Encrypted),
        other if other.ends_with("PRIVATE KEY") => Err(SshKeyError::Algorithm),
        _ => Err(SshKeyError::NotPrivateKey),
    }
}

/// The label and the bytes of a PEM, however wide its lines are.
fn decode(text: &str) -> Result<(&str, Zeroizing<Vec<u8>>), SshKeyError> {
    let mut decoder =
        pem::Decoder::new_detect_wrap(text.as_bytes()).map_err(|_| SshKeyError::Unreadable)?;
    let mut body = Zeroizing::new(Vec::with_capacity(decoder.remaining_len()));
    decoder.decode_to_end(&mut body).map_err(|_| SshKeyError::Unreadable)?;
    Ok((decoder.type_label(), body))
}

/// The first four bytes of the SHA-256 of the item's id, big-endian.
fn check_number(item_id: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(item_id.as_bytes()));
    [a, b, c, d]
}

fn of_pkcs8(der: &[u8], check: [u8; 4]) -> Result<Zeroizing<String>, SshKeyError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| SshKeyError::Unreadable)?;
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA => of_rsa(key, check),
        ED25519 => {
            let public = info.public_key.as_ref().map(BitStringRef::raw_bytes);
            of_ed25519(key, public, check)
        }
        _ => Err(SshKeyError::Algorithm),
    }
}

fn of_rsa(der: &[u8], check: [u8; 4]) -> Result<Zeroizing<String>, SshKeyError> {
    let key = RsaPrivateKeyRef::from_der(der).map_err(|_| SshKeyError::Unreadable)?;
    if key.other_prime_infos.is_some() {
        return Err(SshKeyError::Algorithm); // OpenSSH has no place for further primes.
    }
    let room = der.len();
    let mut public = Fields::new(room);
    public.text(b"ssh-rsa").number(&key.public_exponent).number(&key.modulus);
    let mut private = Fields::new(2 * room);
    private.raw(&check).raw(&check).text(b"ssh-rsa");
    for number in [
        &key.modulus,
        &key.public_exponent,
        &key.private_exponent,
        &key.coefficient,
        &key.prime1,
        &key.prime2,
    ] {
        private.number(number);
    }
    Ok(file(&public, private))
}

/// The key is a seed in an OCTET STRING (RFC 8410, 7).
fn of_ed25519(
    der: &[u8],
    public: Option<&[u8]>,
    check: [u8; 4],
) -> Result<Zeroizing<String>, SshKeyError> {
    let seed = <&OctetStringRef>::from_der(der).map_err(|_| SshKeyError::Unreadable)?.as_bytes();
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SshKeyError::Unreadable)?;
    let derived = pair.public_key().as_ref();
    if public.is_some_and(|stored| stored != derived) {
        return Err(SshKeyError::Mismatch);
    }
    let mut both = Zeroizing::new([0; 64]);
    for (to, from) in both.iter_mut().zip(seed.iter().chain(derived)) {
        *to = *from;
    }
    let mut blob = Fields::new(64);
    blob.text(b"ssh-ed25519").text(derived);
    let mut private = Fields::new(256);
    private.raw(&check).raw(&check).text(b"ssh-ed25519").text(derived).text(both.as_slice());
    Ok(file(&blob, private))
}

/// The whole file of a public part, and a private one that still lacks the comment and the padding.
fn file(public: &Fields, mut private: Fields) -> Zeroizing<String> {
    private.text(b""); // The comment.
    let padding = private.0.len().next_multiple_of(BLOCK) - private.0.len();
    private.raw([1, 2, 3, 4, 5, 6, 7].get(..padding).unwrap_or_default());
    let mut whole = Fields::new(public.0.len() + private.0.len() + 64);
    whole.raw(MAGIC).text(b"none").text(b"none").text(b"").raw(&1_u32.to_be_bytes());
    whole.text(&public.0).text(&private.0);

    let mut encoded = Zeroizing::new(String::with_capacity(whole.0.len().div_ceil(3) * 4));
    STANDARD.encode_string(whole.0.as_slice(), &mut encoded);
    let lines = encoded.len().div_ceil(LINE);
    let size = BEGIN.len() + encoded.len() + lines + END.len();
    let mut text = Zeroizing::new(String::with_capacity(size));
    text.push_str(BEGIN);
    for (at, character) in (1..).zip(encoded.chars()) {
        text.push(character);
        if at % LINE == 0 || at == encoded.len() {
            text.push('\n');
        }
    }
    text.push_str(END);
    text
}

/// Bytes in the encoding of RFC 4251, 5. What they grow out of is wiped, too.
struct Fields(Zeroizing<Vec<u8>>);

impl Fields {
    fn new(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        let needed = self.0.len() + bytes.len();
        if self.0.capacity() < needed {
            let mut grown = Zeroizing::new(Vec::with_capacity(needed * 2));
            grown.extend_from_slice(&self.0);
            self.0 = grown;
        }
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `string`: its length, and the bytes.
    fn text(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len()).raw(bytes)
    }

    /// An `mpint`: without zeros before it, but for one where it would be negative otherwise.
    fn number(&mut self, number: &UintRef<'_>) -> &mut Self {
        let bytes = number.as_bytes();
        match bytes {
            [0] => self.length(0),
            [first, ..] if *first >= 0x80 => self.length(bytes.len() + 1).raw(&[0]).raw(bytes),
            _ => self.text(bytes),
        }
    }

    /// No key is near the limit of 4 GiB: the answer that it comes in is bounded far below.
    fn length(&mut self, length: usize) -> &mut Self {
        self.raw(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes())
    }
}
