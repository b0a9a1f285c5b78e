//! The command line.

mod audit;
mod crd;
mod explain;
mod files;
mod plan;
mod policy;
mod print;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// Decides on credentials, fetches them from 1Password Connect, and records why.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what completes the commands in a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Prove, list and sum up audit records.
    Audit(audit::Audit),
    /// Print the CustomResourceDefinitions as YAML.
    Crd(crd::Crd),
    /// Say in words what was decided on a request, why, and what came of it.
    Explain(explain::Explain),
    /// Say what would be decided on a request, and what it would get.
    Plan(Box<plan::Plan>),
    /// Work on policies without a cluster.
    Policy(policy::Policy),
    /// Have 1Password asked anew for what a request needs.
    Refresh(explain::Refresh),
    /// Serve requests for credentials until stopped.
    Run(Box<run::Run>),
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Completion { shell } => {
                clap_complete::generate(
                    shell,
                    &mut Self::command(),
                    "portcullis",
                    &mut std::io::stdout(),
                );
                ExitCode::SUCCESS
            }
            Command::Audit(command) => command.run(),
            Command::Crd(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Plan(command) => command.run(),
            Command::Policy(command) => command.run(),
            Command::Refresh(command) => command.run(),
            Command::Run(command) => command.run(),
        }
    }
}
