//! The `portcullis` binary.

use std::process::ExitCode;

use clap::Parser as _;
use portcullis::cli::Cli;

/// The exit code of a command line that is none: 2 is an answer that some commands give.
const USAGE: u8 = 3;

fn main() -> ExitCode {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: a TLS provider was installed before main");
        return ExitCode::FAILURE;
    }
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) => {
            // Help goes to stdout and is no error. Where even that cannot be written there is nothing to be done.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
