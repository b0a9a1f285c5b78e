use std::fmt;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::{Context, Value, to_value};
use serde::Serialize;

use super::functions;
use super::variables::Variable;
use crate::policy::{Facts, Transient};

/// What rules call, and the regular expressions that were compiled for it. Made once for many decisions: there are so
/// many functions that to name them takes longer than an ordinary decision.
#[derive(Clone)]
pub(in crate::policy) struct Functions(Arc<Context<'static>>);

impl Default for Functions {
    fn default() -> Self {
        let mut context = Context::default().with_all();
        functions::add(&mut context);
        Self(Arc::new(context))
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

/// The facts of one request in CEL's terms.
pub(in crate::policy) struct FactsContext<'f>(pub(super) Context<'f>);

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
    class: &'a str,
    #[serde(rename = "type")]
    type_: &'a str,
}

#[derive(Serialize)]
struct RequesterVariable<'a> {
    name: &'a str,
    verified: bool,
}

#[derive(Serialize)]
struct AnomalyVariable<'a> {
    detector: &'a str,
    message: &'a str,
}

impl<'f> FactsContext<'f> {
    /// What is absent or unknown reads as the empty string, so that rules need no `has()`.
    pub(in crate::policy) fn new(
        functions: &'f Functions,
        facts: &Facts,
        transient: Option<&Transient>,
    ) -> Self {
        let mut context = Self(functions.0.new_inner_scope());
        context.add_durable(facts);
        if let Some(transient) = transient {
            context.add_transient(transient);
        }
        context
    }

    fn add_durable(&mut self, facts: &Facts) {
        let request = &facts.request;
        self.add(
            Variable::Request,
            &RequestVariable {
                namespace: &request.namespace,
                name: &request.name,
                secret_name: &request.secret_name,
                fallback_secret: request.fallback_secret.as_deref().unwrap_or_default(),
                claims: Claims {
                    purpose: &request.purpose,
                    environment: request.claimed_environment.as_deref().unwrap_or_default(),
                    consumer: request.claimed_consumer.as_deref().unwrap_or_default(),
                },
            },
        );
        self.add(
            Variable::Namespace,
            &NamespaceVariable { name: &facts.namespace.name, labels: &facts.namespace.labels },
        );
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
                class: &r.class,
                type_: &r.type_,
            })
            .collect();
        self.add(Variable::Refs, &refs);
        let requester = facts.requester.as_ref();
        self.add(
            Variable::Requester,
            &RequesterVariable {
                name: requester.map(|r| r.name.as_str()).unwrap_or_default(),
                verified: requester.is_some_and(|r| r.verified),
            },
        );
    }

    fn add_transient(&mut self, transient: &Transient) {
        let Transient { now, anomalies, history, service } = transient;
        self.0.add_variable_from_value(Variable::Now.name(), Value::Timestamp(now.fixed_offset()));
        self.add(Variable::History, history);
        let anomalies: Vec<_> = anomalies
            .iter()
            .map(|a| AnomalyVariable { detector: a.detector.as_str(), message: &a.message })
            .collect();
        self.add(Variable::Anomalies, &anomalies);
        self.add(Variable::Service, service);
    }

    /// A variable that does not convert stays undeclared, and a rule that reads it fails and denies.
    fn add(&mut self, variable: Variable, value: &impl Serialize) {
        if let Ok(value) = to_value(value) {
            self.0.add_variable_from_value(variable.name(), value);
        }
    }
}
