use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of what is fetched and kept, and of what stands in for it.
#[derive(Debug)]
pub struct CacheMetrics {
    lookups: Family<LookupLabels, Counter>,
    coalesced: Family<ServerLabel, Counter>,
    confirmed: Family<ServerLabel, Counter>,
    fallbacks: Family<FallbackLabels, Counter>,
    fetch_seconds: Histogram,
    evicted: Gauge,
    bytes: Family<ClassLabel, Gauge>,
    entries: Family<ClassLabel, Gauge>,
    warming: Gauge,
    warmed: Family<LookupLabels, Counter>,
    persisted: Family<LookupLabels, Counter>,
    token_expiry: Family<ServerLabel, Gauge<f64, AtomicU64>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LookupLabels {
    server: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FallbackLabels {
    server: String,
    source: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabel {
    class: String,
}

impl CacheMetrics {
    pub(super) fn new() -> Self {
        Self {
            lookups: Family::default(),
            coalesced: Family::default(),
            confirmed: Family::default(),
            fallbacks: Family::default(),
            fetch_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            evicted: Gauge::default(),
            bytes: Family::default(),
            entries: Family::default(),
            warming: Gauge::default(),
            warmed: Family::default(),
            persisted: Family::default(),
            token_expiry: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cache_lookups",
            "Values that were looked for in the cache",
            self.lookups.clone(),
        );
        registry.register(
            "fetches_coalesced",
            "Values that somebody else's fetch brought",
            self.coalesced.clone(),
        );
        registry.register(
            "cache_confirmed",
            "Cached values that a poll confirmed",
            self.confirmed.clone(),
        );
        registry.register(
            "fallbacks",
            "Deliveries made of something else than what Connect confirms",
            self.fallbacks.clone(),
        );
        registry.register_with_unit(
            "fetch_duration",
            "How long it takes to have all values of a request",
            Unit::Seconds,
            self.fetch_seconds.clone(),
        );
        registry.register(
            "cache_evicted_values",
            "Values that had to go for others since the start",
            self.evicted.clone(),
        );
        registry.register("cache_bytes", "Sealed bytes in the cache", self.bytes.clone());
        registry.register("cache_entries", "Values in the cache", self.entries.clone());
        registry.register(
            "cache_warming",
            "Requests whose items are to be fetched ahead",
            self.warming.clone(),
        );
        registry.register("cache_warmed", "Items that were fetched ahead", self.warmed.clone());
        registry.register(
            "cache_persisted",
            "Cache records written and read",
            self.persisted.clone(),
        );
        registry.register_with_unit(
            "token_expiry_timestamp",
            "When the Connect token of a server ends, as a Unix time",
            Unit::Seconds,
            self.token_expiry.clone(),
        );
    }

    /// When the token of a server ends, as a Unix time; nothing for one that does not end.
    pub fn token_ends(&self, server: &str, unix_seconds: Option<f64>) {
        let label = ServerLabel { server: server.to_owned() };
        match unix_seconds {
            Some(at) => {
                self.token_expiry.get_or_create(&label).set(at);
            }
            None => {
                self.token_expiry.remove(&label);
            }
        }
    }

    /// A value was looked for: `fresh`, `stale` or `missing`.
    pub fn looked_up(&self, server: &str, result: &'static str) {
        self.lookups.get_or_create(&LookupLabels { server: server.to_owned(), result }).inc();
    }

    /// A fetch that was under way served one more.
    pub fn coalesced(&self, server: &str) {
        self.coalesced.get_or_create(&ServerLabel { server: server.to_owned() }).inc();
    }

    /// A poll confirmed so many cached values.
    pub fn confirmed(&self, server: &str, values: usize) {
        self.confirmed
            .get_or_create(&ServerLabel { server: server.to_owned() })
            .inc_by(values as u64);
    }

    /// A request was served by a fallback.
    pub fn fell_back(&self, server: &str, source: &'static str) {
        self.fallbacks.get_or_create(&FallbackLabels { server: server.to_owned(), source }).inc();
    }

    /// All values of a request were had after a time.
    pub fn fetch_took(&self, took: Duration) {
        self.fetch_seconds.observe(took.as_secs_f64());
    }

    /// How much is kept, in classes of a name, bytes and entries; others are empty.
    pub fn kept<'c>(&self, classes: impl Iterator<Item = (&'c str, usize, usize)>, evicted: u64) {
        self.bytes.clear();
        self.entries.clear();
        for (class, bytes, entries) in classes {
            let label = ClassLabel { class: class.to_owned() };
            self.bytes.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.entries.get_or_create(&label).set(i64::try_from(entries).unwrap_or(i64::MAX));
        }
        self.evicted.set(i64::try_from(evicted).unwrap_or(i64::MAX));
    }

    /// How many requests wait to have their items fetched ahead.
    pub fn warming(&self, requests: usize) {
        self.warming.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// An item was fetched ahead, `ok` or with a reason; or one that had been was `used` for the first time.
    pub fn warmed(&self, server: &str, result: &'static str) {
        self.warmed.get_or_create(&LookupLabels { server: server.to_owned(), result }).inc();
    }

    /// A record of the cache was `written`, `read`, or why not.
    pub fn persisted(&self, server: &str, result: &'static str) {
        self.persisted.get_or_create(&LookupLabels { server: server.to_owned(), result }).inc();
    }
}
