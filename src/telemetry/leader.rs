use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of the Lease that one of several replicas holds.
#[derive(Debug)]
pub struct LeaderMetrics {
    leader: Gauge,
    term: Gauge,
    failures: Counter,
}

impl LeaderMetrics {
    pub(super) fn new() -> Self {
        Self { leader: Gauge::default(), term: Gauge::default(), failures: Counter::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "leader",
            "Whether this replica holds the Lease and works; 0 as well where nothing is elected",
            self.leader.clone(),
        );
        registry.register(
            "leader_term",
            "The number of the term of this replica, also after its end; 0 when it had none",
            self.term.clone(),
        );
        registry.register(
            "lease_renewal_failures",
            "Renewals of the Lease that did not come about",
            self.failures.clone(),
        );
    }

    /// A term begins.
    pub fn elected(&self, term: u32) {
        self.leader.set(1);
        self.term.set(i64::from(term));
    }

    /// The term is over.
    pub fn ended(&self) {
        self.leader.set(0);
    }

    /// The Lease was not renewed.
    pub fn failed(&self) {
        self.failures.inc();
    }
}
