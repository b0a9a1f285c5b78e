//! The functions that rules call in a form of our own: times in a zone, joined texts, and regular expressions,
//! which are compiled once for many decisions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDateTime, Timelike as _};
use chrono_tz::Tz;
use kube_cel::cel::extractors::{Arguments, This};
use kube_cel::cel::{Context, ExecutionError, Value};
use regex::{Regex, RegexBuilder};

/// The most KiB that a compiled regular expression may take.
pub(super) const MAX_PATTERN: u64 = 256;
/// The most bytes that its automaton may take, which is made as it matches.
const AUTOMATON_SIZE: usize = 128 << 10;
/// The most regular expressions that are kept at a time: rules may make them of facts. No rule is long enough to spell
/// as many.
const REGEXES: usize = 128;

type Result = std::result::Result<Value, ExecutionError>;

/// Adds what rules call in a form of our own.
pub(super) fn add(context: &mut Context<'_>) {
    context.add_function("getFullYear", |t: This<Value>, a: Arguments| {
        part("getFullYear", t, a, |at| i64::from(at.year()))
    });
    context.add_function("getMonth", |t: This<Value>, a: Arguments| {
        part("getMonth", t, a, |at| i64::from(at.month0()))
    });
    context.add_function("getDate", |t: This<Value>, a: Arguments| {
        part("getDate", t, a, |at| i64::from(at.day()))
    });
    context.add_function("getDayOfMonth", |t: This<Value>, a: Arguments| {
        part("getDayOfMonth", t, a, |at| i64::from(at.day0()))
    });
    context.add_function("getDayOfYear", |t: This<Value>, a: Arguments| {
        part("getDayOfYear", t, a, |at| i64::from(at.ordinal0()))
    });
    context.add_function("getDayOfWeek", |t: This<Value>, a: Arguments| {
        part("getDayOfWeek", t, a, |at| i64::from(at.weekday().num_days_from_sunday()))
    });
    context.add_function("getHours", |t: This<Value>, a: Arguments| {
        part("getHours", t, a, |at| i64::from(at.hour()))
    });
    context.add_function("getMinutes", |t: This<Value>, a: Arguments| {
        part("getMinutes", t, a, |at| i64::from(at.minute()))
    });
    // The interpreter's own joins whatever there is, a map in another order each time.
    context.add_function("join", |this: This<Arc<Vec<Value>>>, Arguments(between): Arguments| {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.to_string()),
            _ => Err(ExecutionError::function_error("join", "it joins texts")),
        };
        let between = between.first().map_or_else(|| Ok(String::new()), text)?;
        let texts = this.0.iter().map(text).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(Value::from(texts.join(&between)))
    });
    let known = Mutex::new(HashMap::<Arc<String>, Option<Arc<Regex>>>::new());
    context.add_function("matches", move |this: This<Arc<String>>, pattern: Arc<String>| {
        let regex = {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            // All of them at once, so that those which the rule at hand spells are compiled once more at most.
            if known.len() >= REGEXES && !known.contains_key(&pattern) {
                known.clear();
            }
            let compile = |pattern: &Arc<String>| compile(pattern, MAX_PATTERN).map(Arc::new);
            known.entry(pattern).or_insert_with_key(compile).clone()
        };
        let regex = regex.ok_or_else(|| {
            ExecutionError::function_error("matches", "no regular expression, or too large a one")
        })?;
        Ok(Value::Bool(regex.is_match(&this.0)))
    });
}

/// A regular expression, unless it is none or takes more KiB than that.
fn compile(pattern: &str, most: u64) -> Option<Regex> {
    let bytes = usize::try_from(most).ok()? << 10;
    RegexBuilder::new(pattern).size_limit(bytes).dfa_size_limit(AUTOMATON_SIZE).build().ok()
}

/// How many KiB a regular expression takes, up to the next power of two. One that does not compile takes none: it is
/// never matched.
pub(super) fn pattern_size(pattern: &str) -> u64 {
    if compile(pattern, MAX_PATTERN).is_none() {
        return 0;
    }
    let sizes = std::iter::successors(Some(1), |size| Some(size * 2));
    sizes
        .take_while(|size| *size < MAX_PATTERN)
        .find(|size| compile(pattern, *size).is_some())
        .unwrap_or(MAX_PATTERN)
}

/// A part of a timestamp, in UTC or in the zone that the one argument names
/// (<https://github.com/google/cel-spec/blob/master/doc/langdef.md#abstract-types>).
fn part(
    function: &str,
    This(this): This<Value>,
    Arguments(arguments): Arguments,
    part: impl FnOnce(NaiveDateTime) -> i64,
) -> Result {
    let Value::Timestamp(at) = this else {
        return Err(ExecutionError::function_error(function, "it is for timestamps"));
    };
    let local = match arguments.as_slice() {
        [] => at.naive_utc(),
        [Value::String(zone)] => in_zone(at, zone).ok_or_else(|| {
            ExecutionError::function_error(function, format!("there is no time zone '{zone}'"))
        })?,
        _ => return Err(ExecutionError::function_error(function, "its argument is a time zone")),
    };
    Ok(Value::Int(part(local)))
}

/// The time on the clocks of a zone: a name of the IANA database, or an offset such as `+02:00`.
fn in_zone(at: DateTime<FixedOffset>, zone: &str) -> Option<NaiveDateTime> {
    if let Ok(zone) = zone.parse::<Tz>() {
        return Some(at.with_timezone(&zone).naive_local());
    }
    let offset: FixedOffset = zone.parse().ok()?;
    Some(at.with_timezone(&offset).naive_local())
}
