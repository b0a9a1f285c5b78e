//! What it costs to make a value: the interpreter copies values at almost every step, whole lists among them, so that
//! what a step costs is decided by how large its values are.

use kube_cel::cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::functions::{MAX_PATTERN, pattern_size};
use super::variables::Variable;

/// The most references that a request has.
const REFERENCES: u64 = 256;
/// The most anomalies that a request has, or more.
const ANOMALIES: u64 = 32;
/// More labels than a namespace should have. The API server sets no limit.
const LABELS: u64 = 64;
/// How many bytes of text are one unit.
const TEXT: u64 = 256;
/// The units of a text that may have 1,024 bytes: a title, the name of a vault; what a section or field is spelled as and
/// who asked, in 256 characters of any script.
const LONG: u64 = 1_024 / TEXT;
/// Those of a purpose, which has 1,024 characters.
const PURPOSE: u64 = 4_096 / TEXT;
/// What the call of a function costs, beside its values.
const CALL: u64 = 4;
/// What it costs to match a unit of text with a pattern, for each KiB of it: at worst each of its states is followed,
/// from each character.
const MATCH: u64 = 1_500;
/// What a part costs that is split off: it is copied into a value of one kind, and that into one of another.
const SPLIT: u64 = 3;
/// What it costs to compile a pattern, or to find out that it is too large.
const PATTERN: u64 = 40_000;

/// The most that a value may be: one unit for each value in it, and for each [`TEXT`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// All of it, which is what a copy costs.
    pub(super) whole: u64,
    /// The elements of a list or map.
    pub(super) length: u64,
    /// All of the largest of them.
    pub(super) element: u64,
}

impl Size {
    pub(super) const ONE: Self = Self::any(1);

    /// Whatever has so many units: were it a list, it would have no more elements, and none would be larger.
    pub(super) const fn any(whole: u64) -> Self {
        Self { whole, length: whole, element: whole }
    }

    const fn list(length: u64, element: u64) -> Self {
        Self { whole: 1 + length * element, length, element }
    }

    /// A variable of rules. To copy a longer text takes hardly longer; what is done with one is priced by its length.
    pub(super) fn of(variable: Variable) -> Self {
        // A map has its keys besides its values.
        let object = |members: &[&str]| 1 + 2 * members.len() as u64;
        let members = variable.members().map_or(1, object);
        match variable {
            Variable::Refs => Self::list(REFERENCES, members),
            // A message has two units.
            Variable::Anomalies => Self::list(ANOMALIES, members + 1),
            Variable::Namespace => Self::any(members + Self::LABELS.whole),
            Variable::Request => Self::any(members + Self::CLAIMS.whole),
            Variable::History | Variable::Now | Variable::Requester | Variable::Service => {
                Self::any(members)
            }
        }
    }

    const LABELS: Self = Self { whole: 1 + 4 * LABELS, length: LABELS, element: 2 };
    const CLAIMS: Self = Self { whole: 6 + PURPOSE, length: 3, element: PURPOSE };

    /// A member of a variable, or of an element of one.
    pub(super) fn of_member(variable: Variable, member: &str) -> Self {
        match (variable, member) {
            (Variable::Namespace, "labels") => Self::LABELS,
            (Variable::Request, "claims") => Self::CLAIMS,
            (Variable::Refs, "field" | "item" | "section" | "vault")
            | (Variable::Requester, "name") => Self::any(LONG),
            (Variable::Anomalies, _) => Self::any(2),
            _ => Self::ONE,
        }
    }

    /// A member of `request.claims`.
    pub(super) fn of_claim(member: &str) -> Self {
        if member == "purpose" { Self::any(PURPOSE) } else { Self::ONE }
    }

    pub(super) fn of_literal(literal: &LiteralValue) -> Self {
        match literal {
            LiteralValue::String(text) => Self::text(text.inner().len()),
            LiteralValue::Bytes(bytes) => Self::text(bytes.inner().len()),
            LiteralValue::Boolean(_)
            | LiteralValue::Double(_)
            | LiteralValue::Int(_)
            | LiteralValue::Null
            | LiteralValue::UInt(_) => Self::ONE,
        }
    }

    fn text(bytes: usize) -> Self {
        Self::any((bytes as u64).div_ceil(TEXT).max(1))
    }

    /// A list or map that is made of these.
    pub(super) fn made_of(parts: &[Self]) -> Self {
        let whole = parts.iter().fold(1_u64, |sum, part| sum.saturating_add(part.whole));
        let element = parts.iter().map(|part| part.whole).max().unwrap_or(0);
        Self { whole, length: parts.len() as u64, element }
    }

    /// The larger of two, in each respect.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            whole: self.whole.max(other.whole),
            length: self.length.max(other.length),
            element: self.element.max(other.element),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            whole: self.whole.saturating_add(other.whole),
            length: self.length.saturating_add(other.length),
            element: self.element.max(other.element),
        }
    }

    /// What comes of it when something is added to it so often. `once` is what comes of it after the first time.
    pub(super) fn grown(self, once: Self, times: u64) -> Self {
        let grow =
            |from: u64, to: u64| from.saturating_add(to.saturating_sub(from).saturating_mul(times));
        Self {
            whole: grow(self.whole, once.whole),
            length: grow(self.length, once.length),
            element: self.element.max(once.element),
        }
    }
}

/// What a call costs.
pub(super) struct Price {
    /// Each time.
    pub(super) steps: u64,
    /// Once for all times.
    pub(super) once: u64,
    /// What it makes.
    pub(super) makes: Size,
}

/// What it costs to make a list of the keys of what may be a map: it is copied into a value of another kind and back.
pub(super) fn of_elements(range: Size) -> u64 {
    CALL.saturating_add(range.whole.saturating_mul(SPLIT))
}

/// What a call costs of a function or operator whose target, where it has one, and arguments are of these sizes.
pub(super) fn of_call(function: &str, call: &CallExpr, sizes: &[Size]) -> Price {
    let all = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(size.whole));
    let at = |position: usize| sizes.get(position).copied().unwrap_or(Size::ONE);
    let (first, second) = (at(0), at(1));
    let price = |steps: u64, makes: Size| Price { steps, once: 0, makes };
    match function {
        operators::LOGICAL_AND
        | operators::LOGICAL_OR
        | operators::LOGICAL_NOT
        | operators::NOT_STRICTLY_FALSE => price(0, Size::ONE),
        operators::CONDITIONAL => price(0, second.or(at(2))),
        operators::INDEX => price(0, Size::any(first.element)),
        operators::EQUALS
        | operators::NOT_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS => price(first.whole.min(second.whole), Size::ONE),
        operators::IN => price(second.whole, Size::ONE),
        operators::ADD => price(all, first.and(second)),
        "matches" => {
            let (size, each, once) = match call.args.last().map(|pattern| &pattern.expr) {
                Some(Expr::Literal(LiteralValue::String(pattern))) => {
                    (pattern_size(pattern.inner()), 0, PATTERN)
                }
                // Of facts, so that each may be another one.
                _ => (MAX_PATTERN, PATTERN, 0),
            };
            let matching = first.whole.saturating_mul(size.saturating_mul(MATCH));
            let steps = matching.saturating_add(all).saturating_add(each);
            Price { steps, once, makes: Size::ONE }
        }
        "split" => {
            let parts = first.whole.saturating_mul(TEXT).saturating_add(2);
            let makes =
                Size { whole: parts.saturating_add(1), length: parts, element: first.whole };
            price(all.saturating_add(parts.saturating_mul(SPLIT)), makes)
        }
        "join" => {
            let joined = first.whole.saturating_add(first.length.saturating_mul(second.whole));
            price(all.saturating_add(joined), Size::any(joined))
        }
        "sets.contains" | "sets.equivalent" | "sets.intersects" => {
            let pairs = first.length.saturating_mul(second.whole);
            let back = second.length.saturating_mul(first.whole);
            price(all.saturating_add(pairs).saturating_add(back), Size::ONE)
        }
        "lowerAscii" | "upperAscii" | "trim" | "string" => {
            price(all.saturating_add(CALL), Size::any(all))
        }
        // Numbers, times, and whether something holds. What fails has copied its values for the message.
        _ => price(all.saturating_add(CALL), Size::ONE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expression, MAX_COST};

    fn cost(source: &str) -> u64 {
        Expression::compile(source).unwrap().cost()
    }

    #[test]
    fn a_step_counts_as_often_as_it_may_be_taken() {
        assert!(cost("request.name == 'x'") < 10);
        let once = cost("refs.exists(r, r.vault == 'x')");
        assert!((1_000..20_000).contains(&once), "{once}");
        let twice = cost("refs.exists(r, refs.exists(q, q.vault == r.vault))");
        assert!((100_000..MAX_COST).contains(&twice), "{twice}");
    }

    #[test]
    fn what_copies_lists_again_and_again_costs_too_much() {
        for source in [
            "refs.all(a, refs.all(b, refs.size() > 0))",
            "refs.all(a, refs.all(b, b in refs))",
            "refs.all(a, refs.filter(b, b.key != a.key).size() > 0)",
            "refs.all(a, sets.contains(refs, refs))",
            "refs.all(a, refs.all(b, namespace.labels['x'] == a.item))",
            "refs.all(a, a.item.split('').all(b, b != a.item.split('-')[0]))",
            "refs.map(r, r.item).join('').split('').all(c, c != '!')",
            "refs.all(sets, sets.contains(refs, refs))",
            "request.claims.purpose.split('').all(a, request.claims.purpose.split('').all(b, a != '!'))",
        ] {
            assert!(cost(source) > MAX_COST, "{source}: {}", cost(source));
        }
    }

    #[test]
    fn a_pattern_costs_what_it_may_take_to_follow_and_to_compile_it() {
        assert!(cost("refs.all(r, r.item.matches('^orders-[a-z]+$'))") < MAX_COST);
        for source in [
            "refs.all(a, refs.all(b, a.item.matches('[xz]*x[xz]{120}y')))",
            "refs.all(r, r.item.matches(r.key))",
        ] {
            assert!(cost(source) > MAX_COST, "{source}: {}", cost(source));
        }
    }

    #[test]
    fn what_makes_much_from_little_costs_as_much() {
        let twice = |times: usize, start: &str| {
            format!("[{start}]{}.size() > 0", ".map(a, a + a + a + a)".repeat(times))
        };
        for start in ["'x'", "[1]"] {
            assert!(cost(&twice(3, start)) < MAX_COST);
            let source = twice(16, start);
            assert!(cost(&source) > MAX_COST, "{source}: {}", cost(&source));
        }
    }

    #[test]
    fn what_people_write_is_cheap() {
        for source in [
            "refs.exists(r, r.vault.startsWith('team-') && !('example.com/team' in namespace.labels \
             && r.vault == 'team-' + namespace.labels['example.com/team']))",
            "refs.map(r, r.vault).exists(v, v.startsWith('x'))",
            "anomalies.filter(a, a.detector != 'FirstAppearance').size() > 1",
            "requester.name.split('@')[1] == 'example.com'",
            "sets.contains(['url', 'password'], refs.map(r, r.field))",
        ] {
            assert!(cost(source) < MAX_COST / 4, "{source}: {}", cost(source));
        }
        for source in [
            "refs.exists(a, refs.exists(b, a.environment != b.environment))",
            "refs.filter(r, r.environment == 'production').size() > 3",
            "request.claims.purpose.matches('(^|[^A-Z])[A-Z]{2,10}-[0-9]+($|[^0-9])')",
        ] {
            assert!(cost(source) < MAX_COST / 5 * 3, "{source}: {}", cost(source));
        }
        // Of 256 titles, each of which may have 1,024 bytes.
        let titles = "refs.exists(r, r.item.matches('(^|[-_ ])(root|admin|superuser)($|[-_ ])'))";
        assert!(cost(titles) < MAX_COST, "{}", cost(titles));
    }
}
