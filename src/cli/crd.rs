use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use crate::api;

/// Print the CustomResourceDefinitions as YAML.
#[derive(Debug, Args)]
pub(super) struct Crd {
    /// Only the one of this kind.
    #[arg(long)]
    kind: Option<String>,
}

impl Crd {
    pub(super) fn run(self) -> ExitCode {
        let crds: Vec<_> = api::crds()
            .into_iter()
            .filter(|crd| self.kind.as_ref().is_none_or(|kind| *kind == crd.spec.names.kind))
            .collect();
        if crds.is_empty() {
            eprintln!("error: no such kind; leave --kind out to print them all");
            return ExitCode::FAILURE;
        }
        let mut out = io::stdout().lock();
        for crd in crds {
            let printed = serde_saphyr::to_string(&crd)
                .map_err(io::Error::other)
                .and_then(|yaml| write!(out, "---\n{yaml}"));
            if let Err(error) = printed {
                eprintln!("error: cannot print the CustomResourceDefinition: {error}");
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }
}
