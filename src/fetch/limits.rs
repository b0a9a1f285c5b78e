use std::time::Duration;

use crate::api::ConnectServerSpec;
use crate::cache::Class;

/// How values of a vault of a name are kept, with the least of the times that they may serve in an outage:
/// that of server and request, and that of the class.
#[must_use]
pub fn class_of(spec: &ConnectServerSpec, vault_name: &str, max_staleness: Duration) -> Class {
    let name = spec.vault_class(vault_name);
    let own = spec.class_max_staleness(name);
    Class {
        name: name.into(),
        ttl: spec.class_ttl(name),
        max_staleness: own.map_or(max_staleness, |own| own.min(max_staleness)),
    }
}
