//! How the commands print.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::policy::Verdict;

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The code of a command that decided against something.
pub(super) const DENIED: u8 = 2;
/// The code of a command that could not do its work.
pub(super) const FAILED: u8 = 3;

/// What a verdict came to: an outcome, or that a grant which stands is held.
pub(super) fn came_to(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Held(_) => "Held",
        Verdict::Granted(_) | Verdict::Refused(_) => verdict.decision().outcome.as_str(),
    }
}

/// Prints a value, as text by `text`.
pub(super) fn print<T: Serialize>(
    output: Output,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    let printed = match output {
        Output::Text => text(value),
        Output::Json => serde_json::to_string_pretty(value).map_err(io::Error::other)? + "\n",
        Output::Yaml => serde_saphyr::to_string(value).map_err(io::Error::other)?,
    };
    io::stdout().lock().write_all(printed.as_bytes())
}

/// Says why a command failed.
pub(super) fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(FAILED)
}
