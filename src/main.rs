//! The `portcullis` binary.

use std::process::ExitCode;

use clap::Parser as _;
use portcullis::cli::Cli;

fn main() -> ExitCode {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: a TLS provider was installed before main");
        return ExitCode::FAILURE;
    }
    Cli::parse().run()
}
