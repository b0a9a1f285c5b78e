//! What would be decided on a request, without asking 1Password: for `portcullis plan`, `portcullis policy test` and
//! `portcullis policy replay`. Pure.
//!
//! References are taken at their word: a vault or item is what it is called, and nobody looks whether it exists or
//! whether there are two of the name. So an item by its title is none that was granted before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::api::{
    AccessRow, ConnectServerSpec, CredentialRequestSpec, ENVIRONMENT_LABEL, Moment, Namespaces,
    Occasion, VaultSelector,
};
use crate::behavior::{Installation, Limits, Profiles, Seen};
use crate::policy::{
    Access, Circumstances, Decision, Facts, ItemIdentity, NamespaceFacts, PolicySet, RequestFacts,
    Requester, ResolvedReference, Verdict, decide,
};
use crate::reference::{ParseError, Reference};

/// What a plan is made of.
#[derive(Clone, Debug)]
pub struct Given {
    /// The request's namespace.
    pub namespace: String,
    /// The request's name.
    pub name: String,
    /// What the request asks for.
    pub spec: CredentialRequestSpec,
    /// The labels of its namespace.
    pub labels: BTreeMap<String, String>,
    /// Its ConnectServer. Without one every vault may be read, and nothing is known of vaults.
    pub server: Option<ConnectServerSpec>,
    /// The types of items, by vault and title, where they are known.
    pub types: BTreeMap<(String, String), String>,
    /// Who wrote the request.
    pub requester: Option<Requester>,
    /// What it is weighed by besides.
    pub circumstances: Circumstances,
    /// What is known of the past, where it is: what is unusual about the request, and the history that rules read, are
    /// found in it.
    pub past: Option<Past>,
}

/// What is known of the past.
#[derive(Clone, Debug)]
pub struct Past {
    /// The profiles of all namespaces.
    pub profiles: Profiles,
    /// When the request's namespace was made, where that is known.
    pub namespace_created: Option<DateTime<Utc>>,
    /// How long Portcullis learns what is usual. It counts from the first that is known of any namespace.
    pub learning: Duration,
    /// What counts as much.
    pub limits: Limits,
}

/// What would become of a request.
#[derive(Debug)]
pub struct Plan {
    /// The verdict.
    pub verdict: Verdict,
    /// What would be fetched, by key of the Secret.
    pub fetches: Vec<Fetch>,
    /// The name of the Secret that it would be written to.
    pub secret: String,
}

/// What would be fetched for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// The key.
    pub key: String,
    /// The vault.
    pub vault: String,
    /// The item.
    pub item: String,
    /// The section, where the reference names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// The field.
    pub field: String,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A reference is none.
    #[error("spec.data[{key}]: {error}")]
    Reference {
        /// The key.
        key: String,
        /// What is wrong with it.
        error: ParseError,
    },
    /// A key without a reference, or with two.
    #[error("spec.data[{0}]: set exactly one of ref and from")]
    NotOne(String),
}

impl Plan {
    /// The decision, whatever it came to.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        self.verdict.decision()
    }
}

/// Decides on what is given, as the operator would.
///
/// # Errors
/// When a reference cannot be read.
pub fn plan(given: Given, policies: &PolicySet) -> Result<Plan, PlanError> {
    let namespace = NamespaceFacts { name: given.namespace.clone(), labels: given.labels.clone() };
    let mut references = Vec::with_capacity(given.spec.data.len());
    for entry in &given.spec.data {
        let unreadable = |error| PlanError::Reference { key: entry.key.clone(), error };
        let reference: Reference = match (&entry.reference, &entry.from) {
            (Some(text), None) => text.parse().map_err(unreadable)?,
            (None, Some(parts)) => Reference::try_from(parts).map_err(unreadable)?,
            _ => return Err(PlanError::NotOne(entry.key.clone())),
        };
        references.push(given.resolved(&entry.key, reference));
    }
    let fetches = references
        .iter()
        .map(|reference| Fetch {
            key: reference.key.clone(),
            vault: reference.item.vault_name.to_string(),
            item: reference.item.title.to_string(),
            section: reference.section.clone(),
            field: reference.field.clone(),
        })
        .collect();
    let request = RequestFacts::new(&given.namespace, &given.name, "", 0, &given.spec);
    let secret = request.secret_name.clone();
    let everything = [everything()];
    let rows = given.server.as_ref().map_or(everything.as_slice(), |server| &server.access);
    let access = Access::of(rows, &namespace);
    let requester = given.requester;
    let facts = Facts { request, namespace: namespace.clone(), references, requester };
    let mut circumstances = given.circumstances;
    if let (Some(past), Some(transient)) = (&given.past, &mut circumstances.transient) {
        let seen = past.look(&facts, transient.now);
        transient.history = seen.history;
        // As the operator has it: a refresh is no access, and nothing about it is unusual.
        if circumstances.occasion == Occasion::Grant {
            transient.anomalies = seen.anomalies;
        }
    }
    let verdict = decide(facts, &circumstances, &access, policies);
    Ok(Plan { verdict, fetches, secret })
}

/// Decides again on what was decided on before. What access rows allowed then counts as allowed.
#[must_use]
pub fn again(facts: Facts, circumstances: &Circumstances, policies: &PolicySet) -> Verdict {
    let rows = [everything()];
    let access = Access::of(&rows, &facts.namespace);
    decide(facts, circumstances, &access, policies)
}

impl Past {
    fn look(&self, facts: &Facts, now: DateTime<Utc>) -> Seen {
        let installed_at = self.profiles.since().map_or(now, Moment::time);
        let installation = Installation { installed_at, learning: self.learning };
        self.profiles.look(&facts.attempt(self.namespace_created, now), &installation, &self.limits)
    }
}

impl Given {
    fn resolved(&self, key: &str, reference: Reference) -> ResolvedReference {
        let of_vault = self.server.as_ref().and_then(|s| s.vault_environment(&reference.vault));
        let of_namespace = self.labels.get(ENVIRONMENT_LABEL).map(String::as_str);
        let class = self.server.as_ref().map(|server| server.vault_class(&reference.vault));
        let type_ = self.types.get(&(reference.vault.clone(), reference.item.clone()));
        let (vault, item): (Arc<str>, Arc<str>) =
            (reference.vault.as_str().into(), reference.item.as_str().into());
        let known = self.past.as_ref();
        let vault_id = known.and_then(|p| p.profiles.vault_named(&self.namespace, &vault));
        ResolvedReference {
            key: key.to_owned(),
            item: ItemIdentity {
                vault_id: vault_id.map_or_else(|| vault.clone(), Arc::from),
                item_id: item.clone(),
                vault_name: vault,
                title: item,
            },
            version: 0,
            environment: of_vault.or(of_namespace).map(str::to_owned),
            class: class.unwrap_or_default().to_owned(),
            type_: type_.map(String::as_str).unwrap_or_default().into(),
            section: reference.section,
            field: reference.field,
            wanted: reference.wanted,
        }
    }
}

fn everything() -> AccessRow {
    AccessRow {
        name: "everything".to_owned(),
        namespaces: Namespaces { all: Some(true), ..Namespaces::default() },
        vaults: vec![VaultSelector { name: Some("*".to_owned()), id: None }],
        items: None,
    }
}
