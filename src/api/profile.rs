use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the credentials of one namespace were asked for in the past.
///
/// Portcullis alone writes it, in its own namespace, under the name of the namespace that it is about. It is a
/// spec and not a status because nobody else has a part in it: one object, one write, and one tag over all of
/// it, where a status would be a second write that could be lost apart from the first.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "AccessProfile",
    namespaced,
    doc = "What the credentials of one namespace were asked for in the past; written by Portcullis alone",
    derive = "PartialEq",
    shortname = "accprof",
    category = "portcullis",
    printcolumn(name = "Grants", type_ = "integer", json_path = ".spec.grants"),
    printcolumn(name = "Denials", type_ = "integer", json_path = ".spec.denials"),
    printcolumn(name = "Anomalies", type_ = "integer", json_path = ".spec.anomalies"),
    printcolumn(name = "Last-Grant", type_ = "date", json_path = ".spec.lastGrant"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AccessProfileSpec {
    /// Proves that the operator wrote all of this, for this namespace.
    #[schemars(length(max = 128))]
    pub tag: String,
    /// When the namespace first asked.
    pub since: Moment,
    /// That what was known before is lost, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
    /// How many attempts were granted. An attempt is the first decision on a UID and spec of a request.
    pub grants: i64,
    /// How many attempts were denied.
    pub denials: i64,
    /// How many attempts were deferred.
    pub deferrals: i64,
    /// How many anomalies the attempts had.
    pub anomalies: i64,
    /// When an attempt was last granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_grant: Option<Moment>,
    /// The time between grants; older ones weigh less.
    pub intervals: Intervals,
    /// How often attempts were granted in each hour of the day, in UTC, in thousandths; older ones weigh less.
    #[schemars(length(max = 24))]
    pub hours: Vec<i64>,
    /// The risk of the attempts that were decided.
    pub risk: RiskUse,
    /// The environments of the items that were granted, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub environments: Vec<EnvironmentUse>,
    /// The vaults and items that were granted, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub vaults: Vec<VaultUse>,
    /// Who was said to use what was granted, by name. These are claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub consumers: Vec<ConsumerUse>,
    /// The requests that asked last, by name, and how often each was created anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 48))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub requests: Vec<RequestUse>,
    /// The requests that were denied last, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["request".into()]))]
    pub denied: Vec<DeniedRequest>,
    /// How many attempts were denied in each of the last hours that had any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 25))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["hour".into()]))]
    pub denied_hours: Vec<DeniedHour>,
}

/// A time, in whole seconds: what is written reads back as the same.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(from = "DateTime<Utc>", into = "DateTime<Utc>")]
pub struct Moment(DateTime<Utc>);

/// Why what was known of a namespace is lost.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildCause {
    /// An old namespace had no profile.
    Missing,
    /// Somebody else wrote the profile, or changed it.
    Foreign,
    /// The profile could not be read.
    Broken,
}

impl RebuildCause {
    /// The cause as it stands in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Foreign => "Foreign",
            Self::Broken => "Broken",
        }
    }
}

/// That what was known before is lost.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilt {
    /// When that was noticed.
    pub at: Moment,
    /// Why.
    pub cause: RebuildCause,
}

/// The time between grants.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Intervals {
    /// How many intervals this rests on, in thousandths; older ones weigh less.
    pub weight: i64,
    /// Their mean, in seconds.
    pub mean_seconds: i64,
    /// Their standard deviation, in seconds.
    pub deviation_seconds: i64,
}

/// The risk of the attempts that were decided.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RiskUse {
    /// The average over about the last 50, in hundredths.
    pub average: i64,
    /// The highest of the last 90 days.
    pub max: i64,
    /// When it was that high.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_at: Option<Moment>,
}

/// An environment that was granted.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentUse {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// When it was first granted.
    pub first: Moment,
    /// When it was last granted.
    pub last: Moment,
}

/// A vault that was granted.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultUse {
    /// The vault's id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Its name when it was last granted.
    #[schemars(length(max = 64))]
    pub name: String,
    /// When it was first granted.
    pub first: Moment,
    /// When it was last granted.
    pub last: Moment,
    /// How many grants had an item of it.
    pub grants: i64,
    /// The items that were granted, by id.
    #[schemars(length(max = 768))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub items: Vec<ItemUse>,
}

/// An item that was granted.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemUse {
    /// The item's id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// When it was first granted.
    pub first: Moment,
    /// When it was last granted.
    pub last: Moment,
}

/// A consumer, as claimed.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerUse {
    /// The ServiceAccount that requests named.
    #[schemars(length(max = 253))]
    pub name: String,
    /// When a grant first named it.
    pub first: Moment,
    /// When a grant last named it.
    pub last: Moment,
    /// On how many days it was granted something.
    pub days: i64,
    /// How many grants named it.
    pub grants: i64,
    /// How many items the namespace was granted for it first.
    pub items: i64,
    /// When it was the first of the namespace to get an item, for the last such items.
    #[schemars(length(max = 40))]
    pub new_items: Vec<Moment>,
}

/// A request that asked.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RequestUse {
    /// The request's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The UID that it had last.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When it asked last.
    pub at: Moment,
    /// How often it was created anew, in thousandths; halves each hour.
    pub churn: i64,
}

/// A request that was denied.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedRequest {
    /// The request's name.
    #[schemars(length(max = 253))]
    pub request: String,
    /// The request's UID and the digest of its spec: the attempt that was denied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
    /// See `uid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub spec: String,
    /// When it was last denied.
    pub at: Moment,
    /// The ids of the items that it asked for, the first eight.
    #[schemars(length(max = 8), inner(length(max = 64)))]
    pub items: Vec<String>,
}

/// Denials of an hour.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedHour {
    /// When the hour began.
    pub hour: Moment,
    /// How many attempts were denied in it.
    pub count: i64,
}

impl Moment {
    /// The time as the rest of the code has it.
    #[must_use]
    pub fn time(self) -> DateTime<Utc> {
        self.0
    }

    /// The moment so much earlier; the earliest there is where that would be earlier still.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.0.checked_sub_signed(delta).unwrap_or(DateTime::<Utc>::MIN_UTC).into()
    }

    /// Seconds from another moment to this one; none if that is the later one.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).num_seconds().max(0)
    }
}

impl From<DateTime<Utc>> for Moment {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.trunc_subsecs(0))
    }
}

impl From<Moment> for DateTime<Utc> {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}
