use std::time::Duration;

use crate::api::ConnectServerSpec;
use crate::cache::Class;

/// How long a value may serve in an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// As far as the server says.
    pub of_server: Duration,
    /// As far as server and request say: the least of both.
    pub of_request: Duration,
}

/// How values of a vault of a name are kept, with the least of the times that they may serve in an outage:
/// that of server and request, and that of the class. What one request says does not bind the others.
#[must_use]
pub fn class_of(spec: &ConnectServerSpec, vault_name: &str, staleness: Staleness) -> Class {
    let name = spec.vault_class(vault_name);
    let least =
        |limit: Duration| spec.class_max_staleness(name).map_or(limit, |own| own.min(limit));
    Class {
        name: name.into(),
        ttl: spec.class_ttl(name),
        max_staleness: least(staleness.of_request),
        keep: least(staleness.of_server),
    }
}
