//! The rules' language: CEL over the facts of one request, bounded before it is compiled, since the
//! interpreter has no cost limit of its own.

mod bounds;
mod context;
mod cost;
mod failure;
mod functions;
mod variables;

use kube_cel::cel::{Program, Value};

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
pub(super) const MAX_COST: u64 = 5_000_000;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    program: Program,
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
    UnknownVariable(String),
    /// A member that a variable does not have.
    #[error("{of} has no member '{field}'")]
    UnknownMember {
        /// What was looked into.
        of: &'static str,
        /// What it does not have.
        field: String,
    },
    /// A function that rules do not have.
    #[error("unknown function '{0}'")]
    UnknownFunction(String),
    /// A message of a type, which rules do not have.
    #[error("unknown type '{0}'; rules make lists and maps alone")]
    UnknownType(String),
    /// The rules of a policy, up to this one, may take too many steps.
    #[error(
        "the rules up to this one may take {0} steps, and at most {MAX_COST} are allowed: go through lists in lists in fewer of them, match in fewer, or with smaller patterns"
    )]
    TooCostly(u64),
    /// A rule that defers, and whose answer stays as it is.
    #[error(
        "a rule that defers must read now, history, anomalies or service: another one would defer for ever"
    )]
    DefersForEver,
}

impl CompileError {
    /// Where in the expression the fault is, in characters from 1, unless the text says so already or it
    /// is everywhere.
    #[must_use]
    pub fn column(&self, source: &str) -> Option<usize> {
        let name = match self {
            Self::UnknownVariable(name) | Self::UnknownFunction(name) | Self::UnknownType(name) => {
                name
            }
            Self::UnknownMember { field, .. } => field,
            Self::TooLong(_)
            | Self::TooDeep
            | Self::TooManyComprehensions
            | Self::TooCostly(_)
            | Self::DefersForEver
            | Self::Syntax { .. } => return None,
        };
        let before = source.split(name.as_str()).next()?;
        Some(before.chars().count() + 1)
    }
}

/// Why a rule that compiled has no answer. It denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EvaluationError {
    #[error("the rule failed: {0}")]
    Failed(String),
    #[error("the rule did not come to true or false")]
    NotBoolean,
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
        let mut checker = Checker::new();
        checker.check(program.expression())?;
        let Checker { reads, cost, .. } = checker;
        Ok(Self { program, reads, cost })
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
        match self.program.execute(&context.0) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(_) => Err(EvaluationError::NotBoolean),
            Err(error) => Err(EvaluationError::Failed(failure::words(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::bounds::MAX_DEPTH;
    use super::*;
    use crate::policy::Transient;
    use crate::policy::tests::{facts, transient};

    fn eval(source: &str) -> Result<bool, EvaluationError> {
        Expression::compile(source).unwrap().evaluate(&FactsContext::new(
            &Functions::default(),
            &facts(),
            Some(&transient()),
        ))
    }

    #[test]
    fn rules_read_request_namespace_and_refs() {
        for source in [
            "request.claims.purpose == 'orders'",
            "request.claims.environment == ''",
            "namespace.labels['team'] == 'shop'",
            "refs.exists(r, r.environment == 'production' && r.vault.startsWith('serv'))",
            "refs.all(r, r.item.matches('^orders-[a-z]+$'))",
            "refs.map(r, r.vault).size() == 2",
            "sets.contains(['url', 'password'], refs.map(r, r.field))",
            "has(namespace.labels.team)",
            "request.secretName.lowerAscii() == 'orders'",
            "request.fallbackSecret == ''",
            "refs.all(r, r.class == 'services' && r.type == 'LOGIN')",
            "requester.name == '' && !requester.verified",
            "service.reachable && service.secondsSinceAnswer < 60",
            "!history.learning && history.newItemsLastHour + history.newItems == 0",
            "anomalies.size() == 0 && !anomalies.exists(a, a.detector == 'NewVault')",
        ] {
            assert_eq!(eval(source), Ok(true), "{source}");
        }
    }

    #[test]
    fn what_rules_do_not_have_is_refused_by_name() {
        assert_eq!(
            Expression::compile("requests.name == ''").unwrap_err(),
            CompileError::UnknownVariable("requests".to_owned())
        );
        assert_eq!(
            Expression::compile("refs.exists(r, q.vault == '')").unwrap_err(),
            CompileError::UnknownVariable("q".to_owned())
        );
        assert_eq!(
            Expression::compile("lists.range(1000000000).size() > 0").unwrap_err(),
            CompileError::UnknownFunction("range".to_owned())
        );
        assert_eq!(
            Expression::compile("refs == [a.B{c: 1}]").unwrap_err(),
            CompileError::UnknownType("a.B".to_owned())
        );
    }

    #[test]
    fn a_misspelt_member_is_refused_when_it_is_compiled() {
        for (source, of) in [
            ("request.purpose == 'x'", "request"),
            ("request.claims.reason == 'x'", "request.claims"),
            ("namespace.label['x'] == 'y'", "namespace"),
            ("has(request.owner)", "request"),
            ("refs.exists(r, r.title == 'x')", "a reference"),
            ("refs.all(a, refs.all(b, a.vault == b.name))", "a reference"),
        ] {
            let error = Expression::compile(source).unwrap_err();
            assert!(
                matches!(&error, CompileError::UnknownMember { of: o, .. } if *o == of),
                "{error}"
            );
        }
        assert!(Expression::compile("namespace.labels.anything == 'x'").is_ok());
        assert!(Expression::compile("refs.map(r, r.vault).exists(v, v == 'x')").is_ok());
    }

    #[test]
    fn what_is_unknown_is_found_in_its_place() {
        for (source, column) in [
            ("requests.name == ''", 1),
            ("true && size(refs) > foo", 22),
            ("true || nonsense(refs)", 9),
            ("request.purpose == 'x'", 9),
        ] {
            let error = Expression::compile(source).unwrap_err();
            assert_eq!(error.column(source), Some(column), "{error}");
        }
    }

    #[test]
    fn a_time_is_read_in_utc_or_in_a_zone() {
        // 2026-11-25T02:07:00Z, a Wednesday.
        for (source, expected) in [
            ("now.getHours() == 2", Ok(true)),
            ("now.getHours('Europe/Berlin') == 3", Ok(true)),
            ("now.getHours('America/New_York') == 21", Ok(true)),
            ("now.getDayOfWeek() == 3", Ok(true)),
            ("now.getDayOfWeek('America/New_York') == 2", Ok(true)),
            ("now.getMinutes('Asia/Kolkata') == 37", Ok(true)),
            ("now.getHours('+05:30') == 7", Ok(true)),
            ("now.getDate() == 25 && now.getMonth() == 10 && now.getFullYear() == 2026", Ok(true)),
            ("now.getDayOfMonth() == 24 && now.getDayOfYear() == 328", Ok(true)),
            ("now > timestamp('2026-11-25T00:00:00Z')", Ok(true)),
            ("now - timestamp('2026-11-25T00:00:00Z') < duration('3h')", Ok(true)),
        ] {
            assert_eq!(eval(source), expected, "{source}");
        }
        for source in
            ["now.getHours('Europe/Nowhere') == 1", "now.getHours(1) == 1", "'x'.getHours() == 1"]
        {
            assert!(matches!(eval(source), Err(EvaluationError::Failed(_))), "{source}");
        }
    }

    #[test]
    fn summer_time_counts() {
        let summer = Transient { now: "2026-07-25T02:07:00Z".parse().unwrap(), ..transient() };
        let functions = Functions::default();
        let context = FactsContext::new(&functions, &facts(), Some(&summer));
        let rule = Expression::compile("now.getHours('Europe/Berlin') == 4").unwrap();
        assert_eq!(rule.evaluate(&context), Ok(true));
    }

    #[test]
    fn a_pattern_that_is_none_or_takes_too_much_is_an_error() {
        for source in ["'a'.matches('(')", "'a'.matches('(a{500}){500}')"] {
            assert!(matches!(eval(source), Err(EvaluationError::Failed(_))), "{source}");
        }
        assert_eq!(eval("refs.all(r, r.vault.matches('^s') && r.item.matches('^o'))"), Ok(true));
    }

    #[test]
    fn what_an_expression_reads_decides_whether_its_answer_lasts() {
        for (source, transient, timed) in [
            ("refs.exists(r, r.vault == 'x') && namespace.name == 'y'", false, false),
            ("request.name == requester.name", false, false),
            ("anomalies.size() > 0", true, false),
            ("refs.exists(now, now.vault == 'x')", false, false),
            ("refs.exists(r, now.getHours() > 3)", true, true),
            ("history.newItems > 1", true, true),
            ("service.reachable", true, true),
        ] {
            let expression = Expression::compile(source).unwrap();
            let reads = expression.reads();
            assert_eq!((reads.is_transient(), reads.is_timed()), (transient, timed), "{source}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let error = Expression::compile("request.name ==").unwrap_err();
        assert!(matches!(error, CompileError::Syntax { line: 1, .. }), "{error}");
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused_before_it_is_parsed() {
        assert_eq!(
            Expression::compile(&"1".repeat(MAX_LEN + 1)).unwrap_err(),
            CompileError::TooLong(MAX_LEN + 1)
        );
        for deep in ["(", "[", "!", "-", "a?b:", "{1:", "! "] {
            assert_eq!(
                Expression::compile(&deep.repeat(MAX_NESTING + 1)).unwrap_err(),
                CompileError::TooDeep,
                "{deep}"
            );
        }
        assert_eq!(
            Expression::compile("refs.all(a, refs.all(b, refs.all(c, c.key == a.key)))")
                .unwrap_err(),
            CompileError::TooManyComprehensions
        );
    }

    #[test]
    fn what_nests_out_of_sight_is_refused_and_harms_nothing() {
        let brackets = format!("{}true{}", "(".repeat(450), ")".repeat(450));
        for source in [
            format!("// it's\n{brackets}"),
            format!("r'\\' == '' || {brackets}"),
            format!("'''it's''' == '' || {brackets}"),
            format!("{}1 != 1", "1+".repeat(500)),
            format!("{}'' != ''", "''+".repeat(330)),
            format!("request{} == ''", ".a".repeat(490)),
            format!("refs{} == ''", "[0]".repeat(320)),
            format!("{}true", "true==".repeat(160)),
            format!("// it's\n{}true", "true?true:".repeat(100)),
            format!("// it's\n{}", "[".repeat(1000)),
            format!("// it's\n{}", "{1:".repeat(330)),
        ] {
            assert!(source.len() <= MAX_LEN);
            assert!(Expression::compile(&source).is_err(), "{source}");
        }
        // As deep as is allowed can be evaluated on the stack of any thread.
        assert_eq!(eval(&format!("{}1 != 1", "1+".repeat(MAX_DEPTH - 3))), Ok(true));
    }

    #[test]
    fn a_rule_without_an_answer_is_an_error() {
        assert_eq!(eval("1 + 1"), Err(EvaluationError::NotBoolean));
        assert!(matches!(eval("namespace.labels['none'] == ''"), Err(EvaluationError::Failed(_))));
    }

    proptest! {
        #[test]
        fn compiling_never_panics(source in "[a-z0-9.'\"()\\[\\]{}!?:&|<>=+, -]{0,120}") {
            let _ = Expression::compile(&source);
        }
    }
}
