//! The first pass: each record by itself, and the unbroken runs that they make.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Findings, Problem};
use crate::audit::chain::{Head, Link, Unproven, prove};
use crate::audit::read::{Lines, Place, ReadError};
use crate::audit::text::terminal;
use crate::secret::Signer;

/// Records of a stream that follow each other in one file.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) first: u64,
    /// The hash that the first record names as the one before.
    pub(super) previous: Option<String>,
    pub(super) last: u64,
    /// The hash of the last record; none of one that was edited.
    pub(super) mac: Option<String>,
    /// Where the first record is.
    pub(super) place: Place,
}

/// A head of another stream that the first record of a stream names.
pub(super) struct Named {
    pub(super) by: String,
    pub(super) head: Head,
}

#[derive(Default)]
pub(super) struct Scanned {
    pub(super) runs: BTreeMap<String, Vec<Run>>,
    pub(super) named: Vec<Named>,
    pub(super) findings: Findings,
}

pub(super) fn scan(files: &[PathBuf], signer: &Signer) -> Result<Scanned, ReadError> {
    let mut scanned = Scanned::default();
    for path in files {
        let fail = |error| ReadError { path: path.clone(), error };
        let mut lines = Lines::open(path).map_err(fail)?;
        // The run that is going on, of each stream.
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        while let Some((place, text)) = lines.next_line().map_err(fail)? {
            let (link, is_proven) =
                match text.map_or(Err(Unproven::NotARecord), |t| prove(t, signer)) {
                    Ok(link) => (link, true),
                    Err(Unproven::NotARecord) => {
                        scanned.findings.problem(Problem::NotARecord { place: place.clone() });
                        continue;
                    }
                    Err(Unproven::Edited(link)) => {
                        let (place, record) = (place.clone(), name(&link));
                        scanned.findings.problem(Problem::Edited { place, record });
                        (*link, false)
                    }
                    Err(Unproven::UnknownKey(link)) => {
                        let key = link.mac.split('.').nth(1).unwrap_or_default();
                        let (place, record, key) = (place.clone(), name(&link), terminal(key));
                        scanned.findings.problem(Problem::UnknownKey { place, record, key });
                        (*link, false)
                    }
                };
            scanned.take(link, is_proven, place, &mut open);
        }
    }
    Ok(scanned)
}

fn name(link: &Link) -> String {
    format!("{}-{}", terminal(&link.stream), link.sequence)
}

impl Scanned {
    fn take(
        &mut self,
        link: Link,
        is_proven: bool,
        place: &Place,
        open: &mut BTreeMap<String, usize>,
    ) {
        let runs = self.runs.entry(link.stream.clone()).or_default();
        let current = open.get(&link.stream).and_then(|at| runs.get_mut(*at));
        let follows =
            current.as_ref().is_some_and(|run| run.last.checked_add(1) == Some(link.sequence));
        if !is_proven && !follows {
            // Nothing that it says of itself is to be believed.
            if runs.is_empty() {
                self.runs.remove(&link.stream);
            }
            return;
        }
        self.findings.records += 1;
        self.findings.times = Some(match self.findings.times.take() {
            None => (link.time.clone(), link.time.clone()),
            Some((first, last)) => (first.min(link.time.clone()), last.max(link.time.clone())),
        });
        if is_proven && let Some(head) = link.after {
            self.named.push(Named { by: link.stream.clone(), head });
        }
        let mac = is_proven.then_some(link.mac);
        match current {
            Some(run) if follows => {
                if is_proven && run.mac.is_some() && run.mac != link.previous {
                    let (stream, place) = (link.stream, place.clone());
                    self.findings.problem(Problem::Fork {
                        stream,
                        from: run.last,
                        to: link.sequence,
                        place,
                    });
                }
                run.last = link.sequence;
                run.mac = mac;
            }
            Some(_) | None => {
                open.insert(link.stream, runs.len());
                runs.push(Run {
                    first: link.sequence,
                    previous: link.previous,
                    last: link.sequence,
                    mac,
                    place: place.clone(),
                });
            }
        }
    }
}
