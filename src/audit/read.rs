//! Records read back, one at a time: a file may be of any size.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::grounds::Grounds;

/// The longest line that can be a record, in bytes: the request that it tells of has 1.5 MiB at most, and 256 items have
/// a title and the name of a vault of 1,024 bytes each, each byte of which may be written as six.
pub(super) const LONGEST: u64 = 16 << 20;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", super::text::terminal(&self.file.display().to_string()), self.line)
    }
}

/// The lines of a file, of which one is held at a time.
pub struct Lines {
    reader: BufReader<File>,
    place: Place,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let place = Place { file: path.into(), line: 0 };
        Ok(Self { reader: BufReader::with_capacity(1 << 16, file), place, buffer: Vec::new() })
    }

    /// The next line that is not empty; no text when it is too long or no UTF-8.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<(&Place, Option<&str>)>> {
        loop {
            self.buffer.clear();
            let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.place.line += 1;
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
            } else if read as u64 == LONGEST {
                self.reader.skip_until(b'\n')?;
                return Ok(Some((&self.place, None)));
            }
            if !self.buffer.is_empty() {
                break;
            }
        }
        Ok(Some((&self.place, std::str::from_utf8(&self.buffer).ok())))
    }
}

/// Hands each record of files to `take`, with its line, until it breaks off; what is no record is skipped and
/// counted.
///
/// # Errors
/// When a file cannot be read, with its name.
pub fn each_record(
    files: &[PathBuf],
    mut take: impl FnMut(Record, &str) -> ControlFlow<()>,
) -> Result<u64, ReadError> {
    let mut skipped = 0;
    for path in files {
        let fail = |error| ReadError { path: path.clone(), error };
        let mut lines = Lines::open(path).map_err(fail)?;
        while let Some((_, text)) = lines.next_line().map_err(fail)? {
            match text.and_then(|text| Some((serde_json::from_str(text).ok()?, text))) {
                Some((record, text)) => {
                    if take(record, text).is_break() {
                        return Ok(skipped);
                    }
                }
                None => skipped += 1,
            }
        }
    }
    Ok(skipped)
}

/// The files by the time of their first record.
///
/// # Errors
/// When a file cannot be read, with its name.
pub fn in_order(files: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut timed = Vec::new();
    for path in files {
        let mut first = None;
        each_record(std::slice::from_ref(path), |record, _| {
            first = Some(record.time);
            ControlFlow::Break(())
        })?;
        timed.push((first, path.clone()));
    }
    timed.sort();
    Ok(timed.into_iter().map(|(_, path)| path).collect())
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// A record, as far as people look at it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The stream.
    pub stream: String,
    /// The number of the record in it.
    pub sequence: u64,
    /// When it was written.
    pub time: DateTime<Utc>,
    /// What it is about.
    pub kind: String,
    /// The request.
    pub request: Option<Request>,
    /// The decision.
    pub decision: Option<Decision>,
    /// Who changed the request's spec last, where that was known.
    pub requester: Option<Requester>,
    /// What the decision was taken on; [`Record::grounds`] puts it together.
    pub(super) grounds: Option<Grounds<'static>>,
    /// What was out of the ordinary.
    #[serde(default)]
    pub anomalies: Vec<Anomaly>,
    /// The items.
    #[serde(default)]
    pub items: Vec<Item>,
    /// The Secret.
    pub secret: Option<Secret>,
    /// The intent that it closes.
    pub closes: Option<String>,
    /// Why nothing was written.
    pub failure: Option<String>,
    /// How often an equal denial was met.
    pub repeated: Option<u64>,
    /// Denials that were counted together.
    pub merged: Option<Merged>,
    /// Records that were given up.
    pub lost: Option<Lost>,
}

/// A request in a record.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The generation of the spec that was decided on.
    #[serde(default)]
    pub generation: i64,
    /// The ConnectServer.
    #[serde(default)]
    pub server: String,
    /// What it says that it is for.
    #[serde(default)]
    pub purpose: String,
    /// The environment that it says it is of.
    pub claimed_environment: Option<String>,
    /// The ServiceAccount that it says uses the Secret.
    pub claimed_consumer: Option<String>,
}

/// Who asked, in a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Requester {
    /// The user.
    pub name: String,
    /// Whether the API server vouched for it.
    pub verified: bool,
}

/// Something out of the ordinary, in a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Anomaly {
    /// What noticed it.
    pub detector: String,
    /// In words.
    pub message: String,
}

/// A decision in a record.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What it came to.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// The score.
    pub risk_score: i64,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// The rules that matched.
    #[serde(default)]
    pub factors: Vec<Factor>,
}

/// A rule in a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Factor {
    /// The policy.
    pub policy: String,
    /// The rule in it.
    pub rule: String,
}

/// An item in a record.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The vault's id.
    pub vault: String,
    /// The vault's name, where it was known.
    pub vault_name: Option<String>,
    /// The item's id.
    pub item: String,
    /// The item's title, where it was known.
    pub title: Option<String>,
    /// Its version.
    #[serde(default)]
    pub version: i64,
}

/// A Secret in a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// What changed.
    pub change: String,
    /// Where the values came from.
    pub source: Option<String>,
}

/// Denials that were counted together.
#[derive(Clone, Debug, Deserialize)]
pub struct Merged {
    /// Their namespace; empty where they are of several.
    pub namespace: String,
    /// How many.
    pub count: u64,
}

/// Records that were given up, where the operator was told to go on without.
#[derive(Clone, Debug, Deserialize)]
pub struct Lost {
    /// How many.
    pub count: u64,
}

impl Item {
    /// Vault and item, by name where it is known.
    #[must_use]
    pub fn label(&self) -> String {
        let vault = self.vault_name.as_deref().unwrap_or(&self.vault);
        format!("{vault}/{}", self.title.as_deref().unwrap_or(&self.item))
    }
}

/// Which records are meant; what is absent excludes nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The request's namespace.
    pub namespace: Option<String>,
    /// The request's name.
    pub request: Option<String>,
    /// The decision's outcome.
    pub outcome: Option<String>,
    /// The kind of the record.
    pub kind: Option<String>,
    /// The id or title of an item, alone or after its vault and a slash.
    pub item: Option<String>,
    /// The first moment.
    pub since: Option<DateTime<Utc>>,
    /// The first moment that is not meant any more.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// Whether a record is meant.
    #[must_use]
    pub fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|w| found.is_some_and(|f| f.eq_ignore_ascii_case(w)))
        };
        let request = record.request.as_ref();
        let namespace = request.map(|r| r.namespace.as_str());
        let namespace = namespace.or(record.merged.as_ref().map(|m| m.namespace.as_str()));
        let names = |item: &Item, wanted: &str| {
            item.item == wanted
                || item.title.as_deref() == Some(wanted)
                || item.label() == wanted
                || format!("{}/{}", item.vault, item.item) == wanted
        };
        is(&self.namespace, namespace)
            && is(&self.request, request.map(|r| r.name.as_str()))
            && is(&self.outcome, record.decision.as_ref().map(|d| d.outcome.as_str()))
            && is(&self.kind, Some(&record.kind))
            && self.item.as_ref().is_none_or(|w| record.items.iter().any(|item| names(item, w)))
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
    }
}
