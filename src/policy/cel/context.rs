use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::Context;
use kube_cel::cel::common::types::{CelList, CelMap, CelMapKey, CelString, CelTimestamp};
use kube_cel::cel::common::value::Val;

use super::members::Object;
use super::variables::{Members, Reads, Variable};
use super::{elements, functions, times};
use crate::behavior::{Anomaly, History};
use crate::policy::{
    Facts, NamespaceFacts, RequestFacts, Requester, ResolvedReference, ServiceFacts, Transient,
};

/// What rules call, and the regular expressions that were compiled for it. Made once for many decisions: there are so
/// many functions that to name them takes longer than an ordinary decision.
#[derive(Clone)]
pub(in crate::policy) struct Functions(Arc<Context<'static>>);

impl Default for Functions {
    fn default() -> Self {
        let mut context = Context::default().with_all();
        functions::add(&mut context);
        elements::add(&mut context);
        times::add(&mut context);
        Self(Arc::new(context))
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

/// The facts of one request in CEL's terms, as far as rules read them. They are made in the interpreter's own form: to
/// convert them to it takes longer than to ask most rules.
pub(in crate::policy) struct FactsContext<'f>(pub(super) Context<'f>);

impl<'f> FactsContext<'f> {
    /// What is absent or unknown reads as the empty string, so that rules need no `has()`. What is not in `reads` is
    /// not there.
    pub(in crate::policy) fn new(
        functions: &'f Functions,
        facts: &Facts,
        transient: Option<&Transient>,
        reads: &Reads,
    ) -> Self {
        let mut context = Self(functions.0.new_inner_scope());
        let requester_of = facts.requester.as_ref();
        context.add(reads, Variable::Request, |m| request(&facts.request, m));
        context.add(reads, Variable::Namespace, |m| namespace(&facts.namespace, m));
        context.add(reads, Variable::Requester, |m| requester(requester_of, m));
        context
            .add(reads, Variable::Refs, |m| list(facts.references.iter().map(|r| reference(r, m))));
        if let Some(Transient { now, anomalies, history: past, service: server, lasts: _ }) =
            transient
        {
            let at = now.fixed_offset();
            context.add(reads, Variable::Now, |_| Box::new(CelTimestamp::from(at)));
            context.add(reads, Variable::History, |m| history(past, m));
            context.add(reads, Variable::Service, |m| service(*server, m));
            context
                .add(reads, Variable::Anomalies, |m| list(anomalies.iter().map(|a| anomaly(a, m))));
        }
        context
    }

    fn add(
        &mut self,
        reads: &Reads,
        variable: Variable,
        value: impl FnOnce(&Members) -> Box<dyn Val>,
    ) {
        let (Context::Root { variables, .. } | Context::Child { variables, .. }) = &mut self.0;
        if let Some(members) = reads.of(variable) {
            variables.insert(variable.name().to_owned(), value(members));
        }
    }
}

fn request(request: &RequestFacts, members: &Members) -> Box<dyn Val> {
    Object::of(members)
        .text("namespace", &request.namespace)
        .text("name", &request.name)
        .text("secretName", &request.secret_name)
        .text("fallbackSecret", request.fallback_secret.as_deref().unwrap_or_default())
        .with("claims", || {
            Object::of(&Members::All)
                .text("purpose", &request.purpose)
                .text("environment", request.claimed_environment.as_deref().unwrap_or_default())
                .text("consumer", request.claimed_consumer.as_deref().unwrap_or_default())
                .finish()
        })
        .finish()
}

fn namespace(namespace: &NamespaceFacts, members: &Members) -> Box<dyn Val> {
    Object::of(members)
        .text("name", &namespace.name)
        .with("labels", || {
            let label = |(key, value): (&String, &String)| {
                let value: Box<dyn Val> = Box::new(CelString::from(value.as_str()));
                (CelMapKey::String(key.as_str().into()), value)
            };
            let labels: HashMap<_, _> = namespace.labels.iter().map(label).collect();
            Box::new(CelMap::from(labels))
        })
        .finish()
}

fn requester(requester: Option<&Requester>, members: &Members) -> Box<dyn Val> {
    Object::of(members)
        .text("name", requester.map(|r| r.name.as_str()).unwrap_or_default())
        .truth("verified", requester.is_some_and(|r| r.verified))
        .finish()
}

fn reference(reference: &ResolvedReference, members: &Members) -> Box<dyn Val> {
    Object::of(members)
        .text("key", &reference.key)
        .text("vault", &reference.item.vault_name)
        .text("vaultId", &reference.item.vault_id)
        .text("item", &reference.item.title)
        .text("itemId", &reference.item.item_id)
        .text("section", reference.section.as_deref().unwrap_or_default())
        .text("field", &reference.field)
        .text("environment", reference.environment.as_deref().unwrap_or_default())
        .text("class", &reference.class)
        .text("type", &reference.type_)
        .finish()
}

fn anomaly(anomaly: &Anomaly, members: &Members) -> Box<dyn Val> {
    Object::of(members)
        .text("detector", anomaly.detector.as_str())
        .text("message", &anomaly.message)
        .finish()
}

fn history(history: &History, members: &Members) -> Box<dyn Val> {
    let History {
        learning,
        first_seen_seconds,
        grants,
        denials_last_day,
        new_items_last_hour,
        new_items,
        vault_items_last_day,
        vaults,
        items,
        seconds_since_last_grant,
        average_risk,
        max_risk,
        anomalies,
    } = *history;
    Object::of(members)
        .truth("learning", learning)
        .number("firstSeenSeconds", first_seen_seconds)
        .number("grants", grants)
        .number("denialsLastDay", denials_last_day)
        .number("newItemsLastHour", new_items_last_hour)
        .number("newItems", new_items)
        .number("vaultItemsLastDay", vault_items_last_day)
        .number("vaults", vaults)
        .number("items", items)
        .number("secondsSinceLastGrant", seconds_since_last_grant)
        .number("averageRisk", average_risk)
        .number("maxRisk", max_risk)
        .number("anomalies", anomalies)
        .finish()
}

fn service(service: ServiceFacts, members: &Members) -> Box<dyn Val> {
    let ServiceFacts { reachable, seconds_since_answer } = service;
    Object::of(members)
        .truth("reachable", reachable)
        .number("secondsSinceAnswer", seconds_since_answer)
        .finish()
}

fn list(elements: impl Iterator<Item = Box<dyn Val>>) -> Box<dyn Val> {
    Box::new(CelList::from(elements.collect::<Vec<_>>()))
}
