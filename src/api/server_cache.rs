use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectServerSpec, parse_duration};

/// How long values of some vaults may be kept.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.ttl) != has(self.cache)").message("a class needs exactly one of ttl and cache: Never"))]
pub struct CacheClass {
    /// The class's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How long a value serves without a word from 1Password that it is current, up to 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("ttl must be at most 24h"))]
    pub ttl: Option<String>,
    /// `Never`: values are fetched each time and not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<ClassCache>,
    /// How long a value may serve in an outage; as long as spec.fallback.maxStaleness when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('168h')").message("maxStaleness must be at most 168h"))]
    pub max_staleness: Option<String>,
}

/// Whether values of a class are kept at all.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassCache {
    /// They are not.
    Never,
}

/// What may serve while 1Password cannot be asked.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServerFallback {
    /// How long a cached value, or a Secret as it stands, counts as good in an outage; 24h when absent.
    /// With 0s no cached value serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('168h')").message("maxStaleness must be at most 168h"))]
    pub max_staleness: Option<String>,
    /// Variables of the operator's environment that stand in for fields where there is no Secret yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ref".into()]))]
    pub environment: Vec<EnvironmentEntry>,
}

/// A variable that stands in for a field.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentEntry {
    /// The field, as a secret reference with canonical names or ids.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new(
        "self.matches('^op://[A-Za-z0-9_.-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?(/[A-Za-z0-9_.-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?){2,3}$')"
    ).message("ref must be op://<vault>/<item>/[<section>/]<field>"))]
    pub reference: String,
    /// The variable's name.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[A-Z][A-Z0-9_]*$') && !self.startsWith('PORTCULLIS_') && !self.startsWith('KUBERNETES_')"
    ).message("variable must be upper-case letters, digits and '_', and not one that the operator or Kubernetes uses itself"))]
    pub variable: String,
}

/// Where values are kept between fetches.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CacheSettings {
    /// `Secret` keeps them over a restart, sealed, in Secrets of the operator's namespace; `None` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Fetches items of standing grants that are not in the cache ahead of need; false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm: Option<bool>,
}

/// Whether the cache survives a restart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// It does not.
    #[default]
    None,
    /// In Secrets of the operator's namespace, sealed with a key that lies elsewhere.
    Secret,
}

impl ConnectServerSpec {
    /// How long a value or a Secret may count as good in an outage, if the server says.
    #[must_use]
    pub fn max_staleness(&self) -> Option<Duration> {
        self.fallback.as_ref()?.max_staleness.as_deref().and_then(parse_duration)
    }

    /// The variables that stand in for fields.
    #[must_use]
    pub fn environment_map(&self) -> &[EnvironmentEntry] {
        self.fallback.as_ref().map(|f| f.environment.as_slice()).unwrap_or_default()
    }

    /// Whether and where the cache survives a restart.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.cache.as_ref().and_then(|c| c.persistence).unwrap_or_default()
    }

    /// Whether items of standing grants are fetched ahead of need.
    #[must_use]
    pub fn warms(&self) -> bool {
        self.cache.as_ref().and_then(|c| c.warm).unwrap_or(false)
    }

    /// The class of a vault of a name.
    #[must_use]
    pub fn vault_class(&self, vault_name: &str) -> &str {
        let own =
            self.vaults.iter().find(|v| v.name == vault_name).and_then(|v| v.class.as_deref());
        own.or(self.default_class.as_deref()).unwrap_or("integrations")
    }

    /// How long values of a class serve without a word that they are current; `None` is never.
    /// A class that nobody defined is never kept.
    #[must_use]
    pub fn class_ttl(&self, class: &str) -> Option<Duration> {
        if let Some(own) = self.classes.iter().find(|c| c.name == class) {
            return own.ttl.as_deref().and_then(parse_duration);
        }
        match class {
            "infrastructure" => Some(Duration::from_secs(3600)),
            "services" => Some(Duration::from_secs(30 * 60)),
            "integrations" => Some(Duration::from_secs(15 * 60)),
            _ => None,
        }
    }

    /// How long values of a class may serve in an outage, if the class says.
    #[must_use]
    pub fn class_max_staleness(&self, class: &str) -> Option<Duration> {
        let own = self.classes.iter().find(|c| c.name == class)?;
        own.max_staleness.as_deref().and_then(parse_duration)
    }
}
