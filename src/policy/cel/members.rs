//! Maps of which rules read members by name and nothing else. The interpreter copies them at each turn of a macro, so
//! that they are shared.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::ExecutionError;
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use kube_cel::cel::common::traits::{Container, Indexer, Iterable};
use kube_cel::cel::common::types::{CelBool, CelInt, CelMap, CelMapKey, CelString, MAP_TYPE, Type};
use kube_cel::cel::common::value::Val;

use super::parts;
use super::variables::Members;

/// A map of those members that are read.
pub(super) struct Object<'m> {
    members: &'m Members,
    map: HashMap<CelMapKey, Box<dyn Val>>,
}

impl<'m> Object<'m> {
    pub(super) fn of(members: &'m Members) -> Self {
        Self { members, map: HashMap::new() }
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.with(name, || Box::new(CelString::from(value)))
    }

    pub(super) fn number(self, name: &str, value: i64) -> Self {
        self.with(name, || Box::new(CelInt::from(value)))
    }

    pub(super) fn truth(self, name: &str, value: bool) -> Self {
        self.with(name, || Box::new(CelBool::from(value)))
    }

    pub(super) fn with(mut self, name: &str, value: impl FnOnce() -> Box<dyn Val>) -> Self {
        if self.members.include(name) {
            self.map.insert(CelMapKey::String(name.into()), value());
        }
        self
    }

    pub(super) fn finish(self) -> Box<dyn Val> {
        let map = CelMap::from(self.map);
        match self.members {
            Members::Only(_) => Box::new(Shared(Arc::new(map))),
            // The interpreter's functions take maps of its own kind alone.
            Members::All => Box::new(map),
        }
    }
}

/// A map that is not copied. It is for those alone whose members are read by name: whatever takes the whole of it
/// panics, and [`Members::All`] is what such rules read.
#[derive(Clone, Debug)]
struct Shared(Arc<CelMap>);

impl Val for Shared {
    fn get_type(&self) -> Type<'_> {
        MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.0.as_container()
    }

    fn as_indexer(&self) -> Option<&dyn Indexer> {
        self.0.as_indexer()
    }

    fn into_indexer(self: Box<Self>) -> Option<Box<dyn Indexer>> {
        Some(self)
    }

    fn as_iterable(&self) -> Option<&dyn Iterable> {
        self.0.as_iterable()
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| self.0.equals(&*other.0))
    }

    fn clone_as_boxed(&self) -> Box<dyn Val> {
        Box::new(self.clone())
    }
}

impl Indexer for Shared {
    fn get<'a>(&'a self, member: &dyn Val) -> Result<Cow<'a, dyn Val>, ExecutionError> {
        self.0.get(member)
    }

    fn steal(self: Box<Self>, member: &dyn Val) -> Result<Box<dyn Val>, ExecutionError> {
        self.0.get(member).map(Cow::into_owned)
    }
}

/// Has `a.b` mean `a['b']`: of what has no members the interpreter says that the member is `false`, and a rule that looks
/// for one there would never match. `has(a.b)` stays.
pub(super) fn by_index(expression: &mut IdedExpr) {
    parts::each(expression, by_index);
    if let Expr::Select(select) = &mut expression.expr
        && !select.test
    {
        let field = LiteralValue::String(select.field.as_str().into());
        let field = IdedExpr { id: expression.id, expr: Expr::Literal(field) };
        let args = vec![std::mem::take(&mut *select.operand), field];
        let call = CallExpr { func_name: operators::INDEX.to_owned(), target: None, args };
        expression.expr = Expr::Call(call);
    }
}
