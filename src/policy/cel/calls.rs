//! What rules may call, and how. What is called in another way the interpreter takes as well, and does more or less than
//! it was paid for: it leaves arguments out, or makes the first of them twice.

use std::ops::RangeInclusive;

use kube_cel::cel::common::ast::operators;

/// A function that rules may call.
pub(super) struct Function {
    name: &'static str,
    method: Option<RangeInclusive<usize>>,
    plain: Option<RangeInclusive<usize>>,
    /// For people.
    pub(super) usage: &'static str,
}

const fn method(
    name: &'static str,
    arguments: RangeInclusive<usize>,
    usage: &'static str,
) -> Function {
    Function { name, method: Some(arguments), plain: None, usage }
}

const fn plain(name: &'static str, arguments: usize, usage: &'static str) -> Function {
    Function { name, method: None, plain: Some(arguments..=arguments), usage }
}

/// Each new one needs its price in [`super::cost`]. Left out is what makes much from little (`lists.range`, `replace`).
const FUNCTIONS: [Function; 25] = [
    method("contains", 1..=1, "text.contains(part)"),
    plain("duration", 1, "duration(text)"),
    method("endsWith", 1..=1, "text.endsWith(part)"),
    method("getDate", 0..=1, "time.getDate(zone)"),
    method("getDayOfMonth", 0..=1, "time.getDayOfMonth(zone)"),
    method("getDayOfWeek", 0..=1, "time.getDayOfWeek(zone)"),
    method("getDayOfYear", 0..=1, "time.getDayOfYear(zone)"),
    method("getFullYear", 0..=1, "time.getFullYear(zone)"),
    method("getHours", 0..=1, "time.getHours(zone)"),
    method("getMinutes", 0..=1, "time.getMinutes(zone)"),
    method("getMonth", 0..=1, "time.getMonth(zone)"),
    plain("int", 1, "int(value)"),
    method("join", 0..=1, "list.join(between)"),
    method("lowerAscii", 0..=0, "text.lowerAscii()"),
    method("matches", 1..=1, "text.matches(pattern)"),
    Function {
        name: "size",
        method: Some(0..=0),
        plain: Some(1..=1),
        usage: "list.size() or size(list)",
    },
    method("split", 1..=2, "text.split(between)"),
    method("startsWith", 1..=1, "text.startsWith(part)"),
    plain("string", 1, "string(value)"),
    plain("timestamp", 1, "timestamp(text)"),
    method("trim", 0..=0, "text.trim()"),
    method("upperAscii", 0..=0, "text.upperAscii()"),
    plain("sets.contains", 2, "sets.contains(list, list)"),
    plain("sets.equivalent", 2, "sets.equivalent(list, list)"),
    plain("sets.intersects", 2, "sets.intersects(list, list)"),
];

/// What operators are parsed as, and what macros are written out with.
const OPERATORS: [&str; 19] = [
    operators::ADD,
    operators::CONDITIONAL,
    operators::DIVIDE,
    operators::EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::IN,
    operators::INDEX,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::LOGICAL_AND,
    operators::LOGICAL_NOT,
    operators::LOGICAL_OR,
    operators::MODULO,
    operators::MULTIPLY,
    operators::NEGATE,
    operators::NOT_EQUALS,
    operators::NOT_STRICTLY_FALSE,
    operators::SUBSTRACT,
];

impl Function {
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// Whether it is called on something with so many arguments.
    pub(super) fn is_method(&self, arguments: usize) -> bool {
        self.method.as_ref().is_some_and(|method| method.contains(&arguments))
    }

    /// Whether it is called on nothing with so many arguments.
    pub(super) fn is_plain(&self, arguments: usize) -> bool {
        self.plain.as_ref().is_some_and(|plain| plain.contains(&arguments))
    }
}

/// Whether a name is that of an operator, which has as many operands as it is written with.
pub(super) fn is_operator(name: &str) -> bool {
    OPERATORS.contains(&name)
}
