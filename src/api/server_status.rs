use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The most vaults that a server's status lists.
pub const VAULT_LIMIT: usize = 200;

/// What Portcullis found out about the server. Figures that change all the time are metrics.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectServerStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the annotation `portcullis.dev/refresh-requested-at` that was acted on last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_handled_refresh_request: Option<String>,
    /// `Reachable`, `TokenValid` and `Ready`; `CachePersisted` where the cache is to survive a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The host that is asked first at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub active_host: Option<String>,
    /// Connect's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// What Connect itself depends on, as its /health tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".into()]))]
    pub dependencies: Vec<DependencyStatus>,
    /// When the token ends, as it says itself; absent for one that does not end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Time>,
    /// How many vaults the token can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault_count: Option<i32>,
    /// The vaults that the token can read, the first 200 by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub vaults: Vec<VaultStatus>,
    /// The least epoch of each vault's cache Secret that is still accepted: an older one was put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["vault".into()]))]
    pub cache_epochs: Vec<CacheEpoch>,
}

/// Something that Connect depends on.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct DependencyStatus {
    /// Its name, such as `sync`.
    #[schemars(length(max = 64))]
    pub service: String,
    /// How it is, such as `ACTIVE`.
    #[schemars(length(max = 64))]
    pub status: String,
}

/// A vault that the token can read.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct VaultStatus {
    /// Its id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Its name.
    #[schemars(length(max = 256))]
    pub name: String,
    /// The class that says how long its values may be kept.
    #[schemars(length(max = 63))]
    pub class: String,
}

/// The age of a vault's cache Secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct CacheEpoch {
    /// The vault's id.
    #[schemars(length(max = 64))]
    pub vault: String,
    /// Counts the writes of its cache Secret.
    pub epoch: i64,
}
