use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};

use super::AuditCommandError;
use super::times::time;
use crate::audit::text::{self, terminal};
use crate::audit::{Filter, Item, Record, each_record};

#[derive(Debug, Args)]
pub(super) struct List {
    /// Files of records.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Of requests in this namespace.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Of requests of this name.
    #[arg(long)]
    request: Option<String>,
    /// With this outcome, such as Denied.
    #[arg(long)]
    outcome: Option<String>,
    /// Of this kind: decision, intent, write, failed, held, merged, lost.
    #[arg(long)]
    kind: Option<String>,
    /// About this item: its id or title, alone or as vault/item.
    #[arg(long)]
    item: Option<String>,
    /// Not before this time (2026-03-01T09:00:00Z), day (2026-03-01) or age (90m, 24h, 7d).
    #[arg(long, value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Before this time, day or age.
    #[arg(long, value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// A table, or the records as they stand in the files.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

impl List {
    pub(super) fn run(self) -> Result<(), AuditCommandError> {
        let Self { files, output, .. } = self;
        let filter = Filter {
            namespace: self.namespace,
            request: self.request,
            outcome: self.outcome,
            kind: self.kind,
            item: self.item,
            since: self.since,
            until: self.until,
        };
        let mut out = io::BufWriter::new(io::stdout().lock());
        if let Output::Table = output {
            row(
                &mut out,
                ["TIME", "KIND", "OUTCOME", "RISK", "REQUEST", "CHANGE", "SOURCE", "ITEMS"],
            )?;
        }
        let mut failed = None;
        let skipped = each_record(&files, |record, line| {
            if !filter.takes(&record) {
                return ControlFlow::Continue(());
            }
            let written = match output {
                Output::Json => writeln!(out, "{}", text::json(line)),
                Output::Table => table(&mut out, &record),
            };
            failed = written.err();
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        out.flush()?;
        if skipped > 0 {
            eprintln!("{skipped} lines are no records; portcullis audit verify says which");
        }
        Ok(())
    }
}

fn table(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let dash = || "-".to_owned();
    let decision = record.decision.as_ref();
    let times = record.repeated.map(|n| format!(" x{n}")).unwrap_or_default();
    let request = match (&record.request, &record.merged, &record.lost) {
        (Some(request), ..) => format!("{}/{}", request.namespace, request.name),
        (None, Some(merged), _) => format!("{}/ ({} denials)", merged.namespace, merged.count),
        (None, None, Some(lost)) => format!("({} records given up)", lost.count),
        (None, None, None) => dash(),
    };
    let secret = record.secret.as_ref();
    let items: Vec<String> = record.items.iter().map(Item::label).collect();
    row(
        out,
        [
            &record.time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            &record.kind,
            &decision.map_or_else(dash, |d| format!("{}{times}", d.outcome)),
            &decision.map_or_else(dash, |d| d.risk_score.to_string()),
            &request,
            &secret.map_or_else(dash, |s| s.change.clone()),
            &secret.and_then(|s| s.source.clone()).unwrap_or_else(dash),
            &if items.is_empty() { dash() } else { items.join(", ") },
        ]
        .map(String::as_str),
    )
}

/// Wide enough for most; nothing is held back to measure it.
const WIDTHS: [usize; 8] = [24, 8, 8, 4, 32, 10, 8, 0];

fn row(out: &mut impl Write, columns: [&str; 8]) -> io::Result<()> {
    let cells =
        columns.iter().zip(WIDTHS).map(|(text, width)| format!("{:width$}", terminal(text)));
    writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())
}
