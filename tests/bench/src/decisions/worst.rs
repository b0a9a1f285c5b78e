//! The policies that take longest among those that are admitted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use portcullis_test_support::portcullis::api::Outcome;
use portcullis_test_support::portcullis::behavior::{Anomaly, Detector};
use portcullis_test_support::portcullis::policy::{CompileError, Facts, PolicySet, PolicyState};
use serde_json::json;

use super::{circumstances, compiled, decided, facts, reference};

/// As many references as a request may have.
const REFERENCES: usize = 256;
/// As many rules as a policy may have.
const RULES: usize = 64;
/// The length of names, as long as they may be spelt.
const LENGTH: usize = 256;
/// The bytes of titles and of the names of vaults.
const TITLE: usize = 1024;
/// The characters of a purpose.
const PURPOSE: usize = 1024;
/// What costs much, said of references `one` and `two`. None of them is decided by its first half.
const TERMS: &[&str] = &[
    "true",
    "one.item == two.field",
    "one.item + one.vault == two.field + two.section",
    "one.key.contains('y') || one.section.endsWith('y') || one.item.startsWith('y')",
    "!one.item.lowerAscii().upperAscii().trim().contains(two.key)",
    "one.item.split('').size() > 0",
    "one.item.split('').all(c, c != 'y')",
    "one.item.split('x').join('xxxx') != ''",
    // For each, the automaton that is made as it goes outgrows its bound.
    "!one.item.matches('[xz]*x[xz]{120}[a-w]')",
    "!one.item.matches('(x*z*){1000}[a-w]')",
    "!one.item.matches('(x*z*){25}[a-w]')",
    // Without an automaton.
    "!one.section.matches('(x*é*z*){100}\\\\b[a-w]')",
    "!one.section.matches('(x*é*z*){10}\\\\b[a-w]')",
    "!one.section.matches('(é?){8}\\\\b[a-w]')",
    // None, but only after a while.
    "(one.item.matches('(\\\\w*){10}y') || true)",
    // A pattern of its own for each reference.
    "!one.item.matches(two.key + 'y')",
    "(one.item.matches(two.key + '(\\\\w*){10}y') || true)",
    "!one.item.matches(two.key + '[a-z]{200}y')",
    "size(refs) > 0",
    "one in refs",
    "refs == refs",
    "refs[0] == one",
    "[one, two, one, two].size() > 0",
    "{'a': one, 'b': two}['a'] == one",
    "refs.all(r, r.item != two.key)",
    "refs.filter(r, r.item != two.key).size() > 0",
    "refs.map(r, r).map(r, r).size() > 0",
    "refs.map(r, r.item).join('').split('').size() > 0",
    "refs.map(r, r.item).join('').split('').all(c, c != 'y')",
    "sets.equivalent(refs, refs)",
    "sets.equivalent(refs.map(r, r.item), refs.map(r, r.key))",
    "namespace.labels['team-0'] != ''",
    "namespace.labels.all(l, l != 'y')",
    "request.claims.purpose != ''",
    "request.claims.purpose.split('').all(c, c != 'y')",
    "request.claims.purpose.split('').all(c, request.claims.purpose.split('').all(d, c != 'y'))",
    "string(string(string(one.key))) != ''",
    "now.getHours('America/New_York') >= 0 && now.getDayOfYear('Europe/Berlin') > 0",
    "now - timestamp('2026-01-01T00:00:00Z') > duration('1h30m')",
    "anomalies.all(a, a.message.size() > 0)",
    "['xxxxxxxx'].map(a, a + a + a + a).map(a, a + a + a + a).map(a, a.split('')).size() > 0",
    "['x'].map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).size() > 0",
    "[[1]].map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).size() > 0",
];
/// Where a term stands: alone, in a loop, and in a loop in a loop.
const AROUND: [&str; 3] = ["TERM", "refs.all(one, TERM)", "refs.all(one, refs.all(two, TERM))"];
/// How often a rule says it.
const TIMES: [usize; 3] = [1, 3, 9];

/// The longest time that one decision takes with one policy that is admitted: of many candidates, each as large as it
/// may be, on a request as large as it may be.
pub(super) fn run() -> anyhow::Result<Duration> {
    let facts = large()?;
    let mut worst = Duration::ZERO;
    for term in TERMS {
        for around in AROUND {
            for times in TIMES {
                let repeated = vec![*term; times].join(" && ");
                let rule = around.replace("TERM", &repeated);
                let rule = match around {
                    "TERM" => rule.replace("one", "refs[0]").replace("two", "refs[1]"),
                    _ if !around.contains("two") => rule.replace("two", "one"),
                    _ => rule,
                };
                if let Some(policy) = largest(&rule)? {
                    worst = worst.max(timed(&facts, policy)?);
                }
            }
        }
    }
    Ok(worst)
}

/// The policy that has a rule as often as is admitted; none when it is not even once, for what it costs.
fn largest(rule: &str) -> anyhow::Result<Option<PolicyState>> {
    let of = |count: usize| {
        let rules = (0..count).map(
            |number| json!({"name": number.to_string(), "when": rule, "score": 1, "message": "costly"}),
        );
        compiled("costly", &rules.collect::<Vec<_>>())
    };
    let all = of(RULES)?;
    let PolicyState::Invalid { rule: refused, error, .. } = &all else { return Ok(Some(all)) };
    match error {
        CompileError::TooCostly(_)
        | CompileError::TooLong(_)
        | CompileError::TooDeep
        | CompileError::TooManyComprehensions => {}
        _ => bail!("{rule}: {error}"),
    }
    match refused.parse()? {
        0 => Ok(None),
        count => of(count).map(Some),
    }
}

fn timed(facts: &Facts, policy: PolicyState) -> anyhow::Result<Duration> {
    let message = "m".repeat(512);
    let anomalies = Detector::ALL.map(|detector| Anomaly { detector, message: message.clone() });
    let circumstances = circumstances(anomalies.into())?;
    let policies = PolicySet::new(vec![Arc::new(policy)]);
    let (decision, took) = decided(facts, &circumstances, &policies);
    // A rule that fails may do so long before it is through.
    ensure!(decision.outcome != Outcome::Denied, "{}", decision.message);
    Ok(took)
}

/// The largest request, in a namespace of many labels.
fn large() -> anyhow::Result<Facts> {
    let (long, title) = ("x".repeat(LENGTH), "x".repeat(TITLE));
    let references = (0..REFERENCES).map(|number| {
        let mut reference = reference(&title, &title);
        reference.key = format!("{}{number:03}", "x".repeat(LENGTH - 6));
        reference.section = Some("é".repeat(LENGTH));
        reference.field.clone_from(&long);
        reference
    });
    let mut facts = facts(references.collect())?;
    facts.request.purpose = "é".repeat(PURPOSE);
    for number in 0..32 {
        facts.namespace.labels.insert(format!("team-{number}"), "x".repeat(63));
    }
    Ok(facts)
}
