//! The rules' language: CEL over the facts of one request, bounded before it is compiled, since the
//! interpreter has no cost limit of its own.

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use kube_cel::cel::{Context, Program, Value, to_value};
use serde::Serialize;

use super::Facts;

/// The longest expression, in bytes.
const MAX_LEN: usize = 1024;
/// How deep brackets, and runs of unary operators or conditionals, may nest. The parser recurses.
const MAX_NESTING: usize = 24;
/// How deep the parsed expression may be: a long sum or path nests without a bracket, and evaluation recurses.
const MAX_DEPTH: usize = 32;
/// The stack for parsing, which recurses by the source's length at worst: what is refused must not bring
/// the process down first.
const PARSER_STACK: usize = 64 << 20;
/// How deep comprehensions (`all`, `exists`, `map`, …) may nest: each level multiplies the cost by the
/// number of references.
const MAX_COMPREHENSIONS: usize = 2;
/// The variables that rules may read.
const VARIABLES: [&str; 3] = ["namespace", "refs", "request"];
/// The functions that rules may call. Left out is what makes much from little (`lists.range`, `replace`).
const FUNCTIONS: [&str; 15] = [
    "contains",
    "endsWith",
    "int",
    "join",
    "lowerAscii",
    "matches",
    "size",
    "split",
    "startsWith",
    "string",
    "trim",
    "upperAscii",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
];

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    program: Program,
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
    #[error("unknown variable '{0}'; rules read request, namespace and refs")]
    UnknownVariable(String),
    /// A function that rules do not have.
    #[error("unknown function '{0}'")]
    UnknownFunction(String),
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
        Checker::default().check(program.expression(), 0)?;
        Ok(Self { program })
    }

    pub(super) fn evaluate(&self, context: &FactsContext) -> Result<bool, EvaluationError> {
        match self.program.execute(&context.0) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(_) => Err(EvaluationError::NotBoolean),
            Err(error) => Err(EvaluationError::Failed(
                error.to_string().chars().take(200).collect(),
            )),
        }
    }
}

/// An upper bound of how deep the parser will recurse, found without parsing.
fn nesting(source: &str) -> usize {
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
struct Checker<'e> {
    /// The variables of the comprehensions around.
    scope: Vec<&'e str>,
    depth: usize,
}

impl<'e> Checker<'e> {
    fn check(
        &mut self,
        expression: &'e IdedExpr,
        comprehensions: usize,
    ) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CompileError::TooDeep);
        }
        self.inspect(&expression.expr, comprehensions)?;
        self.depth -= 1;
        Ok(())
    }

    fn inspect(&mut self, expression: &'e Expr, comprehensions: usize) -> Result<(), CompileError> {
        match expression {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                let known = name.starts_with('@')
                    || VARIABLES.contains(&name.as_str())
                    || self.scope.contains(&name.as_str());
                if known {
                    Ok(())
                } else {
                    Err(CompileError::UnknownVariable(
                        name.chars().take(64).collect(),
                    ))
                }
            }
            Expr::Select(select) => self.check(&select.operand, comprehensions),
            Expr::Call(call) => {
                // `sets.contains(a, b)` is parsed as a call of `contains` on an identifier `sets`.
                let qualified = match call.target.as_ref().map(|t| &t.expr) {
                    Some(Expr::Ident(target)) if !self.scope.contains(&target.as_str()) => {
                        Some(format!("{target}.{}", call.func_name))
                            .filter(|name| FUNCTIONS.contains(&name.as_str()))
                    }
                    _ => None,
                };
                let operator = !call
                    .func_name
                    .starts_with(|c: char| c.is_ascii_alphabetic());
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
                call.args
                    .iter()
                    .try_for_each(|argument| self.check(argument, comprehensions))
            }
            Expr::List(list) => list
                .elements
                .iter()
                .try_for_each(|element| self.check(element, comprehensions)),
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
                self.scope.push(&comprehension.iter_var);
                self.scope.extend(comprehension.iter_var2.as_deref());
                self.scope.push(&comprehension.accu_var);
                self.check(&comprehension.loop_cond, inner)?;
                self.check(&comprehension.loop_step, inner)?;
                self.check(&comprehension.result, inner)?;
                self.scope.truncate(outer);
                Ok(())
            }
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

/// The facts of one request in CEL's terms. Not `Send`: made for each decision, where it is used.
pub(super) struct FactsContext(Context<'static>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestVariable<'a> {
    namespace: &'a str,
    name: &'a str,
    secret_name: &'a str,
    claims: Claims<'a>,
}

#[derive(Serialize)]
struct Claims<'a> {
    purpose: &'a str,
    environment: &'a str,
    consumer: &'a str,
}

#[derive(Serialize)]
struct NamespaceVariable<'a> {
    name: &'a str,
    labels: &'a std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceVariable<'a> {
    key: &'a str,
    vault: &'a str,
    vault_id: &'a str,
    item: &'a str,
    item_id: &'a str,
    section: &'a str,
    field: &'a str,
    environment: &'a str,
}

impl FactsContext {
    /// What is absent or unknown reads as the empty string, so that rules need no `has()`.
    pub(super) fn new(facts: &Facts) -> Self {
        let request = RequestVariable {
            namespace: &facts.request.namespace,
            name: &facts.request.name,
            secret_name: &facts.request.secret_name,
            claims: Claims {
                purpose: &facts.request.purpose,
                environment: facts
                    .request
                    .claimed_environment
                    .as_deref()
                    .unwrap_or_default(),
                consumer: facts
                    .request
                    .claimed_consumer
                    .as_deref()
                    .unwrap_or_default(),
            },
        };
        let namespace = NamespaceVariable {
            name: &facts.namespace.name,
            labels: &facts.namespace.labels,
        };
        let refs: Vec<_> = facts
            .references
            .iter()
            .map(|r| ReferenceVariable {
                key: &r.key,
                vault: &r.item.vault_name,
                vault_id: &r.item.vault_id,
                item: &r.item.title,
                item_id: &r.item.item_id,
                section: r.section.as_deref().unwrap_or_default(),
                field: &r.field,
                environment: r.environment.as_deref().unwrap_or_default(),
            })
            .collect();
        let mut context = Context::default().with_all();
        // A variable that does not convert stays undeclared, and a rule that reads it fails and denies.
        for (name, value) in [
            ("request", to_value(&request)),
            ("namespace", to_value(&namespace)),
            ("refs", to_value(&refs)),
        ] {
            if let Ok(value) = value {
                context.add_variable_from_value(name, value);
            }
        }
        Self(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::tests::facts;

    fn eval(source: &str) -> Result<bool, EvaluationError> {
        Expression::compile(source)
            .unwrap()
            .evaluate(&FactsContext::new(&facts()))
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
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let error = Expression::compile("request.name ==").unwrap_err();
        assert!(
            matches!(error, CompileError::Syntax { line: 1, .. }),
            "{error}"
        );
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
        assert_eq!(
            eval(&format!("{}1 != 1", "1+".repeat(MAX_DEPTH - 3))),
            Ok(true)
        );
    }

    #[test]
    fn a_rule_without_an_answer_is_an_error() {
        assert_eq!(eval("1 + 1"), Err(EvaluationError::NotBoolean));
        assert!(matches!(
            eval("namespace.labels['none'] == ''"),
            Err(EvaluationError::Failed(_))
        ));
    }

    proptest! {
        #[test]
        fn compiling_never_panics(source in "[a-z0-9.'\"()\\[\\]{}!?:&|<>=+, -]{0,120}") {
            let _ = Expression::compile(&source);
        }
    }
}
