//! What an expression may be made of, and how deep. Checked before it is evaluated, since the interpreter
//! has no limit of its own.

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::CompileError;
use super::variables::{CLAIMS, Reads, Variable};

/// How deep the parsed expression may be: a long sum or path nests without a bracket, and evaluation recurses.
pub(super) const MAX_DEPTH: usize = 32;
/// How deep comprehensions (`all`, `exists`, `map`, …) may nest: each level multiplies the cost by the
/// number of references.
pub(super) const MAX_COMPREHENSIONS: usize = 2;
/// The most elements of a list that a rule goes through: a request has at most as many references.
const LIST: u64 = 256;
/// What a call of `matches` costs, in the steps of anything else.
const MATCH: u64 = 20;
/// The functions that rules may call. Left out is what makes much from little (`lists.range`, `replace`).
const FUNCTIONS: [&str; 25] = [
    "contains",
    "duration",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMinutes",
    "getMonth",
    "int",
    "join",
    "lowerAscii",
    "matches",
    "size",
    "split",
    "startsWith",
    "string",
    "timestamp",
    "trim",
    "upperAscii",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
];

/// An upper bound of how deep the parser will recurse, found without parsing.
pub(super) fn nesting(source: &str) -> usize {
    let (mut open, mut deepest, mut unary, mut conditionals) = (0_usize, 0, 0_usize, 0_usize);
    let mut quote = None;
    let mut escaped = false;
    for c in source.chars() {
        if let Some(end) = quote {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == end {
                quote = None;
            }
            continue;
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '!' | '-' => unary += 1,
            '?' => conditionals += 1,
            _ => {}
        }
        if !matches!(c, '!' | '-' | ' ') {
            unary = 0;
        }
        deepest = deepest.max(open + unary + conditionals);
    }
    deepest
}

/// Walks an expression and refuses what rules do not have.
#[derive(Default)]
pub(super) struct Checker<'e> {
    /// The variables of the comprehensions around, and the list whose elements they are.
    scope: Vec<(&'e str, Option<Variable>)>,
    depth: usize,
    pub(super) reads: Reads,
    /// The steps that an evaluation takes at most.
    pub(super) cost: u64,
}

impl<'e> Checker<'e> {
    pub(super) fn check(
        &mut self,
        expression: &'e IdedExpr,
        comprehensions: usize,
    ) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CompileError::TooDeep);
        }
        let times = LIST.saturating_pow(u32::try_from(comprehensions).unwrap_or(u32::MAX));
        let step = match &expression.expr {
            Expr::Call(call) if call.func_name == "matches" => MATCH,
            _ => 1,
        };
        self.cost = self.cost.saturating_add(times.saturating_mul(step));
        self.inspect(&expression.expr, comprehensions)?;
        self.depth -= 1;
        Ok(())
    }

    fn inspect(&mut self, expression: &'e Expr, comprehensions: usize) -> Result<(), CompileError> {
        match expression {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                if name.starts_with('@') || self.scope.iter().any(|(known, _)| known == name) {
                    return Ok(());
                }
                match Variable::of(name) {
                    Some(variable) => {
                        self.reads.add(variable);
                        Ok(())
                    }
                    None => Err(CompileError::UnknownVariable(name.chars().take(64).collect())),
                }
            }
            Expr::Select(select) => {
                let (of, members) = self.members(&select.operand.expr);
                if members.is_some_and(|known| !known.contains(&select.field.as_str())) {
                    let field = select.field.chars().take(64).collect();
                    return Err(CompileError::UnknownMember { of, field });
                }
                self.check(&select.operand, comprehensions)
            }
            Expr::Call(call) => {
                // `sets.contains(a, b)` is parsed as a call of `contains` on an identifier `sets`.
                let qualified = match call.target.as_ref().map(|t| &t.expr) {
                    Some(Expr::Ident(target))
                        if !self.scope.iter().any(|(known, _)| known == target) =>
                    {
                        Some(format!("{target}.{}", call.func_name))
                            .filter(|name| FUNCTIONS.contains(&name.as_str()))
                    }
                    _ => None,
                };
                let operator = !call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
                if qualified.is_none() {
                    if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                        return Err(CompileError::UnknownFunction(
                            call.func_name.chars().take(64).collect(),
                        ));
                    }
                    if let Some(target) = &call.target {
                        self.check(target, comprehensions)?;
                    }
                }
                call.args.iter().try_for_each(|argument| self.check(argument, comprehensions))
            }
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.check(element, comprehensions))
            }
            Expr::Map(map) => {
                self.check_entries(map.entries.iter().map(|e| &e.expr), comprehensions)
            }
            Expr::Struct(object) => {
                self.check_entries(object.entries.iter().map(|e| &e.expr), comprehensions)
            }
            Expr::Comprehension(comprehension) => {
                let inner = comprehensions + 1;
                if inner > MAX_COMPREHENSIONS {
                    return Err(CompileError::TooManyComprehensions);
                }
                self.check(&comprehension.iter_range, comprehensions)?;
                self.check(&comprehension.accu_init, comprehensions)?;
                let outer = self.scope.len();
                let over = match &comprehension.iter_range.expr {
                    Expr::Ident(name) if !self.scope.iter().any(|(known, _)| known == name) => {
                        Variable::of(name).filter(|variable| variable.element().is_some())
                    }
                    _ => None,
                };
                let alone = comprehension.iter_var2.is_none();
                self.scope.push((&comprehension.iter_var, over.filter(|_| alone)));
                self.scope.extend(comprehension.iter_var2.as_deref().map(|name| (name, over)));
                self.scope.push((&comprehension.accu_var, None));
                self.check(&comprehension.loop_cond, inner)?;
                self.check(&comprehension.loop_step, inner)?;
                self.check(&comprehension.result, inner)?;
                self.scope.truncate(outer);
                Ok(())
            }
        }
    }

    /// What an operand is, and which members it has, where that is fixed: a misspelt one would be found
    /// only when a request is denied for it.
    fn members(&self, operand: &Expr) -> (&'static str, Option<&'static [&'static str]>) {
        match operand {
            Expr::Ident(name) => match self.scope.iter().rev().find(|(known, _)| known == name) {
                Some((_, Some(list))) => (list.element().unwrap_or_default(), list.members()),
                Some((_, None)) => ("", None),
                None => match Variable::of(name).filter(|variable| variable.element().is_none()) {
                    Some(variable) => (variable.name(), variable.members()),
                    None => ("", None),
                },
            },
            Expr::Select(select) if select.field == "claims" => match &select.operand.expr {
                Expr::Ident(name) if name == "request" => ("request.claims", Some(CLAIMS)),
                _ => ("", None),
            },
            _ => ("", None),
        }
    }

    fn check_entries(
        &mut self,
        mut entries: impl Iterator<Item = &'e EntryExpr>,
        comprehensions: usize,
    ) -> Result<(), CompileError> {
        entries.try_for_each(|entry| match entry {
            EntryExpr::StructField(field) => self.check(&field.value, comprehensions),
            EntryExpr::MapEntry(entry) => {
                self.check(&entry.key, comprehensions)?;
                self.check(&entry.value, comprehensions)
            }
        })
    }
}
