//! Measures Portcullis end to end: a real API server, the development Connect server, and the released
//! binary's code in a process of its own. Prints `name value unit` lines, with the aim where there is one,
//! and writes them as JSON.

mod behavior;
mod day;
mod decisions;
mod figures;
mod load;
mod operator;
mod scenario;
mod secrets;

use anyhow::ensure;
use clap::Parser;

use figures::Figures;
use load::Load;

/// Measure Portcullis end to end.
#[derive(Debug, Parser)]
struct Args {
    /// How many requests.
    #[arg(long, default_value_t = 2000)]
    requests: usize,
    /// Over how many vaults their items are spread; each request has an item of its own.
    #[arg(long, default_value_t = 20)]
    vaults: usize,
    /// How many keys each request has.
    #[arg(long, default_value_t = 2)]
    keys: usize,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench.json")]
    out: std::path::PathBuf,
    /// Only simulate what behaviour sees, and time decisions; nothing is started for it.
    #[arg(long)]
    simulation: bool,
    /// Be the operator that is measured: how the program starts its second process.
    #[arg(long, hide = true)]
    operator: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    portcullis_test_support::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if args.operator {
        return runtime.block_on(operator::run());
    }
    let mut figures = Figures::default();
    behavior::run(&mut figures);
    decisions::run(&mut figures)?;
    if !args.simulation {
        runtime.block_on(async {
            scenario::run(Load::new(args.requests, args.vaults, args.keys), &mut figures).await?;
            day::run(&mut figures).await
        })?;
    }
    figures.write(&args.out)?;
    let missed = figures.missed();
    ensure!(missed.is_empty(), "more than the aim: {}", missed.join(", "));
    Ok(())
}
