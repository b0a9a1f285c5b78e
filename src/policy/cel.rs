//! The rules' language: CEL over the facts of one request, bounded before it is compiled, since the
//! interpreter has no cost limit of its own.

mod bounds;
mod calls;
mod context;
mod cost;
mod elements;
mod failure;
mod functions;
mod members;
mod parts;
mod place;
mod times;
mod variables;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kube_cel::cel::{IdedExpr, Program, Value};

use bounds::{Checker, MAX_COMPREHENSIONS, nesting};
pub(super) use context::{FactsContext, Functions};
pub(super) use variables::Reads;

/// The longest expression, in bytes.
const MAX_LEN: usize = 1024;
/// How deep brackets, and runs of unary operators or conditionals, may nest. The parser recurses.
const MAX_NESTING: usize = 24;
/// The stack for parsing, which recurses by the source's length at worst: what is refused must not bring
/// the process down first.
const PARSER_STACK: usize = 64 << 20;
/// The steps that the rules of one policy may take at most for one decision; `make bench` times the worst.
pub(super) const MAX_COST: u64 = 6_000_000;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    root: IdedExpr,
    reads: Reads,
    cost: u64,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Too many bytes.
    #[error("the expression has {0} bytes, at most {MAX_LEN} are allowed")]
    TooLong(usize),
    /// Brackets, unary operators or conditionals nest too deep.
    #[error("the expression nests deeper than {MAX_NESTING} levels")]
    TooDeep,
    /// Comprehensions nest too deep.
    #[error("all, exists, exists_one, map and filter may nest {MAX_COMPREHENSIONS} deep at most")]
    TooManyComprehensions,
    /// Not CEL.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Counted from 1.
        line: isize,
        /// Counted from 1.
        column: isize,
        /// What the parser expected.
        message: String,
    },
    /// A variable that rules do not have.
    #[error("unknown variable '{0}'; rules read {names}", names = variables::names())]
    UnknownVariable(Name),
    /// A member that a variable does not have.
    #[error("{of} has no member '{field}'")]
    UnknownMember {
        /// What was looked into.
        of: &'static str,
        /// What it does not have.
        field: Name,
    },
    /// A function that rules do not have.
    #[error("unknown function '{0}'")]
    UnknownFunction(Name),
    /// A function that is called in another way than it is made for.
    #[error("'{name}' is called so: {usage}")]
    WrongCall {
        /// The function.
        name: Name,
        /// How it is called.
        usage: &'static str,
    },
    /// A message of a type, which rules do not have.
    #[error("unknown type '{0}'; rules make lists and maps alone")]
    UnknownType(Name),
    /// The rules of a policy, up to this one, may take too many steps.
    #[error(
        "the rules up to this one may take {0} steps, and at most {MAX_COST} are allowed: go through lists in lists in fewer of them, match in fewer, or with smaller patterns"
    )]
    TooCostly(u64),
    /// A rule that defers, and whose answer stays as it is.
    #[error(
        "a rule that defers must read now, history or service: another one would defer for ever"
    )]
    DefersForEver,
}

/// A name that stands in an expression and means nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    text: String,
    column: Option<usize>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl CompileError {
    /// Where in the expression the fault is, in characters from 1, unless the text says so already or it
    /// is everywhere.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::UnknownVariable(name)
            | Self::UnknownFunction(name)
            | Self::UnknownType(name)
            | Self::WrongCall { name, .. }
            | Self::UnknownMember { field: name, .. } => name.column,
            Self::TooLong(_)
            | Self::TooDeep
            | Self::TooManyComprehensions
            | Self::TooCostly(_)
            | Self::DefersForEver
            | Self::Syntax { .. } => None,
        }
    }
}

/// Why a rule that compiled has no answer. It denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EvaluationError {
    #[error("the rule failed: {0}")]
    Failed(String),
    #[error("the rule did not come to true or false")]
    NotBoolean,
    #[error("the rule failed: the interpreter of rules panicked")]
    Panicked,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is too long, nests too deep, is not CEL, or reads or calls what rules do not have.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if source.len() > MAX_LEN {
            return Err(CompileError::TooLong(source.len()));
        }
        if nesting(source) > MAX_NESTING {
            return Err(CompileError::TooDeep);
        }
        // In a scope, so that an expression that is refused is dropped on that stack as well.
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(PARSER_STACK)
                .spawn_scoped(scope, || Self::parse(source))
                .map_err(|_| CompileError::TooDeep)?
                .join()
                .unwrap_or(Err(CompileError::TooDeep))
        })
    }

    fn parse(source: &str) -> Result<Self, CompileError> {
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            CompileError::Syntax {
                line: first.map_or(1, |e| e.pos.0),
                column: first.map_or(1, |e| e.pos.1),
                message: first.map_or_else(|| "not a CEL expression".to_owned(), |e| e.msg.clone()),
            }
        })?;
        let mut checker = Checker::new(source);
        checker.check(program.expression())?;
        let Checker { reads, maps, has_times, cost, .. } = checker;
        let mut root = program.expression().clone();
        elements::in_order(&mut root, &maps);
        members::by_index(&mut root);
        if has_times {
            times::checked(&mut root);
        }
        Ok(Self { root, reads, cost })
    }

    /// What it reads.
    pub(super) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The steps that an evaluation takes at most.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn evaluate(&self, context: &FactsContext<'_>) -> Result<bool, EvaluationError> {
        // A panic of the interpreter must not be one of the reconcile: it would come again each time. What it has is read
        // alone.
        let resolved = catch_unwind(AssertUnwindSafe(|| context.0.resolve(&self.root)));
        match resolved {
            Ok(Ok(Value::Bool(matches))) => Ok(matches),
            Ok(Ok(_)) => Err(EvaluationError::NotBoolean),
            Ok(Err(error)) => Err(EvaluationError::Failed(failure::words(&error))),
            Err(_) => Err(EvaluationError::Panicked),
        }
    }
}

#[cfg(test)]
mod tests;
