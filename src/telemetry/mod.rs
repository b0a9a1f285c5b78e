//! Logs and metrics.

mod cache;
mod logs;
mod metrics;

pub use cache::CacheMetrics;
pub use logs::{LogError, LogFormat, init_logs};
pub use metrics::Metrics;
