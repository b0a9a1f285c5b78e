//! What an expression may be made of, and how deep. Checked before it is evaluated, since the interpreter
//! has no limit of its own.

use std::collections::BTreeSet;

use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr};

use super::calls::{Function, is_operator};
use super::cost::{self, Size};
use super::variables::{CLAIMS, Reads, Variable};
use super::{CompileError, Name, place};

/// How deep the parsed expression may be: a long sum or path nests without a bracket, and evaluation recurses.
pub(super) const MAX_DEPTH: usize = 32;
/// How deep comprehensions (`all`, `exists`, `map`, …) may nest: each level multiplies the cost by the
/// number of references.
pub(super) const MAX_COMPREHENSIONS: usize = 2;
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
pub(super) struct Checker<'e> {
    source: &'e str,
    /// The names that were passed by now, in their order.
    passed: Vec<&'e str>,
    /// The variables of the comprehensions around.
    scope: Vec<Known<'e>>,
    depth: usize,
    comprehensions: usize,
    /// How often what is looked at may be evaluated.
    times: u64,
    pub(super) reads: Reads,
    /// Whether a value of it may be a time or a duration.
    pub(super) has_times: bool,
    /// The ranges of comprehensions that may be maps, by the numbers of their expressions.
    pub(super) maps: BTreeSet<u64>,
    /// The steps that an evaluation takes at most.
    pub(super) cost: u64,
}

/// A variable of a comprehension.
struct Known<'e> {
    name: &'e str,
    /// The list whose elements it is, where that is a variable of rules.
    of: Option<Variable>,
    size: Size,
}

impl<'e> Checker<'e> {
    pub(super) fn new(source: &'e str) -> Self {
        Self {
            source,
            passed: Vec::new(),
            scope: Vec::new(),
            depth: 0,
            comprehensions: 0,
            times: 1,
            reads: Reads::default(),
            has_times: false,
            maps: BTreeSet::new(),
            cost: 0,
        }
    }

    /// Checks an expression; how large its value may be.
    pub(super) fn check(&mut self, expression: &'e IdedExpr) -> Result<Size, CompileError> {
        if let Some(variable) = self.read_by(&expression.expr) {
            self.reads.add_whole(variable);
        }
        self.check_part(expression)
    }

    /// Checks an expression of whose value no more is read than what has been said already.
    fn check_part(&mut self, expression: &'e IdedExpr) -> Result<Size, CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CompileError::TooDeep);
        }
        self.pay(1);
        let size = self.inspect(&expression.expr)?;
        self.depth -= 1;
        Ok(size)
    }

    fn pay(&mut self, steps: u64) {
        self.cost = self.cost.saturating_add(self.times.saturating_mul(steps));
    }

    fn inspect(&mut self, expression: &'e Expr) -> Result<Size, CompileError> {
        match expression {
            Expr::Literal(literal) => Ok(Size::of_literal(literal)),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let (of, members) = self.members(&select.operand.expr);
                let variable = self.variable_of(&select.operand.expr);
                let whole = match variable {
                    Some(variable) => {
                        self.reads.add_member(variable, &select.field);
                        self.check_part(&select.operand)?.whole
                    }
                    None => self.check(&select.operand)?.whole,
                };
                if members.is_some_and(|known| !known.contains(&&*select.field)) {
                    return Err(CompileError::UnknownMember {
                        of,
                        field: self.name(&select.field),
                    });
                }
                self.passed.push(&select.field);
                let size = match variable {
                    Some(variable) => Size::of_member(variable, &select.field),
                    None if members.is_some() => Size::of_claim(&select.field),
                    None => Size::any(whole),
                };
                self.pay(size.whole);
                Ok(size)
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.made_of(list.elements.iter()),
            Expr::Map(map) => {
                let entries = map.entries.iter().map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => [&entry.key, &entry.value],
                    EntryExpr::StructField(field) => [&field.value, &field.value],
                });
                self.made_of(entries.flatten())
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            // The interpreter has none, and panics.
            Expr::Struct(object) => Err(CompileError::UnknownType(self.name(&object.type_name))),
            Expr::Unspecified => Err(CompileError::UnknownType(self.name(""))),
        }
    }

    /// A name that means nothing, at its place.
    fn name(&self, name: &str) -> Name {
        let passed = self.passed.iter().filter(|passed| **passed == name).count();
        let column = place::of(self.source, name, passed);
        Name { text: name.chars().take(64).collect(), column }
    }

    fn variable(&mut self, name: &'e str) -> Result<Size, CompileError> {
        let size = self.size_of(name)?;
        self.passed.push(name);
        Ok(size)
    }

    fn size_of(&mut self, name: &str) -> Result<Size, CompileError> {
        if let Some(known) = self.known(name) {
            return Ok(known.size);
        }
        match Variable::of(name) {
            Some(variable) => {
                self.has_times |= variable == Variable::Now;
                self.reads.add(variable);
                Ok(Size::of(variable))
            }
            None => Err(CompileError::UnknownVariable(self.name(name))),
        }
    }

    fn known(&self, name: &str) -> Option<&Known<'e>> {
        self.scope.iter().rev().find(|known| known.name == name)
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<Size, CompileError> {
        // `sets.contains(a, b)` is parsed as a call of `contains` on an identifier `sets`, and meant whatever `sets` is.
        let qualified = match call.target.as_ref().map(|t| &t.expr) {
            Some(Expr::Ident(target)) => Some(format!("{target}.{}", call.func_name))
                .filter(|name| Function::of(name).is_some()),
            _ => None,
        };
        let target = call.target.as_deref().filter(|_| qualified.is_none());
        let name = qualified.as_deref().unwrap_or(&call.func_name);
        let function = Function::of(name);
        let is_known = function.is_some() || is_operator(name);
        let mut sizes = Vec::with_capacity(call.args.len() + 1);
        // What stands before a function that nobody knows may be a part of its name.
        if let Some(target) = target.filter(|t| is_known || !self.is_unknown(&t.expr)) {
            sizes.push(self.check(target)?);
        }
        if !is_known {
            return Err(CompileError::UnknownFunction(self.name(&call.func_name)));
        }
        let arguments = call.args.len();
        if let Some(function) = function
            && !(target.is_some() && function.is_method(arguments)
                || target.is_none() && function.is_plain(arguments))
        {
            let usage = function.usage;
            return Err(CompileError::WrongCall { name: self.name(&call.func_name), usage });
        }
        self.has_times |= ["duration", "timestamp"].contains(&name);
        self.passed.push(&call.func_name);
        for (position, value) in call.args.iter().enumerate() {
            let before = self.cost;
            sizes.push(self.check(value)?);
            if position == 0 && target.is_none() && function.is_some() {
                // The interpreter may make the first one twice.
                self.cost = self.cost.saturating_add(self.cost.saturating_sub(before));
            }
        }
        let price = cost::of_call(name, call, &sizes);
        self.pay(price.steps);
        self.cost = self.cost.saturating_add(price.once);
        Ok(price.makes)
    }

    fn is_unknown(&self, expression: &Expr) -> bool {
        let Expr::Ident(name) = expression else { return false };
        self.known(name).is_none() && Variable::of(name).is_none()
    }

    fn made_of(&mut self, parts: impl Iterator<Item = &'e IdedExpr>) -> Result<Size, CompileError> {
        let sizes = parts.map(|part| self.check(part)).collect::<Result<Vec<_>, _>>()?;
        let size = Size::made_of(&sizes);
        self.pay(size.whole);
        Ok(size)
    }

    fn comprehension(&mut self, looped: &'e ComprehensionExpr) -> Result<Size, CompileError> {
        if self.comprehensions == MAX_COMPREHENSIONS {
            return Err(CompileError::TooManyComprehensions);
        }
        let range = &looped.iter_range;
        let of = match &range.expr {
            Expr::Ident(name) if self.known(name).is_none() => {
                Variable::of(name).filter(|variable| variable.element().is_some())
            }
            _ => None,
        };
        let list = if of.is_some() { self.check_part(range)? } else { self.check(range)? };
        if of.is_none() && !is_list(&range.expr) {
            self.maps.insert(range.id);
            self.pay(cost::of_elements(list));
        }
        let start = self.check(&looped.accu_init)?;
        let outer = self.scope.len();
        let alone = looped.iter_var2.is_none();
        let size = Size::any(list.element);
        let names = std::iter::once((&looped.iter_var, of.filter(|_| alone)))
            .chain(looped.iter_var2.as_ref().map(|name| (name, of)));
        self.scope.extend(names.map(|(name, of)| Known { name, of, size }));
        self.scope.push(Known { name: &looped.accu_var, of: None, size: start });

        self.passed.push(&looped.iter_var);
        let times = self.times;
        self.comprehensions += 1;
        // A list grows, by as much each time. Its average size is half of what it comes to.
        let mut result = start;
        if matches!(looped.accu_init.expr, Expr::List(_)) {
            let (cost, passed) = (self.cost, self.passed.len());
            let once = self.check(&looped.loop_step)?;
            self.cost = cost;
            self.passed.truncate(passed);
            self.resize(start.grown(once, list.length.div_ceil(2)));
            result = start.grown(once, list.length);
        }
        self.times = times.saturating_mul(list.length.max(1));
        self.check(&looped.loop_cond)?;
        let step = self.check(&looped.loop_step)?;
        self.pay(list.element.saturating_add(step.whole));
        self.times = times;
        self.comprehensions -= 1;
        self.resize(result);
        let result = self.check(&looped.result)?;
        self.pay(result.whole);
        self.scope.truncate(outer);
        Ok(result)
    }

    /// Says how large the innermost variable is by now.
    fn resize(&mut self, size: Size) {
        if let Some(known) = self.scope.last_mut() {
            known.size = size;
        }
    }

    /// What an operand is, and which members it has, where that is fixed: a misspelt one would be found
    /// only when a request is denied for it.
    fn members(&self, operand: &Expr) -> (&'static str, Option<&'static [&'static str]>) {
        const NONE: Option<&[&str]> = Some(&[]);
        match operand {
            Expr::Ident(name) if self.known(name).is_none() => match Variable::of(name) {
                // Its elements have members.
                Some(list) if list.element().is_some() => (list.name(), NONE),
                Some(variable) => (variable.name(), variable.members()),
                None => ("", None),
            },
            Expr::Ident(_) => self.variable_of(operand).map_or(("", None), |variable| {
                (variable.element().unwrap_or(variable.name()), variable.members())
            }),
            Expr::Select(select) => {
                let Some(variable) = self.variable_of(&select.operand.expr) else {
                    // Of a claim or a label, which are texts.
                    return match self.members(&select.operand.expr).0 {
                        "request.claims" => ("a claim", NONE),
                        "namespace.labels" => ("a label", NONE),
                        _ => ("", None),
                    };
                };
                match (variable, select.field.as_str()) {
                    (Variable::Request, "claims") => ("request.claims", Some(CLAIMS)),
                    (Variable::Namespace, "labels") => ("namespace.labels", None),
                    (variable, field) => {
                        let known = variable.members().unwrap_or_default().iter();
                        known
                            .copied()
                            .find(|known| *known == field)
                            .map_or(("", None), |known| (known, NONE))
                    }
                }
            }
            _ => ("", None),
        }
    }

    /// The variable of rules that is read where an expression is that variable, or an element of it.
    fn read_by(&self, expression: &Expr) -> Option<Variable> {
        let Expr::Ident(name) = expression else { return None };
        self.known(name).map_or_else(|| Variable::of(name), |known| known.of)
    }

    /// The variable of rules that an operand is, or is an element of.
    fn variable_of(&self, operand: &Expr) -> Option<Variable> {
        let Expr::Ident(name) = operand else { return None };
        match self.known(name) {
            Some(known) => known.of,
            None => Variable::of(name).filter(|variable| variable.element().is_none()),
        }
    }
}

/// Whether an expression makes a list, whatever its parts are.
fn is_list(expression: &Expr) -> bool {
    match expression {
        Expr::List(_) => true,
        Expr::Call(call) => call.func_name == "split",
        // What `map` and `filter` are written out as.
        Expr::Comprehension(looped) => matches!(looped.accu_init.expr, Expr::List(_)),
        _ => false,
    }
}
