//! `portcullis policy replay`: what other policies would have decided on what was decided.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;

use crate::audit::text::terminal;
use crate::audit::{Filter, ReadError, Record, each_record};
use crate::cli::audit::time;
use crate::cli::files::{self, Class, FileError};
use crate::cli::print::{Output, failed, print};
use crate::plan::again;
use crate::policy::PolicySet;

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Files of audit records.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Files with all CredentialPolicies that would be in force; kubectl get credentialpolicies -o yaml prints those
    /// that are.
    #[arg(long = "policies", required = true)]
    policies: Vec<PathBuf>,
    /// The controller class of the operator that took the decisions; policies of others are passed over.
    #[arg(long, env = "PORTCULLIS_CONTROLLER_CLASS", default_value = "")]
    controller_class: String,
    /// Of requests in this namespace.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Of requests of this name.
    #[arg(long)]
    request: Option<String>,
    /// Not before this time (2026-03-01T09:00:00Z), day (2026-03-01) or age (90m, 24h, 7d).
    #[arg(long, value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Before this time, day or age.
    #[arg(long, value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Policies(#[from] FileError),
    #[error(transparent)]
    Records(#[from] ReadError),
    #[error("{0}")]
    Output(#[from] std::io::Error),
    #[error("none of the records has a decision that can be taken again{0}")]
    Nothing(String),
}

/// What the policies would have decided.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    /// The decisions that were taken again.
    decisions: u64,
    /// How many would come to another outcome, by what it was and what it would be.
    changes: BTreeMap<String, u64>,
    changed: Vec<Changed>,
    /// Decisions whose records do not say what they were taken on.
    left_out: u64,
    /// Denials that were counted together.
    merged: u64,
    /// Lines that are no records.
    unreadable: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    record: String,
    time: DateTime<Utc>,
    request: String,
    was: Outcome,
    would_be: Outcome,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    outcome: String,
    reason: String,
    risk_score: i64,
}

impl Replay {
    pub(super) fn run(self) -> ExitCode {
        match self.replay() {
            Ok(replayed) if replayed.changed.is_empty() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => failed(&error),
        }
    }

    fn replay(self) -> Result<Replayed, ReplayError> {
        let policies = files::policies(
            self.policies.iter().map(PathBuf::as_path),
            Class::Of(&self.controller_class),
        )?;
        let filter = Filter {
            namespace: self.namespace,
            request: self.request,
            since: self.since,
            until: self.until,
            ..Filter::default()
        };
        let mut replayed = Replayed::default();
        replayed.unreadable = each_record(&self.files, |record, _| {
            if filter.takes(&record) {
                replayed.take(&record, &policies);
            }
            ControlFlow::Continue(())
        })?;
        if replayed.decisions == 0 {
            return Err(ReplayError::Nothing(replayed.without()));
        }
        print(self.output, &replayed, text)?;
        Ok(replayed)
    }
}

impl Replayed {
    fn take(&mut self, record: &Record, policies: &PolicySet) {
        if let Some(merged) = &record.merged {
            self.merged += merged.count;
        }
        let (Some(was), Some(request)) = (&record.decision, &record.request) else { return };
        if record.kind != "decision" {
            return;
        }
        let Some((facts, circumstances)) = record.grounds() else {
            self.left_out += 1;
            return;
        };
        self.decisions += 1;
        let verdict = again(facts, &circumstances, policies);
        let decision = verdict.decision();
        let would_be = decision.outcome.as_str();
        if was.outcome == would_be {
            return;
        }
        *self.changes.entry(format!("{} to {would_be}", was.outcome)).or_default() += 1;
        self.changed.push(Changed {
            record: format!("{}-{}", record.stream, record.sequence),
            time: record.time,
            request: format!("{}/{}", request.namespace, request.name),
            was: Outcome {
                outcome: was.outcome.clone(),
                reason: was.reason.clone(),
                risk_score: was.risk_score,
            },
            would_be: Outcome {
                outcome: would_be.to_owned(),
                reason: decision.reason.as_str().to_owned(),
                risk_score: decision.risk_score.into(),
            },
            message: decision.message.clone(),
        });
    }

    /// What was not taken again, in words.
    fn without(&self) -> String {
        let parts = [
            (self.left_out, "that do not say what they were taken on"),
            (self.merged, "denials that were counted together"),
            (self.unreadable, "lines that are no records"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        if parts.is_empty() { String::new() } else { format!("; without {}", parts.join(", ")) }
    }
}

fn text(replayed: &Replayed) -> String {
    let mut text = String::new();
    for changed in &replayed.changed {
        let _ = writeln!(
            text,
            "{}  {}  {} {} -> {} {}  {}",
            changed.time.to_rfc3339_opts(SecondsFormat::Secs, true),
            terminal(&changed.request),
            terminal(&changed.was.outcome),
            changed.was.risk_score,
            changed.would_be.outcome,
            changed.would_be.risk_score,
            terminal(&changed.message),
        );
    }
    let same = replayed.decisions - replayed.changed.len() as u64;
    let _ = write!(text, "{} decisions: {same} as before", replayed.decisions);
    for (change, count) in &replayed.changes {
        let _ = write!(text, ", {count} from {}", terminal(change));
    }
    let _ = writeln!(text, "{}", replayed.without());
    text
}
