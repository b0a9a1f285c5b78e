//! What a state file says: tokens, vaults, items and fields, in a shape for people.

use std::fmt;

use anyhow::Context as _;
use serde::Deserialize;

use crate::token::Access;

mod item;

pub use item::{FieldSpec, FileSpec, ItemSpec, SectionSpec};

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

    /// Adds a token that reads the vaults named (or `*`).
    #[must_use]
    pub fn token(mut self, token: &str, vaults: &[&str]) -> Self {
        self.tokens.push(TokenSpec::new(token, vaults, Access::Read));
        self
    }

    /// Adds a token that reads and writes the vaults named (or `*`).
    #[must_use]
    pub fn writing_token(mut self, token: &str, vaults: &[&str]) -> Self {
        self.tokens.push(TokenSpec::new(token, vaults, Access::ReadWrite));
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
    /// What it may do in each of them.
    #[serde(default)]
    pub access: Access,
}

impl TokenSpec {
    /// A token for vaults by name or id, or `*`.
    #[must_use]
    pub fn new(token: &str, vaults: &[&str], access: Access) -> Self {
        let vaults = vaults.iter().map(|&v| v.to_owned()).collect();
        Self { token: token.to_owned(), vaults, access }
    }
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
