//! `portcullis policy`: policies tried without a cluster.

mod replay;
mod table;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Work on policies without a cluster.
#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decide on requests of a table, and compare with what is expected. Exits with 0 when all are as expected, with 1
    /// when some are not, with 3 when the table or a policy cannot be read.
    Test(table::Test),
    /// Take decisions of the audit stream again by other policies, and list those that would come out otherwise. Exits
    /// with 0 when none would, with 1 when some would, with 3 when there is none to take again or a file cannot be
    /// read.
    Replay(replay::Replay),
}

impl Policy {
    pub(super) fn run(self) -> ExitCode {
        match self.command {
            Command::Test(command) => command.run(),
            Command::Replay(command) => command.run(),
        }
    }
}
