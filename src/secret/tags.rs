//! What we sign, and with which key. Pure.
//!
//! The keys for signing are derived from a master key for each namespace and request name, so that equal
//! values never show as equal strings.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const VERSION: &str = "v1";

/// The operator's master keys. The newest signs; the others still verify.
#[derive(Clone)]
pub struct MasterKeys {
    signing: String,
    keys: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKeys").field("signing", &self.signing).finish_non_exhaustive()
    }
}

/// The id by which tags name a master key: public, and telling nothing of the key.
#[must_use]
pub fn key_id(key: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"portcullis key id");
    hash.update(key);
    hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl MasterKeys {
    /// The bytes of a master key.
    pub const KEY_LEN: usize = 32;

    /// Keys with the one that signs first.
    #[must_use]
    pub fn new(signing: Zeroizing<Vec<u8>>, others: Vec<Zeroizing<Vec<u8>>>) -> Self {
        let id = key_id(&signing);
        let mut keys: BTreeMap<_, _> = others.into_iter().map(|key| (key_id(&key), key)).collect();
        keys.insert(id.clone(), signing);
        Self { signing: id, keys }
    }

    /// The signer of one request.
    #[must_use]
    pub fn signer(&self, namespace: &str, request: &str) -> Signer {
        self.derive(&["portcullis tags v1", namespace, request])
    }

    /// The signer of the access profile of one namespace.
    #[must_use]
    pub fn profile_signer(&self, namespace: &str) -> ProfileSigner {
        ProfileSigner(self.derive(&["portcullis profiles v1", namespace]))
    }

    /// The signer of the audit stream.
    #[must_use]
    pub fn audit_signer(&self) -> Signer {
        self.derive(&["portcullis audit v1"])
    }

    fn derive(&self, parts: &[&str]) -> Signer {
        let mut info = Vec::new();
        for part in parts {
            put(&mut info, part.as_bytes());
        }
        let keys = self
            .keys
            .iter()
            .filter_map(|(id, key)| {
                let mut derived = Zeroizing::new([0; 32]);
                Hkdf::<Sha256>::new(None, key).expand(&info, derived.as_mut()).ok()?;
                Some((id.clone(), derived))
            })
            .collect();
        Signer { signing: self.signing.clone(), keys }
    }
}

/// Signs and verifies for one request, or for the audit stream.
pub struct Signer {
    signing: String,
    keys: BTreeMap<String, Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("signing", &self.signing).finish_non_exhaustive()
    }
}

/// Signs and verifies the access profile of one namespace.
#[derive(Debug)]
pub struct ProfileSigner(Signer);

impl ProfileSigner {
    /// The tag over a profile in its canonical form.
    #[must_use]
    pub fn tag(&self, canonical: &[u8]) -> String {
        self.0.sign(canonical)
    }

    /// Verifies a tag. One of a key that we do not have proves nothing.
    #[must_use]
    pub fn check(&self, tag: &str, canonical: &[u8]) -> Proof {
        self.0.verify(tag, canonical)
    }
}

/// What a tag proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// We made it for just this.
    Valid,
    /// We did not, or not for this.
    Invalid,
    /// It names a key that we do not have: nobody can tell.
    UnknownKey,
}

/// What the content tag of a Secret is made over.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The owner tag.
    pub owner_tag: &'a str,
    /// The Secret's type.
    pub type_: &'a str,
    /// The versions of the items, in the form of the annotation beside the tag.
    pub item_versions: &'a str,
    /// The Secret's data.
    pub data: &'a BTreeMap<String, Vec<u8>>,
}

/// What a receipt says: this was our last write of that Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The Secret's UID.
    pub secret_uid: String,
    /// The Secret's resourceVersion.
    pub resource_version: u64,
    /// The Secret's content tag.
    pub content_tag: String,
    /// A digest of all that decides what the Secret holds: the request's part and the items' versions.
    pub basis: String,
    /// A digest of the spec that was granted last.
    pub granted: String,
    /// The id of the last intent to write it that the audit stream has the end of; empty where there is none.
    pub record: String,
}

impl Signer {
    /// The tag that says whose a Secret is.
    #[must_use]
    pub fn owner_tag(&self, namespace: &str, secret: &str, request: &str) -> String {
        self.sign(&owner_message(namespace, secret, request))
    }

    /// Verifies an owner tag.
    #[must_use]
    pub fn check_owner(&self, tag: &str, namespace: &str, secret: &str, request: &str) -> Proof {
        self.verify(tag, &owner_message(namespace, secret, request))
    }

    /// The tag over what a Secret holds.
    #[must_use]
    pub fn content_tag(&self, content: Content<'_>) -> String {
        self.sign(&content_message(content))
    }

    /// Verifies a content tag.
    #[must_use]
    pub fn check_content(&self, tag: &str, content: Content<'_>) -> Proof {
        self.verify(tag, &content_message(content))
    }

    /// Writes a receipt for a request of a UID.
    #[must_use]
    pub fn receipt(&self, request_uid: &str, receipt: &Receipt) -> String {
        let clear = format!(
            "{}.{}.{}.{}.{}.{}",
            receipt.secret_uid,
            receipt.resource_version,
            receipt.content_tag.replace('.', ":"),
            receipt.basis,
            receipt.granted,
            receipt.record
        );
        let tag = self.sign(&receipt_message(request_uid, &clear));
        format!("{tag}.{clear}")
    }

    /// Reads a receipt back, if we wrote it for this request.
    #[must_use]
    pub fn read_receipt(&self, request_uid: &str, text: &str) -> Option<Receipt> {
        let mut parts = text.splitn(4, '.');
        let tag = [parts.next()?, parts.next()?, parts.next()?].join(".");
        let clear = parts.next()?;
        if self.verify(&tag, &receipt_message(request_uid, clear)) != Proof::Valid {
            return None;
        }
        let mut fields = clear.split('.');
        Some(Receipt {
            secret_uid: fields.next()?.to_owned(),
            resource_version: fields.next()?.parse().ok()?,
            content_tag: fields.next()?.replace(':', "."),
            basis: fields.next()?.to_owned(),
            granted: fields.next()?.to_owned(),
            record: fields.next()?.to_owned(),
        })
    }

    /// The annotation that names the intent by which a Secret was written.
    #[must_use]
    pub fn audit_record(&self, namespace: &str, secret: &str, record: &str) -> String {
        let tag = self.sign_parts(&[
            b"record",
            namespace.as_bytes(),
            secret.as_bytes(),
            record.as_bytes(),
        ]);
        format!("{record}.{tag}")
    }

    /// Reads that annotation back, if we wrote it for this Secret.
    #[must_use]
    pub fn read_audit_record<'t>(
        &self,
        namespace: &str,
        secret: &str,
        text: &'t str,
    ) -> Option<&'t str> {
        let (record, tag) = text.split_once('.')?;
        let parts: [&[u8]; 4] =
            [b"record", namespace.as_bytes(), secret.as_bytes(), record.as_bytes()];
        (self.check_parts(tag, &parts) == Proof::Valid).then_some(record)
    }

    /// What status says of a Secret that is being deleted: the audit record of that.
    #[must_use]
    pub fn deletion(&self, namespace: &str, secret: &str, uid: &str, record: &str) -> String {
        let parts = ["deletion", namespace, secret, uid, record].map(str::as_bytes);
        format!("{record}.{}", self.sign_parts(&parts))
    }

    /// Reads that back, if we wrote it of this Secret.
    #[must_use]
    pub fn read_deletion<'t>(
        &self,
        namespace: &str,
        secret: &str,
        uid: &str,
        text: &'t str,
    ) -> Option<&'t str> {
        let (record, tag) = text.split_once('.')?;
        let parts = ["deletion", namespace, secret, uid, record].map(str::as_bytes);
        (self.check_parts(tag, &parts) == Proof::Valid).then_some(record)
    }

    /// A tag over parts, none of which runs into the next.
    #[must_use]
    pub fn sign_parts(&self, parts: &[&[u8]]) -> String {
        self.sign(&message(parts))
    }

    /// Verifies such a tag.
    #[must_use]
    pub fn check_parts(&self, tag: &str, parts: &[&[u8]]) -> Proof {
        self.verify(tag, &message(parts))
    }

    fn sign(&self, message: &[u8]) -> String {
        let mac = self.mac(&self.signing, message).map(|mac| mac.finalize().into_bytes());
        let encoded = mac.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default();
        format!("{VERSION}.{}.{encoded}", self.signing)
    }

    fn verify(&self, tag: &str, message: &[u8]) -> Proof {
        let mut parts = tag.splitn(3, '.');
        let (Some(VERSION), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next())
        else {
            return Proof::Invalid;
        };
        let Some(mac) = self.mac(id, message) else {
            return Proof::UnknownKey;
        };
        match URL_SAFE_NO_PAD.decode(encoded) {
            // Compares in constant time.
            Ok(bytes) if mac.verify_slice(&bytes).is_ok() => Proof::Valid,
            Ok(_) | Err(_) => Proof::Invalid,
        }
    }

    fn mac(&self, id: &str, message: &[u8]) -> Option<Hmac<Sha256>> {
        let key = self.keys.get(id)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_ref()).ok()?;
        mac.update(message);
        Some(mac)
    }
}

fn put(message: &mut Vec<u8>, part: &[u8]) {
    message.extend((part.len() as u64).to_be_bytes());
    message.extend(part);
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in parts {
        put(&mut message, part);
    }
    message
}

fn owner_message(namespace: &str, secret: &str, request: &str) -> Vec<u8> {
    message(&[b"owner", namespace.as_bytes(), secret.as_bytes(), request.as_bytes()])
}

fn content_message(content: Content<'_>) -> Zeroizing<Vec<u8>> {
    let size: usize = content.data.iter().map(|(k, v)| k.len() + v.len() + 16).sum();
    // Sized first: a buffer that grows leaves copies of the values behind.
    let mut message = Zeroizing::new(Vec::with_capacity(
        size + content.owner_tag.len() + content.item_versions.len() + 256,
    ));
    for part in ["content", content.owner_tag, content.type_, content.item_versions] {
        put(&mut message, part.as_bytes());
    }
    for (key, value) in content.data {
        put(&mut message, key.as_bytes());
        put(&mut message, value);
    }
    message
}

fn receipt_message(request_uid: &str, clear: &str) -> Vec<u8> {
    message(&[b"receipt", request_uid.as_bytes(), clear.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> MasterKeys {
        MasterKeys::new(Zeroizing::new(vec![byte; 32]), Vec::new())
    }

    fn data(value: &str) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("password".to_owned(), value.as_bytes().to_vec())])
    }

    #[test]
    fn an_owner_tag_holds_for_one_secret_of_one_request() {
        let signer = keys(1).signer("shop", "orders");
        let tag = signer.owner_tag("shop", "orders", "orders");
        assert_eq!(signer.check_owner(&tag, "shop", "orders", "orders"), Proof::Valid);
        assert_eq!(signer.check_owner(&tag, "shop", "other", "orders"), Proof::Invalid);
        let neighbour = keys(1).signer("shop", "neighbour");
        assert_eq!(neighbour.check_owner(&tag, "shop", "orders", "neighbour"), Proof::Invalid);
    }

    #[test]
    fn a_tag_of_a_lost_key_is_neither_valid_nor_invalid() {
        let tag = keys(1).signer("shop", "orders").owner_tag("shop", "orders", "orders");
        let signer = keys(2).signer("shop", "orders");
        assert_eq!(signer.check_owner(&tag, "shop", "orders", "orders"), Proof::UnknownKey);
        let both = MasterKeys::new(Zeroizing::new(vec![2; 32]), vec![Zeroizing::new(vec![1; 32])]);
        let signer = both.signer("shop", "orders");
        assert_eq!(signer.check_owner(&tag, "shop", "orders", "orders"), Proof::Valid);
    }

    #[test]
    fn equal_data_of_two_requests_shows_no_equal_strings() {
        let (value, master) = (data("same"), keys(1));
        let tags: Vec<String> = ["a", "b"]
            .iter()
            .map(|request| {
                let signer = master.signer("shop", request);
                signer.content_tag(Content {
                    owner_tag: "",
                    type_: "Opaque",
                    item_versions: "",
                    data: &value,
                })
            })
            .collect();
        assert_ne!(tags[0], tags[1]);
    }

    #[test]
    fn a_content_tag_moves_with_type_versions_and_data() {
        let signer = keys(1).signer("shop", "orders");
        let (old, new) = (data("old"), data("new"));
        let base = Content { owner_tag: "o", type_: "Opaque", item_versions: "v/i@1", data: &old };
        let tag = signer.content_tag(base);
        assert_eq!(signer.check_content(&tag, base), Proof::Valid);
        for other in [
            Content { owner_tag: "p", ..base },
            Content { type_: "kubernetes.io/tls", ..base },
            Content { item_versions: "v/i@2", ..base },
            Content { data: &new, ..base },
        ] {
            assert_eq!(signer.check_content(&tag, other), Proof::Invalid);
        }
    }

    #[test]
    fn a_receipt_is_read_back_by_its_request_alone() {
        let signer = keys(1).signer("shop", "orders");
        let receipt = Receipt {
            secret_uid: "0b6c".to_owned(),
            resource_version: 42,
            content_tag: signer.owner_tag("a", "b", "c"),
            basis: "abc".to_owned(),
            granted: "def".to_owned(),
            record: "stream-7".to_owned(),
        };
        let text = signer.receipt("uid-1", &receipt);
        assert_eq!(signer.read_receipt("uid-1", &text), Some(receipt));
        assert_eq!(signer.read_receipt("uid-2", &text), None);
        assert_eq!(signer.read_receipt("uid-1", &text.replace(".42.", ".43.")), None);
        assert_eq!(signer.read_receipt("uid-1", "nonsense"), None);
    }

    #[test]
    fn a_profile_is_proven_for_its_namespace_by_keys_of_its_own() {
        let (master, profile) = (keys(1), b"profile".as_slice());
        let tag = master.profile_signer("shop").tag(profile);
        assert_eq!(master.profile_signer("shop").check(&tag, profile), Proof::Valid);
        assert_eq!(master.profile_signer("shop").check(&tag, b"another"), Proof::Invalid);
        assert_eq!(master.profile_signer("other").check(&tag, profile), Proof::Invalid);
        assert_eq!(master.signer("shop", "").verify(&tag, profile), Proof::Invalid);
        assert_eq!(keys(2).profile_signer("shop").check(&tag, profile), Proof::UnknownKey);
    }

    #[test]
    fn the_name_of_an_intent_is_read_back_off_its_secret_alone() {
        let signer = keys(1).signer("shop", "orders");
        let text = signer.audit_record("shop", "orders", "stream-7");
        assert_eq!(signer.read_audit_record("shop", "orders", &text), Some("stream-7"));
        assert_eq!(signer.read_audit_record("shop", "other", &text), None);
        let forged = text.replace("stream-7", "stream-8");
        assert_eq!(signer.read_audit_record("shop", "orders", &forged), None);
        assert_eq!(signer.read_audit_record("shop", "orders", "stream-7"), None);
    }

    #[test]
    fn a_note_of_a_deletion_is_of_one_secret_and_no_annotation_passes_for_one() {
        let signer = keys(1).signer("shop", "orders");
        let text = signer.deletion("shop", "orders", "uid", "stream-7");
        assert_eq!(signer.read_deletion("shop", "orders", "uid", &text), Some("stream-7"));
        assert_eq!(signer.read_deletion("shop", "orders", "other", &text), None);
        assert_eq!(signer.read_deletion("shop", "other", "uid", &text), None);
        let annotation = signer.audit_record("shop", "orders", "stream-7");
        assert_eq!(signer.read_deletion("shop", "orders", "uid", &annotation), None);
        assert_eq!(signer.read_audit_record("shop", "orders", &text), None);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let master = keys(7);
        let text =
            format!("{master:?} {:?} {:?}", master.signer("a", "b"), master.profile_signer("a"));
        assert!(!text.contains("7, 7"), "{text}");
    }
}
