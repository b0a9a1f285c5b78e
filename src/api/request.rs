use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CredentialRequestStatus, parse_duration};

/// An application's request for credentials: what it needs, what for, and the Secret to write.
///
/// Portcullis decides on it by policy, fetches the values from 1Password Connect and writes the Secret.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "CredentialRequest",
    doc = "An application's request for credentials: what it needs, what for, and the Secret to write",
    namespaced,
    status = "CredentialRequestStatus",
    derive = "PartialEq",
    shortname = "credreq",
    category = "portcullis",
    validation = Rule::new(
        "(has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) == (has(oldSelf.spec.target) && has(oldSelf.spec.target.name) ? oldSelf.spec.target.name : oldSelf.metadata.name)"
    ).message("spec.target.name cannot change: create another request for the other Secret, then delete this one"),
    selectable = ".spec.serverRef.name",
    selectable = ".spec.target.name",
    selectable = ".spec.suspend",
    selectable = ".status.decision.outcome",
    selectable = ".status.sync.source",
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
    printcolumn(name = "Decision", type_ = "string", json_path = ".status.decision.outcome"),
    printcolumn(name = "Risk", type_ = "integer", json_path = ".status.decision.riskScore"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.sync.source"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.sync.secretName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Server",
        type_ = "string",
        json_path = ".spec.serverRef.name",
        priority = 1
    ),
    printcolumn(
        name = "Stale-Since",
        type_ = "date",
        json_path = ".status.sync.staleSince",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRequestSpec {
    /// The ConnectServer that holds the credentials; `default` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_ref: Option<ServerRef>,
    /// Why the application needs the credentials, in words that an auditor can read. A claim.
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new(r"self.matches('\\S')")
        .message("purpose must say in words why the credentials are needed"))]
    pub purpose: String,
    /// The environment that the request says it is for. A claim: denied when it contradicts the facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')")
        .message("environment must be a word as labels have it, such as production"))]
    pub environment: Option<String>,
    /// Who mounts the Secret. A claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Consumer>,
    /// The keys of the Secret and where the value of each comes from.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub data: Vec<DataEntry>,
    /// The Secret to write; a Secret of the request's own name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// When the Secret is brought up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
    /// What may serve while 1Password cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Stops all work on this request while true; the Secret stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Names a ConnectServer.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServerRef {
    /// The ConnectServer's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Who uses the Secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    /// The ServiceAccount of the pods that mount the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
}

/// One key of the Secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.ref) != has(self.from)")
    .message("set exactly one of ref (op://<vault>/<item>/[<section>/]<field>) and from (vault, item, field)"))]
pub struct DataEntry {
    /// The key in the Secret: letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')")
        .message("key must consist of letters, digits, '-', '_' and '.', and neither be '.' nor start with '..', as Secrets demand"))]
    pub key: String,
    /// A 1Password secret reference, perhaps with `?attribute=` or `?ssh-format=openssh` after it.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new(
        "self.matches('^op://[A-Za-z0-9_.-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?(/[A-Za-z0-9_.-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?){2,3}([?].*)?$')"
    ).message("ref must be op://<vault>/<item>/[<section>/]<field>, each part of letters, digits, '-', '_', '.' and inner spaces; use from for other names"))]
    #[x_kube(validation = Rule::new(
        "!self.contains('?') || self.matches('^[^?]*[?](attr(ibute)?=(value|type|id|purpose|label|title|otp|totp|content|size|name)|(attr(ibute)?=(value|otp|totp)&)?ssh-format=openssh|ssh-format=openssh&attr(ibute)?=(value|otp|totp))$')"
    ).message("after the '?' of ref stands attribute=<value, type, id, purpose, label, content, size or name>, or ssh-format=openssh"))]
    pub reference: Option<String>,
    /// The same in parts, for names that a reference cannot spell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<ItemRef>,
}

/// A field of an item, in parts. Each part is a name or an id; any character is allowed.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.sshFormat) || !has(self.attribute) || self.attribute in ['value', 'otp', 'totp']")
    .message("sshFormat is a form of the value: leave attribute out"))]
pub struct ItemRef {
    /// The vault's name or id.
    #[schemars(length(min = 1, max = 256))]
    pub vault: String,
    /// The item's title or id.
    #[schemars(length(min = 1, max = 256))]
    pub item: String,
    /// The section's label or id; looked for across sections when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub section: Option<String>,
    /// The field's label or id, the name or id of a file, or the label of a website.
    #[schemars(length(min = 1, max = 256))]
    pub field: String,
    /// What of it to deliver; `value` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<Attribute>,
    /// The form of a private key; as it stands in 1Password when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_format: Option<SshFormat>,
}

/// What of a field or file is delivered, in the words of secret references; `value` when absent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    /// A field's value, a file's contents, a website's address.
    Value,
    /// A field's type, such as `CONCEALED`; `FILE` for a file.
    Type,
    /// The id.
    Id,
    /// A field's purpose, such as `PASSWORD`.
    Purpose,
    /// A field's label.
    Label,
    /// Another word for `label`.
    Title,
    /// A one-time password: refused, as it would be stale as soon as it is written.
    Otp,
    /// Another word for `otp`.
    Totp,
    /// A file's contents.
    Content,
    /// A file's size in bytes, in decimal digits.
    Size,
    /// A file's name.
    Name,
}

/// The form of a private key; as it stands in 1Password when absent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SshFormat {
    /// As `ssh-keygen` writes it.
    OpenSsh,
}

/// The Secret to write.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The Secret's name; the request's name when absent. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("target.name must be a Secret's name: lower-case letters, digits, '-' and '.', each part between dots starting and ending with a letter or digit"))]
    pub name: Option<String>,
    /// The Secret's type; `Opaque` when absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<SecretType>,
    /// How the Secret comes to be; `Create` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_policy: Option<CreationPolicy>,
    /// What happens to the Secret when the request is deleted; `Delete` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_request_deletion: Option<OnRequestDeletion>,
}

/// The types of Secret that Portcullis writes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretType {
    /// Arbitrary keys.
    #[default]
    Opaque,
}

impl SecretType {
    /// The value of the Secret's `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "Opaque",
        }
    }
}

/// How the Secret comes to be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreationPolicy {
    /// Portcullis creates the Secret and owns all of it; one that exists already is refused.
    #[default]
    Create,
}

/// What happens to the Secret when its request is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRequestDeletion {
    /// Kubernetes garbage-collects the Secret with the request.
    #[default]
    Delete,
    /// The Secret stays; it never carries an owner reference.
    Retain,
}

/// When the Secret is brought up to date.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    /// `Follow` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<RefreshPolicy>,
}

/// When the Secret is brought up to date.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshPolicy {
    /// The Secret follows every change in 1Password.
    #[default]
    Follow,
}

/// What may serve while 1Password cannot be asked.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// How long a cached value, or the Secret as it stands, counts as good in an outage; as long as the
    /// server says when absent, and never longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('168h')").message("maxStaleness must be at most 168h"))]
    pub max_staleness: Option<String>,
    /// A Secret of this namespace whose values serve where there is no Secret yet. Its owner allows it by the
    /// annotation `portcullis.dev/allow-request: <name of the request>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// Names a Secret of the request's namespace.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl CredentialRequestSpec {
    /// How long a value or the Secret may count as good in an outage, if the request says.
    #[must_use]
    pub fn max_staleness(&self) -> Option<Duration> {
        self.fallback.as_ref()?.max_staleness.as_deref().and_then(parse_duration)
    }

    /// The Secret whose values serve where there is none yet.
    #[must_use]
    pub fn fallback_secret(&self) -> Option<&str> {
        self.fallback.as_ref()?.secret_ref.as_ref().map(|s| s.name.as_str())
    }

    /// The ConnectServer's name, `default` when the request names none.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.server_ref.as_ref().map_or("default", |s| &s.name)
    }

    /// The Secret's name, the request's own when the target names none.
    #[must_use]
    pub fn secret_name<'a>(&'a self, request_name: &'a str) -> &'a str {
        self.target.as_ref().and_then(|t| t.name.as_deref()).unwrap_or(request_name)
    }

    /// The Secret's type.
    #[must_use]
    pub fn secret_type(&self) -> SecretType {
        self.target.as_ref().and_then(|t| t.type_).unwrap_or_default()
    }

    /// What happens to the Secret when the request is deleted.
    #[must_use]
    pub fn on_request_deletion(&self) -> OnRequestDeletion {
        self.target.as_ref().and_then(|t| t.on_request_deletion).unwrap_or_default()
    }

    /// Whether work on the request is stopped.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or(false)
    }
}
