//! Where `portcullis run` writes the audit stream.

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::audit::{AuditConfig, FileOptions, FileSink, OnFailure, Sink, StreamSink};

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditFlags {
    /// What happens when the audit stream cannot be written: nothing is granted, or it is, and a metric counts it.
    #[arg(long, env = "PORTCULLIS_AUDIT_ON_FAILURE", value_enum, default_value_t)]
    audit_on_failure: OnFailure,
    /// The file that the audit stream goes to; stdout when absent.
    #[arg(long, env = "PORTCULLIS_AUDIT_FILE")]
    audit_file: Option<PathBuf>,
    /// The size at which that file is put aside, such as 100Mi.
    #[arg(long, env = "PORTCULLIS_AUDIT_FILE_MAX_SIZE", default_value = "100Mi", value_parser = size)]
    audit_file_max_size: u64,
    /// How many files are kept, the present one among them.
    #[arg(
        long,
        env = "PORTCULLIS_AUDIT_FILE_MAX_FILES",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    audit_file_max_files: u32,
    /// Go on only once the disk has a record (fdatasync), so that none is lost when the machine fails.
    #[arg(long, env = "PORTCULLIS_AUDIT_FILE_SYNC")]
    audit_file_sync: bool,
    /// The OpenTelemetry collector that the audit stream goes to in place of stdout, such as
    /// http://collector:4318/v1/logs: protobuf over HTTP.
    #[cfg(feature = "otlp")]
    #[arg(long, env = "PORTCULLIS_AUDIT_OTLP", conflicts_with = "audit_file")]
    audit_otlp: Option<String>,
}

impl AuditFlags {
    /// The sink that was chosen. On a runtime.
    pub(in crate::cli) fn config(self) -> io::Result<AuditConfig> {
        let on_failure = self.audit_on_failure;
        #[cfg(feature = "otlp")]
        if let Some(url) = &self.audit_otlp {
            let sink = crate::audit::OtlpSink::new(url, tokio::runtime::Handle::current());
            return Ok(AuditConfig { sink: Box::new(sink.map_err(io::Error::other)?), on_failure });
        }
        let sink: Box<dyn Sink> = match self.audit_file {
            Some(path) => Box::new(FileSink::new(FileOptions {
                path,
                max_size: self.audit_file_max_size,
                max_files: self.audit_file_max_files,
                sync: self.audit_file_sync,
            })),
            None => Box::new(StreamSink::new(Box::new(io::stdout()))),
        };
        Ok(AuditConfig { sink, on_failure })
    }
}

/// Reads a number of bytes, with Ki, Mi or Gi.
fn size(text: &str) -> Result<u64, &'static str> {
    const HELP: &str =
        "it must be a number of bytes, such as 500000, 100Mi or 1Gi, of 64Ki or more";
    let (number, shift) = match text.get(text.len().saturating_sub(2)..) {
        Some("Ki") => (text.strip_suffix("Ki"), 10),
        Some("Mi") => (text.strip_suffix("Mi"), 20),
        Some("Gi") => (text.strip_suffix("Gi"), 30),
        Some(_) | None => (Some(text), 0),
    };
    let number: u64 = number.and_then(|n| n.parse().ok()).ok_or(HELP)?;
    let bytes = number.checked_mul(1 << shift).ok_or(HELP)?;
    if bytes >= 64 << 10 { Ok(bytes) } else { Err(HELP) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("100Mi"), Ok(100 << 20));
        assert_eq!(size("1Gi"), Ok(1 << 30));
        assert_eq!(size("500000"), Ok(500_000));
        for wrong in ["", "Mi", "10", "10M", "-1Mi", "99999999999Gi", "ßMi"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
