//! What is done with the audit stream: `portcullis audit`.

mod flags;
mod list;
mod proof;
mod report;
mod times;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::audit::ReadError;
use crate::kube_io::ApiError;
use crate::secret::KeyError;

pub(super) use flags::AuditFlags;
pub(super) use times::time;

/// What is broken.
const BROKEN: u8 = 2;
/// The exit code of what could not be done.
const ERROR: u8 = 3;

/// Prove, list and sum up audit records.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prove that no record was changed and that none is missing. Exits with 0 where that is so, 2 where it is not,
    /// 3 where it cannot be told.
    Verify(verify::Verify),
    /// List records.
    List(list::List),
    /// Sum up a time for an auditor, as one page of HTML.
    Report(report::Report),
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
enum AuditCommandError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Output(#[from] io::Error),
    #[error("{0}: {1}")]
    File(String, io::Error),
    #[error("{0} is no key: a key file has 32 bytes")]
    NoKey(String),
    #[error("{0} is no ConfigMap, as kubectl get configmap -o yaml or -o json prints one")]
    NoCheckpoint(String),
    #[error(
        "namespace {0} has no Secret portcullis-keys; --operator-namespace names another one, --key-file the key"
    )]
    NoKeys(String),
    #[error("the cluster cannot be reached: {0}; --key-file needs none")]
    Cluster(String),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("the ConfigMap portcullis-audit cannot be read: {0}")]
    Checkpoint(#[from] ApiError),
    #[error("--from is not before --to")]
    EmptyTime,
}

impl Audit {
    pub(super) fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Verify(command) => command.run(),
            Command::List(command) => command.run().map(|()| ExitCode::SUCCESS),
            Command::Report(command) => command.run().map(|()| ExitCode::SUCCESS),
        };
        match result {
            Ok(code) => code,
            // Whoever reads has read enough.
            Err(AuditCommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(ERROR)
            }
        }
    }
}
