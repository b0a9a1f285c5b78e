//! What the server was asked.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How many requests the log keeps; the counts go on.
pub const LOG_LIMIT: usize = 10_000;

/// What the server was asked since its start or [`crate::ConnectDev::reset_requests`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct RequestCounts {
    /// All requests, also refused and faulted ones.
    pub total: u64,
    /// By route: the method and the path with `{v}`, `{i}` and `{f}` for the ids of vault, item and file, as in
    /// `GET /v1/vaults/{v}/items` and `GET /v1/vaults/{v}/items/{i}/files/{f}/content`; `other` for the rest.
    pub by_route: BTreeMap<String, u64>,
    /// The most requests that were unanswered at one time.
    pub max_in_flight: u64,
    /// The last requests, at most [`LOG_LIMIT`], oldest first.
    pub log: VecDeque<RequestRecord>,
}

impl RequestCounts {
    /// The requests of a route, such as `GET /v1/vaults/{v}/items`.
    #[must_use]
    pub fn route(&self, template: &str) -> u64 {
        self.by_route.get(template).copied().unwrap_or(0)
    }

    /// All requests under `/v1`, which leaves out `/heartbeat`, `/health` and `/metrics`.
    #[must_use]
    pub fn api(&self) -> u64 {
        self.by_route.iter().filter(|(route, _)| route.contains(" /v1/")).map(|(_, n)| n).sum()
    }
}

/// One request. It holds no header but the user agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// The method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The `User-Agent` header, or an empty text.
    pub user_agent: String,
    /// When, since the server was made.
    #[serde(rename = "at_ms", serialize_with = "millis")]
    pub at: Duration,
}

fn millis<S: serde::Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(at.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) struct Requests {
    began: Instant,
    in_flight: u64,
    counts: RequestCounts,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), in_flight: 0, counts: RequestCounts::default() }
    }

    pub(crate) fn begin(&mut self, route: &str, method: &str, target: &str, user_agent: &str) {
        let counts = &mut self.counts;
        counts.total += 1;
        *counts.by_route.entry(route.to_owned()).or_default() += 1;
        self.in_flight += 1;
        counts.max_in_flight = counts.max_in_flight.max(self.in_flight);
        if counts.log.len() == LOG_LIMIT {
            counts.log.pop_front();
        }
        counts.log.push_back(RequestRecord {
            method: method.to_owned(),
            target: target.to_owned(),
            user_agent: user_agent.to_owned(),
            at: self.began.elapsed(),
        });
    }

    pub(crate) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        self.counts.clone()
    }

    pub(crate) fn reset(&mut self) {
        self.counts = RequestCounts::default();
    }
}
