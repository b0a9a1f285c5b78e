use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;

use super::AuditCommandError;
use super::proof::Proof;
use super::times::time;
use crate::audit::report::{page, sum_up};

#[derive(Debug, Args)]
pub(super) struct Report {
    /// Files of records, in any order. Those from before --from tell who held what when it began.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The first moment: a time (2026-03-01T09:00:00Z), a day (2026-03-01) or an age (90m, 24h, 7d).
    #[arg(long, value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// The moment at which it ends.
    #[arg(long, value_parser = time)]
    to: Option<DateTime<Utc>>,
    /// The file that the page is written to.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Do not prove the records; the page says so.
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    proof: Proof,
}

impl Report {
    pub(super) fn run(self) -> Result<(), AuditCommandError> {
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            return Err(AuditCommandError::EmptyTime);
        }
        let findings = if self.no_verify { None } else { Some(self.proof.verify(&self.files)?) };
        let report = sum_up(&self.files, (self.from, self.to), findings)?;
        fs::write(&self.output, page(&report, Utc::now()))
            .map_err(|error| AuditCommandError::File(self.output.display().to_string(), error))
    }
}
