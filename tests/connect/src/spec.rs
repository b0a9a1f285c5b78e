//! What a state file says: tokens, vaults, items and fields, in a shape for people.

use std::fmt;

use anyhow::Context as _;
use serde::de::{MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// The whole state of a server at its start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpec {
    /// Who may read what.
    #[serde(default)]
    pub tokens: Vec<TokenSpec>,
    /// The vaults and what is in them.
    #[serde(default)]
    pub vaults: Vec<VaultSpec>,
}

impl StateSpec {
    /// Reads YAML. The error names a place and never quotes the text, which holds values.
    pub fn from_yaml(text: &str) -> anyhow::Result<Self> {
        serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            match error.location() {
                Some(at) => {
                    anyhow::anyhow!("line {}, column {}: {}", at.line(), at.column(), kind(error))
                }
                None => anyhow::anyhow!("{}", kind(error)),
            }
        })
    }

    /// Reads a YAML file.
    pub fn from_file(path: impl AsRef<std::path::Path>) -> anyhow::Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::from_yaml(&text).with_context(|| path.display().to_string())
    }

    /// Adds a token for vaults named (or `*`).
    #[must_use]
    pub fn token(mut self, token: &str, vaults: &[&str]) -> Self {
        self.tokens.push(TokenSpec {
            token: token.to_owned(),
            vaults: vaults.iter().map(|&v| v.to_owned()).collect(),
        });
        self
    }

    /// Adds a vault.
    #[must_use]
    pub fn vault(mut self, name: &str, items: Vec<ItemSpec>) -> Self {
        self.vaults.push(VaultSpec { items, ..VaultSpec::new(name) });
        self
    }
}

/// A bearer token and the vaults it opens.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// The token itself: any text, or what [`crate::fake_token`] gives.
    pub token: String,
    /// Names or ids of vaults; `*` is every vault, also one added later.
    #[serde(default)]
    pub vaults: Vec<String>,
}

impl fmt::Debug for TokenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSpec").field("vaults", &self.vaults).finish_non_exhaustive()
    }
}

/// A vault.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSpec {
    /// Its name.
    pub name: String,
    /// Its id; derived from the name when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// What it holds.
    #[serde(default)]
    pub items: Vec<ItemSpec>,
}

impl VaultSpec {
    /// An empty vault.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

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

/// What is wrong, in words that cannot hold a value.
fn kind(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("`{field}` is not known here; known: {}", expected.join(", "))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is there twice"),
        _ => "this is not YAML, or not of the expected shape".to_owned(),
    }
}
