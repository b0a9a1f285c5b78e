use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LabelSelector;

/// Rules that score requests and decide on them.
///
/// Every reference of a request must be covered by a policy that matches it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "CredentialPolicy",
    doc = "Rules that score requests for credentials and decide on them",
    status = "CredentialPolicyStatus",
    derive = "PartialEq",
    shortname = "credpol",
    category = "portcullis",
    printcolumn(
        name = "Valid",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Valid")].status"#
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Allowed", type_ = "integer", json_path = ".status.requests.allowed"),
    printcolumn(name = "Alerted", type_ = "integer", json_path = ".status.requests.alerted"),
    printcolumn(name = "Denied", type_ = "integer", json_path = ".status.requests.denied"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Valid")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPolicySpec {
    /// The class of operator that reads this policy; empty when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub controller_class: Option<String>,
    /// What the policy is about, in facts; everything when absent.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub match_: Option<PolicyMatch>,
    /// Whether the policy decides; `Enforce` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PolicyMode>,
    /// The scores from which a request is alerted and denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// What a denial does to a Secret that was written before; `Retain` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_denied: Option<OnDenied>,
    /// The rules. A policy without rules allows what it matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<PolicyRule>,
}

/// What a policy is about. Every part that is set must match.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyMatch {
    /// Labels of the request's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Names or ids of vaults; `*` stands for any run of characters, `?` for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub vaults: Option<Vec<String>>,
    /// Environments of the items. An item of unknown environment is in none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub environments: Option<Vec<String>>,
    /// Types of the items: 1Password's categories, such as `LOGIN`, `DATABASE` or `SSH_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub types: Option<Vec<String>>,
}

/// Whether a policy decides.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// It decides.
    #[default]
    Enforce,
    /// It is evaluated and recorded, and neither decides nor covers anything.
    Audit,
}

/// What a denial does to a Secret that was written before.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDenied {
    /// The Secret stays.
    #[default]
    Retain,
    /// The Secret is deleted, if rules that read durable facts alone deny. Neither an outage nor a rule that fails
    /// or does not compile deletes anything.
    Delete,
}

/// The scores from which a request is alerted and denied.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.alert) ? self.alert : 50) <= (has(self.deny) ? self.deny : 70)")
    .message("thresholds.alert (50 when absent) must not be above thresholds.deny (70 when absent)"))]
pub struct Thresholds {
    /// From this score on a request is alerted; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub alert: Option<i32>,
    /// From this score on a request is denied; 70 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub deny: Option<i32>,
}

/// A rule.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.score) != has(self.effect)").message("a rule has exactly one of score and effect"))]
pub struct PolicyRule {
    /// The rule's name; decisions name it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A CEL expression over `request`, `namespace`, `refs`, `requester`, `history`, `anomalies`, `service` and `now`
    /// that says whether the rule matches. One that reads any of the last four is transient: it decides on new grants
    /// and may hold a refresh, and ends no grant that stands.
    #[schemars(length(min = 1, max = 1024))]
    pub when: String,
    /// What the rule is for: `Grant`, the first decision on a request or on a change of its spec; `Refresh`, every
    /// later one. Both when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub occasions: Option<Vec<Occasion>>,
    /// What the rule adds to the score when it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub score: Option<i32>,
    /// What the rule does when it matches, whatever the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Why, in words for the request's owner and the auditor.
    #[schemars(length(min = 1, max = 512))]
    pub message: String,
    /// What the request's owner can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub recommendation: Option<String>,
}

/// What is decided on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occasion {
    /// A request, or another spec of it, for the first time.
    Grant,
    /// A request that was granted and has not changed.
    Refresh,
}

/// What a rule does whatever the score.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The request is alerted.
    Alert,
    /// The request waits, and is decided on again each minute. Only for rules that read `history`, `anomalies`,
    /// `service` or `now`: the others would wait for ever.
    Defer,
    /// The request is denied.
    Deny,
}

/// What Portcullis found out about the policy.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPolicyStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Valid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many requests it applies to, by what it came to for each: written on change, at most every 30 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestCounts>,
}

/// Requests by outcome.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RequestCounts {
    /// Allowed.
    pub allowed: i32,
    /// Allowed, and alerted.
    pub alerted: i32,
    /// Deferred, or held.
    pub deferred: i32,
    /// Denied.
    pub denied: i32,
}

impl CredentialPolicySpec {
    /// The score from which a request is alerted.
    #[must_use]
    pub fn alert_threshold(&self) -> i32 {
        self.thresholds.as_ref().and_then(|t| t.alert).unwrap_or(50)
    }

    /// The score from which a request is denied.
    #[must_use]
    pub fn deny_threshold(&self) -> i32 {
        self.thresholds.as_ref().and_then(|t| t.deny).unwrap_or(70)
    }
}
