//! What a decision was taken on, in its record: enough to take it again by other policies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::read::{Item, Record, Request};
use crate::api::{Occasion, OnRequestDeletion, SecretType};
use crate::behavior::{Anomaly, Detector, History};
use crate::policy::{
    Circumstances, Decision, Facts, ItemIdentity, NamespaceFacts, RequestFacts, Requester,
    ResolvedReference, ServiceFacts, Transient,
};
use crate::reference::Wanted;

/// The most bytes of labels.
const LABELS: usize = 100 << 10;

/// What a decision was taken on, besides what every record says: request, requester, anomalies and items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grounds<'a> {
    occasion: Occasion,
    secret_name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fallback_secret: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "labels_are_empty")]
    namespace_labels: Cow<'a, BTreeMap<String, String>>,
    references: Vec<ReferenceLine<'a>>,
    /// When it was decided; the record may have been written later. Absent, as are the next two, where what passes was not
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<History>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<ServiceFacts>,
}

/// A reference, with the ids of its item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReferenceLine<'a> {
    key: Cow<'a, str>,
    vault: Cow<'a, str>,
    item: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    section: Option<Cow<'a, str>>,
    field: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    class: Cow<'a, str>,
    #[serde(default, rename = "type", skip_serializing_if = "str::is_empty")]
    type_: Cow<'a, str>,
}

fn labels_are_empty(labels: &BTreeMap<String, String>) -> bool {
    labels.is_empty()
}

impl<'a> Grounds<'a> {
    /// Nothing where the labels of the namespace, of which Kubernetes allows any number, would make the record longer
    /// than a line may be.
    pub(super) fn of(facts: &'a Facts, decision: &Decision) -> Option<Self> {
        let labels = facts.namespace.labels.iter().map(|(key, value)| key.len() + value.len());
        if labels.sum::<usize>() > LABELS {
            return None;
        }
        let optional = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        let references = facts.references.iter().map(|r| ReferenceLine {
            key: Cow::Borrowed(&r.key),
            vault: Cow::Borrowed(&r.item.vault_id),
            item: Cow::Borrowed(&r.item.item_id),
            section: optional(&r.section),
            field: Cow::Borrowed(&r.field),
            environment: optional(&r.environment),
            class: Cow::Borrowed(&r.class),
            type_: Cow::Borrowed(&r.type_),
        });
        let transient = decision.transient.as_ref();
        Some(Self {
            occasion: decision.occasion,
            secret_name: Cow::Borrowed(&facts.request.secret_name),
            fallback_secret: optional(&facts.request.fallback_secret),
            namespace_labels: Cow::Borrowed(&facts.namespace.labels),
            references: references.collect(),
            now: transient.map(|t| t.now),
            history: transient.map(|t| t.history),
            service: transient.map(|t| t.service),
        })
    }
}

impl Record {
    /// What the decision of this record was taken on; nothing where the record does not tell: it is of something else,
    /// of an older version, of a request that refers to what it may not read, or names a detector that is not known.
    ///
    /// What no rule reads is not in it: the type of the Secret, and the digest of the spec.
    #[must_use]
    pub fn grounds(&self) -> Option<(Facts, Circumstances)> {
        let (request, grounds) = (self.request.as_ref()?, self.grounds.as_ref()?);
        let items: BTreeMap<(&str, &str), &Item> =
            self.items.iter().map(|i| ((i.vault.as_str(), i.item.as_str()), i)).collect();
        let references = grounds.references.iter().map(|line| {
            let item = items.get(&(&*line.vault, &*line.item))?;
            Some(resolved(line, item))
        });
        let facts = Facts {
            request: request_facts(request, grounds),
            namespace: NamespaceFacts {
                name: request.namespace.clone(),
                labels: grounds.namespace_labels.clone().into_owned(),
            },
            references: references.collect::<Option<_>>()?,
            requester: self
                .requester
                .as_ref()
                .map(|r| Requester { name: r.name.clone(), verified: r.verified }),
        };
        let transient = match (grounds.now, grounds.history, grounds.service) {
            (Some(now), Some(history), Some(service)) => {
                let anomalies = self.anomalies.iter().map(|a| {
                    let detector = Detector::named(&a.detector)?;
                    Some(Anomaly { detector, message: a.message.clone() })
                });
                let anomalies = anomalies.collect::<Option<_>>()?;
                Some(Transient { now, anomalies, history, service, lasts: Transient::LASTS })
            }
            _ => None,
        };
        Some((facts, Circumstances { occasion: grounds.occasion, transient }))
    }
}

fn request_facts(request: &Request, grounds: &Grounds<'_>) -> RequestFacts {
    RequestFacts {
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        uid: request.uid.clone(),
        generation: request.generation,
        server: request.server.clone(),
        secret_name: grounds.secret_name.clone().into_owned(),
        secret_type: SecretType::default(),
        on_request_deletion: OnRequestDeletion::default(),
        purpose: request.purpose.clone(),
        claimed_environment: request.claimed_environment.clone(),
        claimed_consumer: request.claimed_consumer.clone(),
        fallback_secret: grounds.fallback_secret.clone().map(Cow::into_owned),
        spec_digest: [0; 32],
    }
}

fn resolved(line: &ReferenceLine<'_>, item: &Item) -> ResolvedReference {
    let name =
        |name: &Option<String>, id: &str| -> Arc<str> { name.as_deref().unwrap_or(id).into() };
    ResolvedReference {
        key: line.key.clone().into_owned(),
        item: ItemIdentity {
            vault_id: line.vault.as_ref().into(),
            item_id: line.item.as_ref().into(),
            vault_name: name(&item.vault_name, &line.vault),
            title: name(&item.title, &line.item),
        },
        version: item.version,
        environment: line.environment.clone().map(Cow::into_owned),
        class: line.class.clone().into_owned(),
        type_: line.type_.as_ref().into(),
        section: line.section.clone().map(Cow::into_owned),
        field: line.field.clone().into_owned(),
        wanted: Wanted::default(),
    }
}
