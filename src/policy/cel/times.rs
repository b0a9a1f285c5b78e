//! How times and durations add up: the interpreter's own operators panic where the sum is none that there can be.

use kube_cel::cel::common::ast::{Expr, IdedExpr, operators};
use kube_cel::cel::{Context, Value};

use super::parts;

/// The functions that stand for `+` and `-`. Rules cannot spell their names.
const ADD: &str = "@add";
const SUBTRACT: &str = "@subtract";

/// Adds the functions.
pub(super) fn add(context: &mut Context<'_>) {
    // Of values in this form the sums are checked.
    context.add_function(ADD, |left: Value, right: Value| left + right);
    context.add_function(SUBTRACT, |left: Value, right: Value| left - right);
}

/// Has an expression with times in it add and subtract by these.
pub(super) fn checked(expression: &mut IdedExpr) {
    parts::each(expression, checked);
    if let Expr::Call(call) = &mut expression.expr {
        match call.func_name.as_str() {
            operators::ADD => ADD.clone_into(&mut call.func_name),
            operators::SUBSTRACT => SUBTRACT.clone_into(&mut call.func_name),
            _ => {}
        }
    }
}
