//! `connect-dev`: the development server from a shell.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use connect_dev::{ConnectDev, StateSpec};
use tokio::signal::unix::{SignalKind, signal};

/// Speaks 1Password Connect's REST API, for development and tests.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The YAML file with tokens, vaults and items.
    #[arg(long)]
    state: PathBuf,
    /// Where Connect's API listens; port 0 is any free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the admin API listens. It asks for no token: keep it on the loopback.
    #[arg(long, default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
    /// Serve https with a certificate made now, and write that of its authority here, in PEM.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Serve https with this certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls_ca")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// End when standard input closes, so that no server outlives who started it.
    #[arg(long)]
    exit_with_stdin: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let spec = StateSpec::from_file(&args.state)?;
    let server = match (args.tls_ca, args.tls_cert.zip(args.tls_key)) {
        (None, None) => ConnectDev::start_on(args.listen, Some(args.admin), spec)?,
        (Some(file), _) => {
            let server = ConnectDev::start_tls_on(args.listen, Some(args.admin), spec)?;
            let ca = server.ca_pem().unwrap_or_default();
            std::fs::write(&file, ca).with_context(|| file.display().to_string())?;
            server
        }
        (None, Some((cert, key))) => {
            let (cert, key) = (read(&cert)?, read(&key)?);
            ConnectDev::start_tls_with(args.listen, Some(args.admin), spec, (&cert, &key))?
        }
    };
    server.set_state_file(&args.state);
    let line = serde_json::json!({"url": server.url(), "admin": server.admin_url()});
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;

    // A thread, for a read of standard input cannot be called off.
    let (open, mut closed) = tokio::sync::mpsc::channel::<()>(1);
    if args.exit_with_stdin {
        let open = open.clone();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = open.blocking_send(());
        });
    }
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = closed.recv() => {}
    }
    server.stop();
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}
