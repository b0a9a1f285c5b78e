//! What a server says of itself: its version, its dependencies, and how much a vault's body tells.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version that a server says it has, unless told otherwise.
pub const DEFAULT_VERSION: &str = "1.8.2";

/// What `/health` says of the parts that a server depends on. It answers 200 whatever they are.
///
/// Services and statuses seen of Connect: `sync` `ACTIVE` or `TOKEN_NEEDED`, `sqlite` `ACTIVE`, `account_data`
/// `AVAILABLE` or `NOT_SYNCED`, `1Password` `ACTIVE` or `UNINITIALIZED`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Health {
    dependencies: Vec<Dependency>,
}

/// A part that a server depends on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    /// Which part.
    service: String,
    /// How it does.
    status: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Dependency {
    fn new(service: &str, status: &str) -> Self {
        Self { service: service.to_owned(), status: status.to_owned(), message: None }
    }
}

impl Default for Health {
    /// All is well.
    fn default() -> Self {
        let message = Some("Connected to ~/1password.sqlite".to_owned());
        Self {
            dependencies: vec![
                Dependency::new("sync", "ACTIVE"),
                Dependency { message, ..Dependency::new("sqlite", "ACTIVE") },
                Dependency::new("account_data", "AVAILABLE"),
            ],
        }
    }
}

impl Health {
    /// No dependency at all, as a server that has only begun says.
    #[must_use]
    pub fn none() -> Self {
        Self { dependencies: Vec::new() }
    }

    /// Gives a dependency a status, and adds it where it is not there: `.with("sync", "TOKEN_NEEDED")`.
    #[must_use]
    pub fn with(mut self, service: &str, status: &str) -> Self {
        match self.dependencies.iter_mut().find(|d| d.service == service) {
            Some(known) => *known = Dependency::new(service, status),
            None => self.dependencies.push(Dependency::new(service, status)),
        }
        self
    }
}

/// Which bodies of a vault carry `contentVersion`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ContentVersions {
    /// The list's and the single vault's.
    #[default]
    Everywhere,
    /// The single vault's alone.
    SingleVault,
    /// None, as of a server too old to know it.
    Nowhere,
}

/// How a server presents itself.
#[derive(Clone)]
pub(crate) struct Presence {
    pub(crate) version: String,
    pub(crate) health: Health,
    pub(crate) content_versions: ContentVersions,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            health: Health::default(),
            content_versions: ContentVersions::default(),
        }
    }
}

impl Presence {
    /// The body of `/health`.
    pub(crate) fn body(&self) -> Value {
        json!({
            "name": "1Password Connect API",
            "version": self.version,
            "dependencies": self.health.dependencies,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_changes_or_is_added() {
        let health = Health::default().with("sync", "TOKEN_NEEDED").with("1Password", "ACTIVE");
        let body = Presence { health, ..Presence::default() }.body();
        assert_eq!(body["dependencies"][0], json!({"service": "sync", "status": "TOKEN_NEEDED"}));
        assert_eq!(body["dependencies"].as_array().map(Vec::len), Some(4));
        let none = Presence { health: Health::none(), ..Presence::default() }.body();
        assert_eq!(none["dependencies"], json!([]));
    }
}
