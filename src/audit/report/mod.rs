//! Records of a time summed up for an auditor, as one page of HTML that needs nothing else.

mod charts;
mod page;
mod summary;
mod time;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::read::{ReadError, each_record, in_order};
use super::verify::Findings;
pub use page::page;
pub use summary::{Denied, Holder, Outcomes, Served, Summary};

/// The outcomes that have a place of their own, from the best to the worst; the last takes all others.
pub const OUTCOMES: [&str; 6] =
    ["Allowed", "Alerted", "Deferred", "PendingApproval", "Denied", "Other"];

/// What a report is about.
pub struct Report {
    /// The first moment, if one was named.
    pub from: Option<DateTime<Utc>>,
    /// The moment at which it ends, if one was named.
    pub to: Option<DateTime<Utc>>,
    /// What the records say.
    pub summary: Summary,
    /// Whether the records are proven; `None` where nobody asked.
    pub findings: Option<Findings>,
    /// Lines that were no records.
    pub skipped: u64,
}

/// Sums up the records of files.
///
/// # Errors
/// When a file cannot be read.
pub fn sum_up(
    files: &[PathBuf],
    (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    findings: Option<Findings>,
) -> Result<Report, ReadError> {
    let mut summary = Summary::default();
    let skipped = each_record(&in_order(files)?, |record, _| {
        if to.is_none_or(|to| record.time < to) {
            let within = from.is_none_or(|from| record.time >= from);
            summary.take(&record, within);
        }
        ControlFlow::Continue(())
    })?;
    Ok(Report { from, to, summary, findings, skipped })
}

/// The entries with the highest figures, highest first.
fn top<K: Ord + Clone>(map: &BTreeMap<K, u64>, count: usize) -> Vec<(K, u64)> {
    let mut all: Vec<(K, u64)> = map.iter().map(|(key, n)| (key.clone(), *n)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(count);
    all
}
