use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ItemIdentity;
use crate::api::{CredentialRequestSpec, Occasion, OnRequestDeletion, SecretType};
use crate::behavior::{Anomaly, Attempt, AttemptedItem, History};
use crate::reference::Wanted;

/// A namespace as policy sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A request as policy sees it: who asks, what it claims, where the values would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The request's namespace.
    pub namespace: String,
    /// The request's name.
    pub name: String,
    /// The request's UID.
    pub uid: String,
    /// The generation of the spec that was read.
    pub generation: i64,
    /// The ConnectServer's name.
    pub server: String,
    /// The Secret's name.
    pub secret_name: String,
    /// The Secret's type.
    pub secret_type: SecretType,
    /// What happens to the Secret when the request is deleted.
    pub on_request_deletion: OnRequestDeletion,
    /// Why the credentials are needed, as claimed.
    pub purpose: String,
    /// The environment, as claimed.
    pub claimed_environment: Option<String>,
    /// The ServiceAccount of the consumer, as claimed.
    pub claimed_consumer: Option<String>,
    /// The Secret that may stand in while 1Password cannot be asked.
    pub fallback_secret: Option<String>,
    /// A digest of the whole spec.
    pub spec_digest: [u8; 32],
}

impl RequestFacts {
    /// The request's name and spec in 128 bits, in hex: enough to tell a spec from any other of this request. Equal
    /// specs of two requests have different ones.
    #[must_use]
    pub fn spec_id(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.namespace.as_bytes(), b"/", self.name.as_bytes(), b"/"] {
            hash.update(part);
        }
        hash.update(self.spec_digest);
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads the facts off a request.
    #[must_use]
    pub fn new(
        namespace: &str,
        name: &str,
        uid: &str,
        generation: i64,
        spec: &CredentialRequestSpec,
    ) -> Self {
        // A struct of strings, lists and enums always serializes; were it not to, all such specs
        // would share a digest that no real spec has.
        let canonical = serde_json::to_vec(spec).unwrap_or_default();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            generation,
            server: spec.server_name().to_owned(),
            secret_name: spec.secret_name(name).to_owned(),
            secret_type: spec.secret_type(),
            on_request_deletion: spec.on_request_deletion(),
            purpose: spec.purpose.clone(),
            claimed_environment: spec.environment.clone(),
            claimed_consumer: spec.consumer.as_ref().map(|c| c.service_account_name.clone()),
            fallback_secret: spec.fallback_secret().map(str::to_owned),
            spec_digest: Sha256::digest(&canonical).into(),
        }
    }
}

/// A reference of the request, resolved to the item that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedReference {
    /// The key in the Secret.
    pub key: String,
    /// The item.
    pub item: ItemIdentity,
    /// The item's version in the last list of its vault.
    pub version: i64,
    /// The item's environment where it is known: its vault's, else the namespace's.
    pub environment: Option<String>,
    /// The class of the item's vault.
    pub class: String,
    /// The item's type, which is its category in 1Password; empty where the server does not tell.
    pub type_: Arc<str>,
    /// The section, as spelled.
    pub section: Option<String>,
    /// The field, as spelled.
    pub field: String,
    /// What of the field.
    pub wanted: Wanted,
}

/// All that a decision rests on, apart from rows and policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The request.
    pub request: RequestFacts,
    /// Its namespace.
    pub namespace: NamespaceFacts,
    /// Its references, in the order of the request.
    pub references: Vec<ResolvedReference>,
    /// Who wrote the request's spec, where that is known.
    pub requester: Option<Requester>,
}

/// Who wrote a request's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The name by which the API server knows them.
    pub name: String,
    /// Whether the API server vouched for the name, and it is that of a person or program and not of somebody who
    /// writes on behalf of others.
    pub verified: bool,
}

/// What a decision is weighed by besides facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether the request is decided on for the first time.
    pub occasion: Occasion,
    /// What passes. Where it is absent, rules that read it are not asked: whether a grant still stands is a
    /// question of durable facts alone.
    pub transient: Option<Transient>,
}

/// What will be otherwise in a while, whatever anybody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transient {
    /// The time.
    pub now: DateTime<Utc>,
    /// What is unusual about the request.
    pub anomalies: Vec<Anomaly>,
    /// What is known of the namespace's past.
    pub history: History,
    /// How the server is.
    pub service: ServiceFacts,
    /// How long an answer is good for that rests on this.
    pub lasts: TimeDelta,
}

impl Transient {
    /// How long it lasts where nobody says otherwise.
    pub const LASTS: TimeDelta = TimeDelta::minutes(1);
}

/// A server as policy sees it: the variable `service` of rules, by these names in camel case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceFacts {
    /// Whether it answers, and accepts the token.
    pub reachable: bool,
    /// Seconds since its last answer to a poll.
    #[serde(default)]
    pub seconds_since_answer: i64,
}

impl Facts {
    /// What the facts are to past behaviour, in a namespace that was made at a time.
    #[must_use]
    pub fn attempt(&self, namespace_created: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Attempt {
        let request = &self.request;
        let mut items: Vec<AttemptedItem> = self
            .references
            .iter()
            .map(|reference| AttemptedItem {
                vault_id: reference.item.vault_id.to_string(),
                item_id: reference.item.item_id.to_string(),
                vault_name: reference.item.vault_name.to_string(),
                environment: reference.environment.clone(),
            })
            .collect();
        items.sort();
        items.dedup();
        Attempt {
            namespace: request.namespace.clone(),
            namespace_created,
            request: request.name.clone(),
            uid: request.uid.clone(),
            spec: request.spec_id(),
            consumer: request.claimed_consumer.clone(),
            items,
            at,
        }
    }

    /// The items that the references mean, each once.
    pub fn items(&self) -> impl Iterator<Item = &ItemIdentity> {
        self.references.iter().map(|r| &r.item).collect::<BTreeSet<_>>().into_iter()
    }

    /// The version of an item in the last list of its vault; 0 of one that no reference means.
    #[must_use]
    pub fn version_of(&self, item: &ItemIdentity) -> i64 {
        self.references.iter().find(|r| r.item == *item).map_or(0, |r| r.version)
    }
}
