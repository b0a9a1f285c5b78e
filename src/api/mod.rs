//! The custom resources, one file a kind, with the conditions and reasons that their status speaks in.
//!
//! Nothing here does I/O. The CRDs in `crds/` are printed from these types by `portcullis crd`.

mod condition;
mod duration;
mod policy;
mod profile;
mod reason;
mod request;
mod request_status;
mod selector;
mod server;
mod server_cache;
mod server_status;

pub use condition::{ConditionType, Conditions};
pub(crate) use duration::parse_duration;
pub use policy::{
    CredentialPolicy, CredentialPolicySpec, CredentialPolicyStatus, Effect, Occasion, OnDenied,
    PolicyMatch, PolicyMode, PolicyRule, RequestCounts, Thresholds,
};
pub use profile::{
    AccessProfile, AccessProfileSpec, ConsumerUse, DeniedHour, DeniedRequest, EnvironmentUse,
    Intervals, ItemUse, Moment, RebuildCause, Rebuilt, RequestUse, RiskUse, VaultUse,
};
pub use reason::Reason;
pub use request::{
    Attribute, Consumer, CreationPolicy, CredentialRequest, CredentialRequestSpec, DataEntry,
    Fallback, ItemRef, OnRequestDeletion, Refresh, RefreshPolicy, SecretRef, SecretType, ServerRef,
    SshFormat, Target,
};
pub use request_status::{
    AnomalyStatus, CredentialRequestStatus, DecisionStatus, FactorStatus, HISTORY_LIMIT,
    HistoryRecord, Outcome, Source, SyncStatus, SyncedItem,
};
pub use selector::{LabelSelector, Operator, Requirement};
pub use server::{
    AccessRow, CaSource, ConnectServer, ConnectServerSpec, Host, KeyRef, Limits, Namespaces,
    TokenRef, VaultSelector, VaultSettings, normalized_origin,
};
pub use server_cache::{
    CacheClass, CacheSettings, ClassCache, EnvironmentEntry, Persistence, ServerFallback,
};
pub use server_status::{
    CacheEpoch, ConnectServerStatus, DependencyStatus, VAULT_LIMIT, VaultStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The name under which the operator's fields of objects are managed.
pub const FIELD_MANAGER: &str = "portcullis";
/// The label on every Secret that Portcullis writes; the operator's metadata watch selects by it.
pub const MANAGED_LABEL: &str = "portcullis.dev/managed";
/// The label of a Namespace whose value is the environment of everything in it, unless the vault says otherwise.
pub const ENVIRONMENT_LABEL: &str = "portcullis.dev/environment";
/// The label that marks a Secret as a Connect token; without it the operator does not use the Secret as one.
pub const PURPOSE_LABEL: &str = "portcullis.dev/purpose";
/// The value of [`PURPOSE_LABEL`] on a Connect token.
pub const PURPOSE_CONNECT_TOKEN: &str = "connect-token";
/// The annotation of a token Secret that lists the origins it may be sent to, separated by commas.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "portcullis.dev/allowed-hosts";

/// The annotation of a request or ConnectServer by which somebody asks for 1Password to be asked anew: a new
/// value, such as the time, is a new request.
pub const REFRESH_ANNOTATION: &str = "portcullis.dev/refresh-requested-at";
/// The annotation of a request with the name of who wrote its spec.
pub const REQUESTED_BY_ANNOTATION: &str = "portcullis.dev/requested-by";
/// The annotation of an object by which its owner lets one request, by name, use it.
pub const ALLOW_REQUEST_ANNOTATION: &str = "portcullis.dev/allow-request";

/// The CustomResourceDefinitions of the group, in the order in which they are installed.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        AccessProfile::crd(),
        ConnectServer::crd(),
        CredentialPolicy::crd(),
        CredentialRequest::crd(),
    ]
}
