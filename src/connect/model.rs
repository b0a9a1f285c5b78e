//! What Connect answers, as far as it is needed. Former passwords, one-time codes and whatever else an item
//! holds are not read (<https://www.1password.dev/connect/api-reference>).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

/// The longest name of a vault or title of an item that is kept whole, in bytes. No reference can spell
/// a longer one.
pub const MAX_NAME: usize = 1024;

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vault {
    /// 26 letters and digits.
    #[serde(deserialize_with = "id")]
    pub id: Arc<str>,
    /// The name; cut after [`MAX_NAME`] bytes, with an ellipsis that makes it longer than that.
    #[serde(deserialize_with = "name")]
    pub name: Arc<str>,
    /// Moves with every change of an item in the vault; older servers have none.
    #[serde(default)]
    pub content_version: Option<i64>,
    /// How many items the vault has, if the server says so.
    #[serde(default)]
    pub items: Option<i64>,
}

/// An item in the list of its vault.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ItemSummary {
    /// 26 letters and digits.
    #[serde(deserialize_with = "id")]
    pub id: Arc<str>,
    /// The title, which may be empty; cut after [`MAX_NAME`] bytes, with an ellipsis that makes it longer
    /// than that.
    #[serde(default, deserialize_with = "name")]
    pub title: Arc<str>,
    /// The id of the item's vault.
    #[serde(rename = "vault", deserialize_with = "parent")]
    pub vault_id: Arc<str>,
    /// Moves with every change of the item.
    pub version: i64,
    /// Archived and deleted items are listed, too.
    #[serde(default)]
    pub state: State,
    /// `LOGIN`, `DATABASE` and so on: an open set. Empty where the server does not tell.
    #[serde(default, deserialize_with = "name")]
    pub category: Arc<str>,
}

/// An item with its values.
#[derive(Debug, Deserialize)]
pub struct Item {
    /// 26 letters and digits.
    #[serde(deserialize_with = "id")]
    pub id: Arc<str>,
    /// The title, which may be empty; cut after [`MAX_NAME`] bytes, with an ellipsis that makes it longer
    /// than that.
    #[serde(default, deserialize_with = "name")]
    pub title: Arc<str>,
    /// The id of the item's vault.
    #[serde(rename = "vault", deserialize_with = "parent")]
    pub vault_id: Arc<str>,
    /// Moves with every change of the item.
    pub version: i64,
    /// Whether the item is in use.
    #[serde(default)]
    pub state: State,
    /// The sections, in the item's order.
    #[serde(default, deserialize_with = "or_default")]
    pub sections: Vec<Section>,
    /// The fields, in the item's order.
    #[serde(default, deserialize_with = "or_default")]
    pub fields: Vec<Field>,
    /// The files that are attached, without their contents.
    #[serde(default, deserialize_with = "or_default")]
    pub files: Vec<File>,
    /// The websites.
    #[serde(default, deserialize_with = "or_default")]
    pub urls: Vec<Website>,
}

/// A section of an item.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Section {
    /// Any text.
    pub id: String,
    /// The label; a section need not have one.
    #[serde(default)]
    pub label: Option<String>,
}

/// A field of an item.
#[derive(Debug)]
pub struct Field {
    /// Any text, such as `username` or a UUID.
    pub id: String,
    /// The label; a field need not have one.
    pub label: Option<String>,
    /// `STRING`, `CONCEALED` and so on: an open set, in which servers go beyond their specification.
    pub type_: String,
    /// `USERNAME`, `PASSWORD`, `NOTES` or something else; often empty.
    pub purpose: Option<String>,
    /// Absent when the field is empty, and always absent for a one-time password, whose value is the
    /// seed that makes all codes to come.
    pub value: Option<Value>,
    /// The id of the field's section; the label is in [`Item::sections`].
    pub section_id: Option<String>,
}

impl Field {
    /// Whether the field is a one-time password. The type on the wire is `OTP`; the specification has
    /// `TOTP` (<https://github.com/1Password/connect/pull/26>).
    #[must_use]
    pub fn is_one_time_password(&self) -> bool {
        self.type_.eq_ignore_ascii_case("OTP") || self.type_.eq_ignore_ascii_case("TOTP")
    }
}

/// A file that is attached to an item. Its contents are another call, by its id: the path in the answer is
/// not read, since it could lead elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// 26 letters and digits, as far as is known: to be checked before it stands in a path.
    pub id: String,
    /// The name, such as `ca.pem`.
    pub name: String,
    /// The size in bytes, if the server says so.
    pub size: Option<u64>,
    /// The id of the file's section.
    pub section_id: Option<String>,
}

/// A website of an item.
#[derive(Debug, Deserialize)]
pub struct Website {
    /// The label; a website need not have one.
    #[serde(default)]
    pub label: Option<String>,
    /// Whether it is the first of the item's websites.
    #[serde(default, deserialize_with = "or_default")]
    pub primary: bool,
    /// The address, which may have a password in it.
    #[serde(default)]
    pub href: Option<Value>,
}

/// Whether an item is in use. An unknown state counts as active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// In use.
    #[default]
    Active,
    /// In the archive: no reference finds it.
    Archived,
    /// Deleted, and still listed.
    Deleted,
}

/// A value out of 1Password. Never shown by `Debug`, without `Display` and `Serialize`, and wiped when it
/// is dropped.
pub struct Value(Zeroizing<String>);

impl Value {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the value is the empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The content of a file. Never shown by `Debug`, and wiped when it is dropped.
pub struct FileContent(Zeroizing<Vec<u8>>);

impl FileContent {
    /// The content itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for FileContent {
    fn from(content: Zeroizing<Vec<u8>>) -> Self {
        Self(content)
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileContent([REDACTED])")
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value([REDACTED])")
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)? {
            Some(state) if state.eq_ignore_ascii_case("ARCHIVED") => Self::Archived,
            Some(state) if state.eq_ignore_ascii_case("DELETED") => Self::Deleted,
            Some(_) | None => Self::Active,
        })
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            id: String,
            #[serde(default)]
            label: Option<String>,
            #[serde(default, rename = "type")]
            type_: String,
            #[serde(default)]
            purpose: Option<String>,
            #[serde(default)]
            value: Option<Value>,
            #[serde(default)]
            section: Option<Parent>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let mut field = Self {
            id: wire.id,
            label: wire.label,
            type_: wire.type_,
            purpose: wire.purpose,
            value: wire.value,
            section_id: wire.section.map(|section| section.id),
        };
        if field.is_one_time_password() {
            field.value = None;
        }
        Ok(field)
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            id: String,
            #[serde(default)]
            name: String,
            #[serde(default)]
            size: Option<u64>,
            #[serde(default)]
            section: Option<Parent>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            id: wire.id,
            name: wire.name,
            size: wire.size,
            section_id: wire.section.map(|section| section.id),
        })
    }
}

/// What an item, a field or a file is in: only the id is of use.
#[derive(Deserialize)]
struct Parent {
    id: String,
}

/// Whether a text has the form of the ids that Connect gives to vaults and items: such a text can stand
/// in a path as it is.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn checked_id<E: de::Error>(text: String) -> Result<Arc<str>, E> {
    if is_id(&text) { Ok(text.into()) } else { Err(E::custom("not an id")) }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    checked_id(String::deserialize(deserializer)?)
}

fn parent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    checked_id(Parent::deserialize(deserializer)?.id)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let mut name = String::deserialize(deserializer)?;
    if name.len() > MAX_NAME {
        let mut end = MAX_NAME;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        while name.len() <= MAX_NAME {
            name.push('…');
        }
    }
    Ok(name.into())
}

/// What may also be null.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
