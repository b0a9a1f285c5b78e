//! What a Connect server says of itself.

use serde::{Deserialize, Deserializer};

/// The longest answer that is read, in bytes.
pub(super) const BODY_LIMIT: usize = 64 << 10;

/// The longest text that is kept, in characters.
const TEXT_MAX: usize = 64;

/// The most dependencies that are kept: as many as the status of a ConnectServer takes.
const DEPENDENCIES_MAX: usize = 16;

/// What a server says of itself. Its texts have at most 64 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerHealth {
    /// The version of Connect; empty where it does not say.
    #[serde(default, deserialize_with = "text")]
    pub version: String,
    /// What it needs, 16 at most.
    #[serde(default, deserialize_with = "dependencies")]
    pub dependencies: Vec<Dependency>,
}

/// Something that a server needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Dependency {
    /// What it is, such as `sync`.
    #[serde(default, deserialize_with = "text")]
    pub service: String,
    /// How it is, such as `ACTIVE`.
    #[serde(default, deserialize_with = "text")]
    pub status: String,
}

impl ServerHealth {
    /// What keeps the server from answering: it says 200 also when it has not synchronised, and answers
    /// every call with 500 then. Services that we do not know stand in nobody's way.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Dependency> {
        self.dependencies.iter().find(|dependency| {
            let needed = match dependency.service.as_str() {
                "account_data" => "AVAILABLE",
                "sync" => "ACTIVE",
                _ => return false,
            };
            dependency.status != needed
        })
    }

    /// Whether the server can answer.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.obstacle().is_none()
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    Ok(text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect())
}

fn dependencies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Dependency>, D::Error> {
    let mut all = Option::<Vec<Dependency>>::deserialize(deserializer)?.unwrap_or_default();
    all.truncate(DEPENDENCIES_MAX);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(dependencies: &[(&str, &str)]) -> ServerHealth {
        let dependencies = dependencies.iter().map(|(service, status)| Dependency {
            service: (*service).to_owned(),
            status: (*status).to_owned(),
        });
        ServerHealth { version: "1.8.1".to_owned(), dependencies: dependencies.collect() }
    }

    #[test]
    fn a_server_is_ready_once_its_data_is_there_and_in_sync() {
        let synced = [("sqlite", "ACTIVE"), ("sync", "ACTIVE"), ("account_data", "AVAILABLE")];
        assert!(health(&synced).is_ready());
        assert!(health(&[]).is_ready());
        assert!(health(&[("1Password", "UNINITIALIZED"), ("novel", "DOWN")]).is_ready());
        for (service, status) in
            [("sync", "TOKEN_NEEDED"), ("account_data", "NOT_SYNCED"), ("sync", "")]
        {
            let health = health(&[("sqlite", "ACTIVE"), (service, status)]);
            assert_eq!(health.obstacle().map(|d| d.service.as_str()), Some(service));
        }
    }

    #[test]
    fn what_a_server_says_is_kept_within_bounds() {
        let long = "x".repeat(100);
        let row = format!(r#"{{"service":"{long}","status":"a\u001b[31m\n","message":"m"}}"#);
        let body = format!(
            r#"{{"name":"1Password Connect API","version":"{long}","dependencies":[{}]}}"#,
            vec![row; 40].join(",")
        );
        let health: ServerHealth = serde_json::from_str(&body).unwrap();
        assert_eq!((health.version.len(), health.dependencies.len()), (TEXT_MAX, DEPENDENCIES_MAX));
        assert_eq!(health.dependencies[0].status, "a[31m");
        let bare: ServerHealth = serde_json::from_str(r#"{"dependencies":null}"#).unwrap();
        assert!(bare.version.is_empty() && bare.is_ready());
    }
}
