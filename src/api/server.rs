use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    CacheClass, CacheSettings, ConnectServerStatus, LabelSelector, ServerFallback, parse_duration,
};

/// A 1Password Connect server, and who may read what through it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "ConnectServer",
    doc = "A 1Password Connect server, and who may read what through it",
    status = "ConnectServerStatus",
    derive = "PartialEq",
    shortname = "connsrv",
    category = "portcullis",
    printcolumn(name = "Host", type_ = "string", json_path = ".status.activeHost"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Vaults", type_ = "integer", json_path = ".status.vaultCount"),
    printcolumn(name = "Token-Expires", type_ = "date", json_path = ".status.tokenExpiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "(has(self.controllerClass) ? self.controllerClass : '') == (has(oldSelf.controllerClass) ? oldSelf.controllerClass : '')"
    ).message("spec.controllerClass cannot change: it decides which operator serves the requests of this server"),
    validation = Rule::new(
        "(has(self.allowInsecure) && self.allowInsecure) || self.hosts.all(h, h.url.startsWith('https://'))"
    ).message("hosts must use https://; http:// sends the token in clear and needs allowInsecure: true"),
    validation = Rule::new(
        "!has(self.vaults) || self.vaults.all(v, !has(v.class) || v.class in ['infrastructure', 'services', 'integrations', 'emergency'] || (has(self.classes) && self.classes.exists(c, c.name == v.class)))"
    ).message("vaults[].class must be one of spec.classes, or infrastructure, services, integrations or emergency"),
    validation = Rule::new(
        "!has(self.defaultClass) || self.defaultClass in ['infrastructure', 'services', 'integrations', 'emergency'] || (has(self.classes) && self.classes.exists(c, c.name == self.defaultClass))"
    ).message("defaultClass must be one of spec.classes, or infrastructure, services, integrations or emergency")
)]
pub struct ConnectServerSpec {
    /// The class of operator that serves this server; empty when absent. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub controller_class: Option<String>,
    /// Where Connect answers, in order of preference: the next is asked while those before it are unavailable.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    pub hosts: Vec<Host>,
    /// Allows `http://` hosts. The token and the values then cross the network in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_insecure: Option<bool>,
    /// The Secret with the Connect token, in the operator's namespace.
    pub token_secret_ref: TokenRef,
    /// The authority that signed the hosts' certificates; the system's authorities when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSource>,
    /// Who may read what. Nothing may be read without a row that allows it.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub access: Vec<AccessRow>,
    /// Facts about vaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub vaults: Vec<VaultSettings>,
    /// How often the server is asked what changed, from 1s to 1h; 30s when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
        .message("pollInterval must be from 1s to 1h"))]
    pub poll_interval: Option<String>,
    /// What Portcullis asks of the server at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How long values of which vaults may be kept. Classes of these names take the place of
    /// infrastructure (1h), services (30m), integrations (15m) and emergency (never); others are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub classes: Vec<CacheClass>,
    /// The class of a vault that has none; `integrations` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub default_class: Option<String>,
    /// What may serve while 1Password cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<ServerFallback>,
    /// Where values are kept between fetches; in memory alone when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,
}

/// An address of the server.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// The origin, such as `https://connect.internal:8443`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(r"self.matches('^https?://[A-Za-z0-9._:\\[\\]-]+/?$') && isURL(self)")
        .message("url must be an origin such as https://connect.internal:8443, without a path, user or query"))]
    pub url: String,
}

/// A key of the token Secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TokenRef {
    /// The Secret's name. It carries the label `portcullis.dev/purpose: connect-token`
    /// and the annotation `portcullis.dev/allowed-hosts`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key; `token` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// Where the authority's certificates are.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.inline), has(self.configMapRef), has(self.secretRef)].filter(set, set).size() == 1"
).message("ca needs exactly one of inline, configMapRef and secretRef"))]
pub struct CaSource {
    /// Certificates in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub inline: Option<String>,
    /// A key of a ConfigMap in the operator's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
    /// A key of a Secret in the operator's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,
}

/// A key of an object.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key; `ca.crt` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// Allows some namespaces to read some items.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AccessRow {
    /// The row's name; decisions name it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The namespaces whose requests the row allows.
    pub namespaces: Namespaces,
    /// The vaults that they may read.
    #[schemars(length(min = 1, max = 64))]
    pub vaults: Vec<VaultSelector>,
    /// The items in them, by title or id; `*` stands for any run of characters, `?` for one. All when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub items: Option<Vec<String>>,
}

/// A set of namespaces.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.names), has(self.selector), has(self.all)].filter(set, set).size() == 1")
        .message("namespaces needs exactly one of names, selector and all"),
    validation = Rule::new("!has(self.all) || self.all").message("all can only be true; leave the row out instead"),
    validation = Rule::new(
        "!has(self.selector) || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)"
    ).message("selector must not be empty; use all: true for every namespace")
)]
pub struct Namespaces {
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)))]
    pub names: Option<Vec<String>>,
    /// By label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// All of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

/// Vaults, by canonical name or by id.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.id)").message("a vault is selected by exactly one of name and id"))]
pub struct VaultSelector {
    /// The vault's name; `*` stands for any run of characters, `?` for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// The vault's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 26, max = 26))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]{26}$')").message("id must be 26 lower-case letters and digits"))]
    pub id: Option<String>,
}

/// Facts about the vaults of one name.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultSettings {
    /// The vault's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The environment of every item in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub environment: Option<String>,
    /// The class that says how long its values may be kept; spec.defaultClass when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub class: Option<String>,
}

/// Limits towards one server.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests in flight at most; 8 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<i32>,
    /// Requests a second at most; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: Option<i32>,
}

impl ConnectServerSpec {
    /// The time between polls, if the server sets one.
    #[must_use]
    pub fn poll_interval(&self) -> Option<Duration> {
        self.poll_interval.as_deref().and_then(parse_duration)
    }

    /// The hosts' origins in their order, without a slash at the end and in lower case.
    #[must_use]
    pub fn origins(&self) -> Vec<String> {
        self.hosts.iter().map(|host| normalized_origin(&host.url)).collect()
    }

    /// The facts about a vault of a name.
    #[must_use]
    pub fn vault_environment(&self, vault_name: &str) -> Option<&str> {
        self.vaults.iter().find(|v| v.name == vault_name)?.environment.as_deref()
    }
}

/// An origin in the form in which origins are compared.
#[must_use]
pub fn normalized_origin(url: &str) -> String {
    url.trim().trim_end_matches('/').to_ascii_lowercase()
}

impl TokenRef {
    /// The key of the token in its Secret.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("token")
    }
}

impl KeyRef {
    /// The key of the certificates in their object.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("ca.crt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_without_case_and_final_slash() {
        assert_eq!(normalized_origin(" HTTPS://Connect:8443/ "), "https://connect:8443");
    }
}
