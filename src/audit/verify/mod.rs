//! Holds files of records against the keys, against each other and against the checkpoint. Memory does not grow
//! with the files: what is kept is where unbroken runs of records begin and end.

mod join;
mod scan;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::chain::Head;
use super::read::{Place, ReadError};
use crate::secret::Signer;

/// The most problems that are named.
const NAMED: usize = 100;

/// What files are held against.
pub struct Against<'a> {
    /// The keys.
    pub signer: &'a Signer,
    /// The heads that the checkpoint has; `None` where there is no checkpoint at hand.
    pub heads: Option<&'a [Head]>,
    /// Whether records that a stream begins with, and streams of before, must be there as well.
    pub complete: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many records there are.
    pub records: u64,
    /// The streams, each with the last record that is there.
    pub streams: BTreeMap<String, u64>,
    /// The times of the first and the last record.
    pub times: Option<(String, String)>,
    /// What is wrong, edits first; the first ones, if there are many.
    pub problems: Vec<Problem>,
    /// Whether there are more.
    pub more: bool,
    /// What is not known to be wrong.
    pub notes: Vec<String>,
}

impl Findings {
    /// Whether every record is proven and none is missing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        } else {
            self.more = true;
        }
    }
}

/// Something that is wrong with records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A line is no record.
    NotARecord {
        /// Where.
        place: Place,
    },
    /// A record is not as it was written.
    Edited {
        /// Where.
        place: Place,
        /// What it says that it is.
        record: String,
    },
    /// A record is sealed with a key that is not at hand.
    UnknownKey {
        /// Where.
        place: Place,
        /// What it says that it is.
        record: String,
        /// The key's id.
        key: String,
    },
    /// Records are missing between others.
    Gap {
        /// The stream.
        stream: String,
        /// The first one that is missing.
        from: u64,
        /// The last one.
        to: u64,
        /// Where the one after them is.
        place: Place,
    },
    /// Two records have one number, or a record follows another one than the one before it.
    Fork {
        /// The stream.
        stream: String,
        /// The first number that is in question.
        from: u64,
        /// The last one.
        to: u64,
        /// Where.
        place: Place,
    },
    /// Records are missing at the end of a stream.
    MissingTail {
        /// The stream.
        stream: String,
        /// The first one that is missing.
        from: u64,
        /// The last one that is known of.
        to: u64,
        /// Who knows of it.
        witness: String,
    },
    /// A record is another one than was known.
    Replaced {
        /// The stream.
        stream: String,
        /// The number.
        sequence: u64,
        /// Who knows better.
        witness: String,
    },
    /// A stream is missing as a whole.
    MissingStream {
        /// The stream.
        stream: String,
        /// How many records it is known to have.
        records: u64,
        /// Who knows of it.
        witness: String,
    },
    /// A stream does not begin with its first record.
    MissingStart {
        /// The stream.
        stream: String,
        /// The first record that is there.
        first: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord { place } => write!(f, "not a record: {place}"),
            Self::Edited { place, record } => {
                write!(f, "edited: {place}: record {record} is not as it was written")
            }
            Self::UnknownKey { place, record, key } => write!(
                f,
                "unknown key: {place}: record {record} is sealed with key {key}, which is not at hand"
            ),
            Self::Gap { stream, from, to, place } => {
                write!(
                    f,
                    "gap: records {from} to {to} of stream {stream} are missing before {place}"
                )
            }
            Self::Fork { stream, from, to, place } => write!(
                f,
                "fork: {place}: stream {stream} has different records in its numbers {from} to {to}"
            ),
            Self::MissingTail { stream, from, to, witness } => write!(
                f,
                "missing tail: records {from} to {to} of stream {stream} are missing at its end: {witness} has record {to}"
            ),
            Self::Replaced { stream, sequence, witness } => write!(
                f,
                "replaced: record {sequence} of stream {stream} is another one than {witness} has"
            ),
            Self::MissingStream { stream, records, witness } => write!(
                f,
                "missing stream: {witness} has record {records} of stream {stream}, and no record of it is here"
            ),
            Self::MissingStart { stream, first } => {
                write!(f, "missing start: stream {stream} begins with record {first} here")
            }
        }
    }
}

/// Holds files against what they are to be held against.
///
/// # Errors
/// When a file cannot be read.
pub fn verify(files: &[PathBuf], against: &Against<'_>) -> Result<Findings, ReadError> {
    let scanned = scan::scan(files, against.signer)?;
    join::join(files, scanned, against)
}
