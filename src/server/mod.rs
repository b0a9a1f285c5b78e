//! The HTTP endpoints for probes and metrics. Plain HTTP: there is nothing secret behind them.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controller::Readiness;
use crate::telemetry::Metrics;

/// How far a replica has come.
#[derive(Clone)]
pub enum Stage {
    /// It does not know yet whether it is to work.
    Starting,
    /// Another one works, and it is there to take over.
    StandingBy,
    /// It works.
    Working(Readiness),
}

#[derive(Clone)]
struct Shared {
    stage: watch::Receiver<Stage>,
    metrics: Arc<Metrics>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` until the task is aborted. One who stands by is ready, so that a rollout
/// ends the replica before it.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    stage: watch::Receiver<Stage>,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Shared { stage, metrics });
    axum::serve(listener, router).await
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    let unready = |why| (StatusCode::SERVICE_UNAVAILABLE, why);
    match &*shared.stage.borrow() {
        Stage::Starting => {
            unready("it is starting, and who holds the Lease may be still to be seen\n")
        }
        Stage::StandingBy => (StatusCode::OK, "standing by: another replica holds the Lease\n"),
        Stage::Working(readiness) if readiness.is_ready() => (StatusCode::OK, "ok\n"),
        Stage::Working(_) => unready("the first lists from the API server are still to come\n"),
    }
}

async fn scrape(State(shared): State<Shared>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shared.metrics.encode())
}
