//! What the client of a server does, counted.

use std::sync::Arc;

use crate::connect::{BreakerState, Call, Observer};
use crate::telemetry::Metrics;

/// Counts what the client of a server does.
pub(super) struct Observed {
    pub(super) server: String,
    pub(super) metrics: Arc<Metrics>,
}

impl Observer for Observed {
    fn called(&self, call: &Call<'_>) {
        self.metrics.connect_called(&self.server, call.operation.as_str(), call.code, call.took);
    }

    fn breaker_moved(&self, host: &str, state: BreakerState) {
        match state {
            BreakerState::Closed => self.metrics.breaker_closed(&self.server, host),
            BreakerState::Open | BreakerState::HalfOpen => {
                self.metrics.breaker_opened(&self.server, host);
            }
        }
    }
}
