//! In which order rules go through maps: the interpreter's own order is another one each time, and with it would be
//! the answer of a rule that makes a list of a map, or that fails for one of its keys and not for another.

use std::collections::BTreeSet;

use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr};
use kube_cel::cel::{Context, Value};

use super::parts;

/// The function that makes a list of the keys of a map. Rules cannot spell its name.
const ELEMENTS: &str = "@elements";

/// Adds the function.
pub(super) fn add(context: &mut Context<'_>) {
    context.add_function(ELEMENTS, |value: Value| Ok(of(value)));
}

/// The keys of a map in their order; anything else as it is.
fn of(value: Value) -> Value {
    match value {
        Value::Map(map) => {
            let keys: BTreeSet<_> = map.map.keys().collect();
            Value::from(keys.into_iter().map(Value::from).collect::<Vec<_>>())
        }
        other => other,
    }
}

/// Has a comprehension go through a map in the order of its keys, wherever its range is one of these, which may be maps.
pub(super) fn in_order(expression: &mut IdedExpr, ranges: &BTreeSet<u64>) {
    if ranges.is_empty() {
        return;
    }
    parts::each(expression, |part| in_order(part, ranges));
    if let Expr::Comprehension(looped) = &mut expression.expr
        && ranges.contains(&looped.iter_range.id)
    {
        let range = &mut looped.iter_range;
        let (id, args) = (range.id, vec![std::mem::take(range)]);
        let call = CallExpr { func_name: ELEMENTS.to_owned(), target: None, args };
        *range = IdedExpr { id, expr: Expr::Call(call) };
    }
}
