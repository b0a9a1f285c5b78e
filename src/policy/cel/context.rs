use kube_cel::KubeCelExt as _;
use kube_cel::cel::{Context, to_value};
use serde::Serialize;

use crate::policy::Facts;

/// The facts of one request in CEL's terms. Not `Send`: made for each decision, where it is used.
pub(in crate::policy) struct FactsContext(pub(super) Context<'static>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestVariable<'a> {
    namespace: &'a str,
    name: &'a str,
    secret_name: &'a str,
    fallback_secret: &'a str,
    claims: Claims<'a>,
}

#[derive(Serialize)]
struct Claims<'a> {
    purpose: &'a str,
    environment: &'a str,
    consumer: &'a str,
}

#[derive(Serialize)]
struct NamespaceVariable<'a> {
    name: &'a str,
    labels: &'a std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceVariable<'a> {
    key: &'a str,
    vault: &'a str,
    vault_id: &'a str,
    item: &'a str,
    item_id: &'a str,
    section: &'a str,
    field: &'a str,
    environment: &'a str,
}

impl FactsContext {
    /// What is absent or unknown reads as the empty string, so that rules need no `has()`.
    pub(in crate::policy) fn new(facts: &Facts) -> Self {
        let request = RequestVariable {
            namespace: &facts.request.namespace,
            name: &facts.request.name,
            secret_name: &facts.request.secret_name,
            fallback_secret: facts.request.fallback_secret.as_deref().unwrap_or_default(),
            claims: Claims {
                purpose: &facts.request.purpose,
                environment: facts.request.claimed_environment.as_deref().unwrap_or_default(),
                consumer: facts.request.claimed_consumer.as_deref().unwrap_or_default(),
            },
        };
        let namespace =
            NamespaceVariable { name: &facts.namespace.name, labels: &facts.namespace.labels };
        let refs: Vec<_> = facts
            .references
            .iter()
            .map(|r| ReferenceVariable {
                key: &r.key,
                vault: &r.item.vault_name,
                vault_id: &r.item.vault_id,
                item: &r.item.title,
                item_id: &r.item.item_id,
                section: r.section.as_deref().unwrap_or_default(),
                field: &r.field,
                environment: r.environment.as_deref().unwrap_or_default(),
            })
            .collect();
        let mut context = Context::default().with_all();
        // A variable that does not convert stays undeclared, and a rule that reads it fails and denies.
        for (name, value) in [
            ("request", to_value(&request)),
            ("namespace", to_value(&namespace)),
            ("refs", to_value(&refs)),
        ] {
            if let Ok(value) = value {
                context.add_variable_from_value(name, value);
            }
        }
        Self(context)
    }
}
