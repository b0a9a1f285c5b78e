//! Logs and metrics.

mod audit;
mod cache;
mod decisions;
mod leader;
mod logs;
mod metrics;

pub use audit::AuditMetrics;
pub use cache::CacheMetrics;
pub use decisions::DecisionMetrics;
pub use leader::LeaderMetrics;
pub use logs::{LogError, LogFormat, init_logs};
pub use metrics::Metrics;
