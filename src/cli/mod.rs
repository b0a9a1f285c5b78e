//! The command line.

mod audit;
mod crd;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Decides on credentials, fetches them from 1Password Connect, and records why.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prove, list and sum up audit records.
    Audit(audit::Audit),
    /// Print the CustomResourceDefinitions as YAML.
    Crd(crd::Crd),
    /// Serve requests for credentials until stopped.
    Run(run::Run),
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Audit(command) => command.run(),
            Command::Crd(command) => command.run(),
            Command::Run(command) => command.run(),
        }
    }
}
