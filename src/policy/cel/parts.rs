use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// Does something to each part that an expression is made of, and not to their parts.
pub(super) fn each(expression: &mut IdedExpr, mut act: impl FnMut(&mut IdedExpr)) {
    match &mut expression.expr {
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(act);
        }
        Expr::Comprehension(looped) => {
            act(&mut looped.iter_range);
            act(&mut looped.accu_init);
            act(&mut looped.loop_cond);
            act(&mut looped.loop_step);
            act(&mut looped.result);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(act),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        act(&mut entry.key);
                        act(&mut entry.value);
                    }
                    EntryExpr::StructField(field) => act(&mut field.value),
                }
            }
        }
        Expr::Select(select) => act(&mut select.operand),
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}
