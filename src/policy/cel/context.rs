use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Value, to_value};
use serde::Serialize;

use super::variables::{Members, Reads, Variable};
use super::{elements, functions};
use crate::behavior::Anomaly;
use crate::policy::{Facts, NamespaceFacts, RequestFacts, Requester, ResolvedReference, Transient};

/// What rules call, and the regular expressions that were compiled for it. Made once for many decisions: there are so
/// many functions that to name them takes longer than an ordinary decision.
#[derive(Clone)]
pub(in crate::policy) struct Functions(Arc<Context<'static>>);

impl Default for Functions {
    fn default() -> Self {
        let mut context = Context::default().with_all();
        functions::add(&mut context);
        elements::add(&mut context);
        Self(Arc::new(context))
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

/// The facts of one request in CEL's terms, as far as rules read them: the interpreter copies what it goes through, at
/// each turn.
pub(in crate::policy) struct FactsContext<'f>(pub(super) Context<'f>);

impl<'f> FactsContext<'f> {
    /// What is absent or unknown reads as the empty string, so that rules need no `has()`. What is not read by `reads`
    /// is not there.
    pub(in crate::policy) fn new(
        functions: &'f Functions,
        facts: &Facts,
        transient: Option<&Transient>,
        reads: &Reads,
    ) -> Self {
        let mut context = Self(functions.0.new_inner_scope());
        let mut add = |variable: Variable, value: &dyn Fn(&Members) -> Option<Value>| {
            // A variable that has no value stays undeclared, and a rule that reads it fails and denies.
            if let Some(value) = reads.of(variable).and_then(value) {
                context.0.add_variable_from_value(variable.name(), value);
            }
        };
        add(Variable::Request, &|members| Some(request(&facts.request, members)));
        add(Variable::Namespace, &|members| Some(namespace(&facts.namespace, members)));
        add(Variable::Requester, &|members| Some(requester(facts.requester.as_ref(), members)));
        add(Variable::Refs, &|members| {
            Some(Value::from(
                facts.references.iter().map(|r| reference(r, members)).collect::<Vec<_>>(),
            ))
        });
        if let Some(Transient { now, anomalies, history, service }) = transient {
            add(Variable::Now, &|_| Some(Value::Timestamp(now.fixed_offset())));
            add(Variable::History, &|_| converted(history));
            add(Variable::Service, &|_| converted(service));
            add(Variable::Anomalies, &|members| {
                let anomaly = |a: &Anomaly| {
                    Object::of(members)
                        .text("detector", a.detector.as_str())
                        .text("message", &a.message)
                        .finish()
                };
                Some(Value::from(anomalies.iter().map(anomaly).collect::<Vec<_>>()))
            });
        }
        context
    }
}

fn request(request: &RequestFacts, members: &Members) -> Value {
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

fn namespace(namespace: &NamespaceFacts, members: &Members) -> Value {
    Object::of(members)
        .text("name", &namespace.name)
        .with("labels", || {
            let labels = namespace.labels.iter();
            let labels = labels.map(|(key, value)| (Key::from(key.as_str()), text(value)));
            Value::Map(Map { map: Arc::new(labels.collect()) })
        })
        .finish()
}

fn requester(requester: Option<&Requester>, members: &Members) -> Value {
    Object::of(members)
        .text("name", requester.map(|r| r.name.as_str()).unwrap_or_default())
        .with("verified", || Value::Bool(requester.is_some_and(|r| r.verified)))
        .finish()
}

fn reference(reference: &ResolvedReference, members: &Members) -> Value {
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

fn converted(value: &impl Serialize) -> Option<Value> {
    to_value(value).ok()
}

fn text(value: &str) -> Value {
    Value::String(Arc::new(value.to_owned()))
}

/// A map of those members that are read.
struct Object<'m> {
    members: &'m Members,
    map: HashMap<Key, Value>,
}

impl<'m> Object<'m> {
    fn of(members: &'m Members) -> Self {
        Self { members, map: HashMap::new() }
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.with(name, || text(value))
    }

    fn with(mut self, name: &str, value: impl FnOnce() -> Value) -> Self {
        if self.members.include(name) {
            self.map.insert(Key::from(name), value());
        }
        self
    }

    fn finish(self) -> Value {
        Value::Map(Map { map: Arc::new(self.map) })
    }
}
