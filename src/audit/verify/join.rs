//! The second step: runs joined to streams, and streams held against what knows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::scan::{Named, Run, Scanned};
use super::{Against, Findings, Problem};
use crate::audit::chain::{Head, Link};
use crate::audit::read::{Lines, Place, ReadError};

/// The hashes of records that were asked for, each as often as it is a different one.
type Hashes = BTreeMap<(String, u64), BTreeSet<String>>;

/// A question that only another look at the files answers.
enum Question {
    /// Two runs have these numbers in common.
    Overlap { stream: String, from: u64, to: u64, place: Place },
    /// Somebody knows a record.
    Known { head: Head, witness: String },
}

pub(super) fn join(
    files: &[PathBuf],
    scanned: Scanned,
    against: &Against<'_>,
) -> Result<Findings, ReadError> {
    let Scanned { runs, named, mut findings } = scanned;
    let mut questions = Vec::new();
    for (stream, mut runs) in runs {
        runs.sort_by_key(|run| (run.first, run.last));
        let (first, last) = join_stream(&stream, runs, &mut findings, &mut questions);
        if first > 1 {
            // What was put elsewhere is the oldest: before what is here of an earlier stream nothing is missing for that.
            if against.complete || !findings.streams.is_empty() {
                findings.problem(Problem::MissingStart { stream: stream.clone(), first });
            } else {
                let before = first - 1;
                findings
                    .notes
                    .push(format!("records 1 to {before} of stream {stream} are not among these"));
            }
        }
        findings.streams.insert(stream, last);
    }
    let known = named
        .into_iter()
        .map(|Named { by, head }| (head, format!("the first record of stream {by}")))
        .chain(
            against.heads.into_iter().flatten().map(|h| (h.clone(), "the checkpoint".to_owned())),
        );
    for (head, witness) in known {
        hold(head, witness, against.complete, &mut findings, &mut questions);
    }
    let last = findings.streams.keys().next_back();
    match (against.heads, last) {
        (None, _) => {
            let note = "there is no checkpoint to hold the end of the records against";
            findings.notes.push(note.to_owned());
        }
        (Some(heads), Some(last)) if !heads.iter().any(|head| head.stream == *last) => {
            let note = format!("the checkpoint has nothing of stream {last}, the last of these");
            findings.notes.push(note);
        }
        (Some(_), _) => {}
    }
    answer(files, questions, &mut findings)?;
    Ok(findings)
}

/// Joins the runs of a stream; returns its first and last number.
fn join_stream(
    stream: &str,
    runs: Vec<Run>,
    findings: &mut Findings,
    questions: &mut Vec<Question>,
) -> (u64, u64) {
    let mut runs = runs.into_iter();
    let Some(mut joined) = runs.next() else { return (1, 0) };
    for run in runs {
        let (stream, place) = (stream.to_owned(), run.place.clone());
        if run.first > joined.last.saturating_add(1) {
            let (from, to) = (joined.last + 1, run.first - 1);
            findings.problem(Problem::Gap { stream, from, to, place });
        } else if run.first > joined.last {
            if joined.mac.is_some() && run.previous != joined.mac {
                findings.problem(Problem::Fork { stream, from: joined.last, to: run.first, place });
            }
        } else {
            let (from, to) = (run.first, run.last.min(joined.last));
            questions.push(Question::Overlap { stream, from, to, place });
        }
        if run.last > joined.last {
            joined = Run { first: joined.first, previous: joined.previous, ..run };
        }
    }
    (joined.first, joined.last)
}

/// Holds what there is against a record that somebody knows.
fn hold(
    head: Head,
    witness: String,
    complete: bool,
    findings: &mut Findings,
    questions: &mut Vec<Question>,
) {
    let (stream, sequence) = (head.stream.clone(), head.sequence);
    match findings.streams.get(&stream).copied() {
        Some(last) if last < sequence => {
            findings.problem(Problem::MissingTail {
                stream,
                from: last + 1,
                to: sequence,
                witness,
            });
        }
        Some(_) => questions.push(Question::Known { head, witness }),
        None => {
            // What ended before these records begin was put elsewhere.
            let earlier = findings.times.as_ref().is_some_and(|(first, _)| head.time < *first);
            if earlier && !complete {
                let note = format!("stream {stream}, which {witness} names, is not among these");
                findings.notes.push(note);
            } else {
                findings.problem(Problem::MissingStream { stream, records: sequence, witness });
            }
        }
    }
}

fn answer(
    files: &[PathBuf],
    questions: Vec<Question>,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    if questions.is_empty() {
        return Ok(());
    }
    let keys = questions.iter().map(|question| match question {
        Question::Overlap { stream, to, .. } => (stream.clone(), *to),
        Question::Known { head, .. } => (head.stream.clone(), head.sequence),
    });
    let hashes = look(files, keys.map(|key| (key, BTreeSet::new())).collect())?;
    let found = |stream: &str, at: u64| hashes.get(&(stream.to_owned(), at));
    for question in questions {
        match question {
            Question::Overlap { stream, from, to, place } => {
                // Hashes cover all that is before them: one is enough.
                if found(&stream, to).is_some_and(|hashes| hashes.len() > 1) {
                    findings.problem(Problem::Fork { stream, from, to, place });
                }
            }
            Question::Known { head: Head { stream, sequence, mac, .. }, witness } => {
                // One that is before the first record here is a matter of where these begin.
                if found(&stream, sequence).is_some_and(|h| !h.is_empty() && !h.contains(&mac)) {
                    findings.problem(Problem::Replaced { stream, sequence, witness });
                }
            }
        }
    }
    Ok(())
}

fn look(files: &[PathBuf], mut hashes: Hashes) -> Result<Hashes, ReadError> {
    for path in files {
        let fail = |error| ReadError { path: path.clone(), error };
        let mut lines = Lines::open(path).map_err(fail)?;
        while let Some((_, text)) = lines.next_line().map_err(fail)? {
            let Some(link) = text.and_then(|t| serde_json::from_str::<Link>(t).ok()) else {
                continue;
            };
            if let Some(found) = hashes.get_mut(&(link.stream, link.sequence)) {
                found.insert(link.mac);
            }
        }
    }
    Ok(hashes)
}
