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

impl Staleness {
    /// What a server says, and a request if it says anything: it can only bear less.
    #[must_use]
    pub fn new(of_server: Duration, of_request: Option<Duration>) -> Self {
        let of_request = of_request.map_or(of_server, |own| own.min(of_server));
        Self { of_server, of_request }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    /// How long a value may serve whoever asks this, and whoever asks, by what server, class and request say.
    fn limits(server: u64, class: Option<u64>, request: Option<u64>) -> (Duration, Duration) {
        let mut own = json!({"name": "own", "ttl": "15m"});
        if let Some(hours) = class {
            own["maxStaleness"] = json!(format!("{hours}h"));
        }
        let spec: ConnectServerSpec = serde_json::from_value(json!({
            "hosts": [{"url": "https://connect.internal"}], "tokenSecretRef": {"name": "token"},
            "access": [], "classes": [own], "vaults": [{"name": "services", "class": "own"}],
        }))
        .unwrap();
        let class = class_of(&spec, "services", Staleness::new(hours(server), request.map(hours)));
        assert_eq!((&*class.name, class.ttl), ("own", Some(Duration::from_secs(900))));
        (class.max_staleness, class.keep)
    }

    #[test]
    fn the_least_of_what_server_class_and_request_say_counts() {
        for (server, class, request, least) in [
            (24, None, None, 24),
            (24, Some(4), None, 4),
            (24, None, Some(2), 2),
            (24, Some(4), Some(2), 2),
            (24, Some(2), Some(4), 2),
            (1, Some(4), Some(2), 1),
            (1, Some(2), Some(4), 1),
            (0, Some(4), Some(2), 0),
            (24, Some(0), Some(2), 0),
            (24, Some(4), Some(0), 0),
            (24, Some(100), Some(160), 24),
        ] {
            let limit = limits(server, class, request).0;
            assert_eq!(limit, hours(least), "{server}, {class:?}, {request:?}");
        }
    }

    #[test]
    fn what_one_request_bears_does_not_say_how_long_a_value_is_kept_for_the_others() {
        for request in [None, Some(0), Some(2), Some(100)] {
            assert_eq!(limits(24, Some(4), request).1, hours(4));
            assert_eq!(limits(3, Some(4), request).1, hours(3));
            assert_eq!(limits(24, None, request).1, hours(24));
        }
    }
}
