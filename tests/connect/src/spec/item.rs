//! An item and its parts, as a state file writes them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// An item.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemSpec {
    /// Its title; several items may have the same.
    pub title: String,
    /// Its id; derived from the vault and the title when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// `LOGIN` when absent.
    #[serde(default)]
    pub category: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its web addresses; the first is the primary one.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Sections, where an id of one matters or two have the same label; others come from the fields.
    #[serde(default)]
    pub sections: Vec<SectionSpec>,
    /// Its fields: a list, or a map from label to value.
    #[serde(default, deserialize_with = "fields")]
    pub fields: Vec<FieldSpec>,
    /// Its files.
    #[serde(default)]
    pub files: Vec<FileSpec>,
    /// `ARCHIVED` or `DELETED`; absent in an ordinary item.
    #[serde(default)]
    pub state: Option<String>,
}

impl ItemSpec {
    /// An item without fields.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// Adds a field outside of any section.
    #[must_use]
    pub fn field(self, label: &str, value: &str) -> Self {
        self.with(FieldSpec::new(label, value))
    }

    /// Adds a field to a section.
    #[must_use]
    pub fn section_field(self, section: &str, label: &str, value: &str) -> Self {
        self.with(FieldSpec { section: Some(section.to_owned()), ..FieldSpec::new(label, value) })
    }

    /// Adds a field given in full.
    #[must_use]
    pub fn with(mut self, field: FieldSpec) -> Self {
        self.fields.push(field);
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, file: FileSpec) -> Self {
        self.files.push(file);
        self
    }

    /// Sets the category.
    #[must_use]
    pub fn category(mut self, category: &str) -> Self {
        self.category = Some(category.to_owned());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }
}

/// A section of an item.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionSpec {
    /// Its id, which fields may name.
    pub id: String,
    /// Its label, which fields may name too.
    #[serde(default)]
    pub label: Option<String>,
}

/// A field.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// What people see.
    pub label: String,
    /// Its id; derived from the label and the section when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// Its value. An empty one is left out of the body, as Connect does.
    #[serde(default)]
    pub value: String,
    /// `USERNAME`, `PASSWORD` or `NOTES`. When absent, `username` and `password` outside of a section get
    /// theirs; an empty text says: none.
    #[serde(default)]
    pub purpose: Option<String>,
    /// `STRING` when absent, `CONCEALED` for a password, `OTP` for a one-time password.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Label or id of the section.
    #[serde(default)]
    pub section: Option<String>,
    /// The code of the moment, of a field of type `OTP`.
    #[serde(default)]
    pub totp: Option<String>,
    /// Former values, which Connect puts into the body of a password field. When absent, one invented value:
    /// see [`crate::retired_value`].
    #[serde(default)]
    pub history: Option<Vec<String>>,
}

impl FieldSpec {
    /// A field outside of any section.
    #[must_use]
    pub fn new(label: &str, value: &str) -> Self {
        Self { label: label.to_owned(), value: value.to_owned(), ..Self::default() }
    }
}

impl fmt::Debug for FieldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldSpec")
            .field("label", &self.label)
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

/// A file of an item: `{name, text}` or `{name, base64}`, with an id and a section where they matter.
#[derive(Clone, Deserialize)]
#[serde(try_from = "WrittenFile")]
pub struct FileSpec {
    /// Its name; several files may have the same.
    pub name: String,
    /// Its id; derived from the item and the name when absent.
    pub id: Option<String>,
    /// Label or id of the section.
    pub section: Option<String>,
    /// What it holds.
    pub content: Vec<u8>,
}

impl FileSpec {
    /// A file outside of any section.
    #[must_use]
    pub fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), id: None, section: None, content: content.into() }
    }
}

impl fmt::Debug for FileSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSpec")
            .field("name", &self.name)
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

/// A file as YAML has it, which knows no bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    name: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    section: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
}

impl TryFrom<WrittenFile> for FileSpec {
    type Error = &'static str;

    fn try_from(file: WrittenFile) -> Result<Self, Self::Error> {
        let content = match (file.text, file.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(encoded)) => {
                STANDARD.decode(encoded).map_err(|_| "a file's base64 does not decode")?
            }
            _ => return Err("a file has either text or base64"),
        };
        Ok(Self { name: file.name, id: file.id, section: file.section, content })
    }
}

fn fields<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FieldSpec>, D::Error> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<FieldSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of fields or a map from label to value")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some((label, value)) = map.next_entry::<String, String>()? {
                fields.push(FieldSpec::new(&label, &value));
            }
            Ok(fields)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    from.deserialize_any(Fields)
}
