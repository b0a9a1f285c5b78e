use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Effect;

/// What Portcullis decided and did.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRequestStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the annotation `portcullis.dev/refresh-requested-at` that was acted on last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_handled_refresh_request: Option<String>,
    /// `Ready`, `Reconciling` and `Stalled` as kstatus reads them; `Authorized` and `Synced` in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The decision that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionStatus>,
    /// What the Secret holds and where it came from; never a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// The audit record, as the operator seals it, by which the Secret is being deleted. Gone as soon as the end of
    /// that is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub deleting: Option<String>,
    /// The last 10 decisions and changes, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<HistoryRecord>,
}

/// What a decision came to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Granted.
    Allowed,
    /// Granted, with the attention of those who read alerts.
    Alerted,
    /// Not yet: it is decided on again when the time has come.
    Deferred,
    /// Refused.
    Denied,
}

impl Outcome {
    /// The outcome as it stands in status, metrics and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "Allowed",
            Self::Alerted => "Alerted",
            Self::Deferred => "Deferred",
            Self::Denied => "Denied",
        }
    }
}

/// A decision and what it rests on.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// What the decision came to.
    pub outcome: Outcome,
    /// The highest score that a policy gave, 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    pub risk_score: i32,
    /// The rules that matched, the heaviest first; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub factors: Vec<FactorStatus>,
    /// How many rules matched.
    pub factor_count: i32,
    /// What was unusual about the request; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub anomalies: Vec<AnomalyStatus>,
    /// What the matching rules recommend; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 512)))]
    pub recommendations: Vec<String>,
    /// Equal digests mean an equal decision on equal inputs.
    #[schemars(length(max = 64))]
    pub digest: String,
    /// When this decision was first taken.
    pub decided_at: Time,
}

/// A rule that matched.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FactorStatus {
    /// The CredentialPolicy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// The rule in it.
    #[schemars(length(max = 63))]
    pub rule: String,
    /// What the rule adds to the score; 0 for a rule with an effect.
    pub score: i32,
    /// The rule's effect, where it has one instead of a score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The rule's message.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// Something unusual about a request.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AnomalyStatus {
    /// What found it.
    #[schemars(length(max = 63))]
    pub detector: String,
    /// What was seen, and against what.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// Where the values of the Secret came from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// 1Password Connect gave them, or has confirmed since that they are current.
    Connect,
    /// Connect gave them earlier, and cannot be asked whether they are current.
    Cache,
    /// The request's fallback Secret.
    FallbackSecret,
    /// A variable of the operator's environment, at least for one of them.
    Environment,
}

impl Source {
    /// The source as it stands in status and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Cache => "Cache",
            Self::FallbackSecret => "FallbackSecret",
            Self::Environment => "Environment",
        }
    }
}

/// What the Secret holds.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// Where the values came from.
    pub source: Source,
    /// The items that the values were read from; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub items: Vec<SyncedItem>,
    /// How many items the values were read from.
    pub item_count: i32,
    /// The Secret's keys; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    pub keys: Vec<String>,
    /// Counts the changes of the Secret's content since the request was created.
    pub content_revision: i64,
    /// When the content last changed.
    pub last_change_time: Time,
    /// Since when 1Password could not be asked whether the content is current; absent while it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Time>,
    /// Proves to the operator which write of the Secret was its last.
    #[schemars(length(max = 512))]
    pub receipt: String,
}

/// An item that was read.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct SyncedItem {
    /// The vault's id.
    #[schemars(length(max = 64))]
    pub vault: String,
    /// The item's id.
    #[schemars(length(max = 64))]
    pub item: String,
    /// The item's version.
    pub version: i64,
}

/// One line of a request's history.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRecord {
    /// When it happened.
    pub time: Time,
    /// What the decision came to.
    pub outcome: Outcome,
    /// The score, 0 to 100.
    pub risk_score: i32,
    /// The reason of the `Ready` condition at that time.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Where values came from, if any were delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The id of the audit record, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub record: Option<String>,
}

/// The most history records a status keeps.
pub const HISTORY_LIMIT: usize = 10;
