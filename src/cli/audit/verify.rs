use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::proof::Proof;
use super::{AuditCommandError, BROKEN};
use crate::audit::text::terminal;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Files of records, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    proof: Proof,
}

impl Verify {
    pub(super) fn run(self) -> Result<ExitCode, AuditCommandError> {
        let findings = self.proof.verify(&self.files)?;
        let mut out = io::stdout().lock();
        let (records, streams) = (findings.records, findings.streams.len());
        match &findings.times {
            Some((first, last)) => writeln!(
                out,
                "{records} records of {streams} streams, {} to {}",
                terminal(first),
                terminal(last)
            )?,
            None => writeln!(out, "no records")?,
        }
        for note in &findings.notes {
            writeln!(out, "note: {}", terminal(note))?;
        }
        for problem in &findings.problems {
            writeln!(out, "{}", terminal(&problem.to_string()))?;
        }
        if findings.is_clean() {
            let but = if findings.notes.is_empty() { "" } else { " but for what the notes say" };
            writeln!(out, "clean: every record is as it was written, and none is missing{but}")?;
            return Ok(ExitCode::SUCCESS);
        }
        let more = if findings.more { "more than " } else { "" };
        writeln!(out, "broken: {more}{} problems", findings.problems.len())?;
        Ok(ExitCode::from(BROKEN))
    }
}
