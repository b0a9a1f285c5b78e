use proptest::prelude::*;

use super::bounds::MAX_DEPTH;
use super::variables::ALL;
use super::*;
use crate::behavior::{Anomaly, Detector};
use crate::policy::tests::{facts, transient};
use crate::policy::{Facts, Transient};

fn eval(source: &str) -> Result<bool, EvaluationError> {
    eval_at(source, &facts(), &transient())
}

fn eval_at(source: &str, facts: &Facts, transient: &Transient) -> Result<bool, EvaluationError> {
    let rule = Expression::compile(source).unwrap();
    let functions = Functions::default();
    rule.evaluate(&FactsContext::new(&functions, facts, Some(transient), rule.reads()))
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
fn an_answer_is_the_same_with_what_no_rule_reads_left_out() {
    let mut all = Reads::default();
    ALL.into_iter().for_each(|variable| all.add_whole(variable));
    let functions = Functions::default();
    let (facts, transient) = (facts(), transient());
    let everything = FactsContext::new(&functions, &facts, Some(&transient), &all);
    for source in [
        "refs.exists(r, r.vault == 'services') && refs.all(r, has(r.item))",
        "refs.filter(r, r.key == 'KEY')[0].itemId.startsWith('orders-api')",
        "refs[0].field == 'url' && refs[1].type == 'LOGIN'",
        "refs.map(r, r).all(x, x.class == 'services')",
        "refs.all(r, r == r && 'section' in r && r['environment'] == 'production')",
        "refs.all(a, refs.exists(b, a.vaultId == b.vaultId && b != a))",
        "size(refs) == 2 && size(refs[0]) == 10",
        "refs.size() == 2 && {'r': refs}.r[1].key == 'KEY'",
        "[request, 1].size() == 2 && request.claims == {'purpose': 'orders', 'environment': '', 'consumer': ''}",
        "request.all(m, m != '') && size(namespace) == 2 && namespace.labels.team == 'shop'",
        "history == history && size(history) == 13 && size(service) == 2",
        "refs.all(r, [requester].all(r, r.name == '' && !r.verified))",
        "refs.exists(r, r.vault + 1 == 2)",
        "refs[7].vault == ''",
        "[refs].exists(all, all.vault == '')",
        "refs[0].vault.name == ''",
    ] {
        let rule = Expression::compile(source).unwrap();
        let of_its_own = FactsContext::new(&functions, &facts, Some(&transient), rule.reads());
        assert_eq!(rule.evaluate(&of_its_own), rule.evaluate(&everything), "{source}");
    }
}

#[test]
fn rules_find_each_member_that_they_may_name() {
    let unusual = Anomaly { detector: Detector::NewVault, message: "first use".to_owned() };
    let transient = Transient { anomalies: vec![unusual], ..transient() };
    for variable in ALL {
        for member in variable.members().unwrap_or_default() {
            let name = variable.name();
            let source = match variable.element() {
                Some(_) => format!("{name}.all(x, has(x.{member}) && x.{member} == x['{member}'])"),
                None => format!("has({name}.{member}) && {name}.{member} == {name}['{member}']"),
            };
            assert_eq!(eval_at(&source, &facts(), &transient), Ok(true), "{source}");
        }
    }
}

#[test]
fn a_map_is_gone_through_in_the_order_of_its_keys() {
    let labels = ('a'..='z').map(|key| (key.to_string(), "x".to_owned())).collect();
    let mut facts = facts();
    facts.namespace.labels = labels;
    for (source, expected) in [
        ("namespace.labels.map(l, l)[0] == 'a'", true),
        ("namespace.labels.map(l, l).join('') == 'abcdefghijklmnopqrstuvwxyz'", true),
        ("namespace.labels.filter(l, l > 'w') == ['x', 'y', 'z']", true),
        ("[namespace.labels].all(refs, refs.map(l, l)[25] == 'z')", true),
        ("{'b': 1, 'c': 1, 'a': 1}.map(l, l) == ['a', 'b', 'c']", true),
        ("refs.all(r, r.map(member, member)[0] == 'class')", true),
        // What comes before decides whether a failure is come to.
        ("namespace.labels.all(l, l == 'b' ? 1 / 0 == 1 : false)", false),
        ("namespace.labels.exists(l, l == 'b' ? 1 / 0 == 1 : true)", true),
    ] {
        for _ in 0..8 {
            assert_eq!(eval_at(source, &facts, &transient()), Ok(expected), "{source}");
        }
    }
}

#[test]
fn what_rules_do_not_have_is_refused_by_name() {
    for (source, told) in [
        ("requests.name == ''", "unknown variable 'requests'"),
        ("refs.exists(r, q.vault == '')", "unknown variable 'q'"),
        ("lists.range(1000000000).size() > 0", "unknown function 'range'"),
        ("'a'.replace('a', 'b') == ''", "unknown function 'replace'"),
        ("range(1000000000).size() > 0", "unknown function 'range'"),
        ("refs == [a.B{c: 1}]", "unknown type 'a.B'"),
        ("_nope(refs)", "unknown function '_nope'"),
        (".size(refs) > 3", "unknown function '.size'"),
        // In another way than they are paid for.
        ("request.name.matches('a', 'b')", "'matches' is called so: text.matches(pattern)"),
        ("matches(request.name, 'a')", "'matches' is called so"),
        ("split(request.name, 'a')[0] == ''", "'split' is called so"),
        ("size() > 0", "'size' is called so"),
        (
            "refs.all(sets, sets.contains('a'))",
            "'contains' is called so: sets.contains(list, list)",
        ),
    ] {
        let error = Expression::compile(source).unwrap_err().to_string();
        assert!(error.starts_with(told), "{source}: {error}");
    }
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
        ("refs.vault == 'x'", "refs"),
        ("has(refs.vault)", "refs"),
        ("!anomalies.empty", "anomalies"),
        ("refs.exists(r, r.vault.name == 'x')", "vault"),
        ("now.hour == 2", "now"),
        ("request.claims.purpose.text == 'x'", "a claim"),
        ("namespace.labels.team.name == 'x'", "a label"),
    ] {
        let error = Expression::compile(source).unwrap_err();
        assert!(matches!(&error, CompileError::UnknownMember { of: o, .. } if *o == of), "{error}");
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
        assert_eq!(error.column(), Some(column), "{error}");
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
    assert_eq!(eval_at("now.getHours('Europe/Berlin') == 4", &facts(), &summer), Ok(true));
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
        Expression::compile("refs.all(a, refs.all(b, refs.all(c, c.key == a.key)))").unwrap_err(),
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
    for source in [
        "namespace.labels['none'] == ''",
        // What has no members says so, where nobody knew before what it would be.
        "refs.map(r, r.vault).exists(v, v.name == 'x')",
        "!refs.map(r, r.vault)[0].empty",
        "[now].exists(t, t.hour == 2)",
        "[refs].exists(all, all.vault == 'x')",
    ] {
        assert!(matches!(eval(source), Err(EvaluationError::Failed(_))), "{source}");
    }
}

#[test]
fn a_rule_that_comes_to_a_time_that_there_is_not_is_an_error() {
    for start in ["now", "timestamp('2026-01-01T00:00:00Z')"] {
        for operator in ["+", "-"] {
            let eight = "a + a + a + a + a + a + a + a";
            let source = format!(
                "{start} {operator} [duration('99999999h')].map(a, {eight}).map(a, {eight})[0] > now",
            );
            let answer = eval(&source);
            assert!(matches!(answer, Err(EvaluationError::Failed(_))), "{source}: {answer:?}");
        }
    }
    for source in [
        "now - duration('8h') < now && now + duration('8h') > now",
        "(now - timestamp('2026-11-25T00:07:00Z')) + duration('1h') == duration('3h')",
        "[now].map(t, t - duration('2h'))[0].getHours() == 0 && 'a' + 'b' == 'ab' && 3 - 1 == 2",
        "([1] + [2] == [1, 2]) && now.getHours() + 1 == 3",
    ] {
        assert_eq!(eval(source), Ok(true), "{source}");
    }
}

proptest! {
    #[test]
    fn compiling_never_panics(source in "[a-z0-9.'\"()\\[\\]{}!?:&|<>=+, -]{0,120}") {
        let _ = Expression::compile(&source);
    }
}
