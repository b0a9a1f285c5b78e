//! The Secret: whose it is, what it holds, and how it is written so that no other is touched.

mod delete;
mod desired;
mod keys;
mod ownership;
mod tags;
mod write;

pub use delete::Attempt;
pub use keys::{KEY_SECRET, KeyError, load_keys, load_or_create_keys};
pub use ownership::{SecretState, state_of};
pub use tags::{Content, MasterKeys, ProfileSigner, Proof, Receipt, Signer};
pub use write::{SecretChange, SecretWriter, WriteError, Written};

/// The annotation with the owner tag.
pub const OWNER_TAG: &str = "portcullis.dev/owner-tag";
/// The annotation with the content tag.
pub const CONTENT_TAG: &str = "portcullis.dev/content-tag";
/// The annotation with the versions of the items, in clear.
pub const ITEM_VERSIONS: &str = "portcullis.dev/item-versions";
/// The annotation with the id of the intent in the audit stream by which it was written.
pub const AUDIT_RECORD: &str = "portcullis.dev/audit-record";
