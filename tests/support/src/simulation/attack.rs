use chrono::{DateTime, TimeDelta, Utc};
use portcullis::api::Outcome;

use super::month::namespace;
use super::site::{Site, at, item};

/// How many items the vault has that is to be emptied.
pub const TARGET_ITEMS: usize = 200;
/// The namespaces of the ordinary month that have used the vault for long.
const NAMESPACES: usize = 50;
/// The day on which it begins: a Tuesday after the ordinary month.
const DAY: usize = 50;

/// A way to empty a vault. The namespaces have used it in an ordinary way before, unless it says otherwise: what
/// gives them away is how much they take, not that they take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// One request for all of it.
    OneRequest,
    /// 20 requests for ten items each, within an hour.
    TwentyRequests,
    /// 200 requests for one item each, within an hour.
    EachItsRequest,
    /// The same, each with a consumer of its own.
    FreshConsumers,
    /// One request, deleted and created again for each item.
    Recreated,
    /// Ten namespaces, by turns, within an hour.
    TenNamespaces,
    /// Fifty namespaces, by turns, within an hour.
    FiftyNamespaces,
    /// Fifty namespaces that were made for it.
    FreshNamespaces,
    /// One namespace, over 30 days.
    Drip,
    /// Fifty namespaces, over 30 days.
    WideDrip,
    /// One namespace, within a day; its profile is deleted and the operator restarted each ten items.
    ProfileDeleted,
    /// The same over 30 days, each five items.
    DripProfileDeleted,
    /// Two items a day in one namespace: by somebody who knows the limits.
    KnowsTheLimits,
}

/// What a thief got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loot {
    /// Items before an attempt had any anomaly.
    pub before_anomaly: Option<usize>,
    /// Items before somebody was alerted, or the attempt denied or deferred.
    pub before_alert: Option<usize>,
    /// Items before an attempt was denied or deferred.
    pub before_stop: Option<usize>,
    /// Items in all, with every item asked for once; those among them that waited until the rate allowed them.
    pub in_all: usize,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::OneRequest,
        Self::TwentyRequests,
        Self::EachItsRequest,
        Self::FreshConsumers,
        Self::Recreated,
        Self::TenNamespaces,
        Self::FiftyNamespaces,
        Self::FreshNamespaces,
        Self::Drip,
        Self::WideDrip,
        Self::ProfileDeleted,
        Self::DripProfileDeleted,
        Self::KnowsTheLimits,
    ];

    /// Its name in figures.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneRequest => "one_request",
            Self::TwentyRequests => "twenty_requests",
            Self::EachItsRequest => "each_its_request",
            Self::FreshConsumers => "fresh_consumers",
            Self::Recreated => "recreated",
            Self::TenNamespaces => "ten_namespaces",
            Self::FiftyNamespaces => "fifty_namespaces",
            Self::FreshNamespaces => "fresh_namespaces",
            Self::Drip => "drip",
            Self::WideDrip => "wide_drip",
            Self::ProfileDeleted => "profile_deleted",
            Self::DripProfileDeleted => "drip_profile_deleted",
            Self::KnowsTheLimits => "knows_the_limits",
        }
    }

    /// Tries it on a site, against the vault of production or the one whose environment nobody knows.
    #[must_use]
    pub fn run(self, site: &Site, production: bool) -> Loot {
        let mut site = site.clone();
        let (vault, environment) =
            if production { ("services", Some("production")) } else { ("tools", None) };
        let mut loot = Loot::default();
        let size = match self {
            Self::OneRequest => TARGET_ITEMS,
            Self::TwentyRequests => 10,
            _ => 1,
        };
        for first in (0..TARGET_ITEMS).step_by(size) {
            let at = self.when(first);
            let namespace = self.namespace(first);
            if self == Self::FreshNamespaces {
                site.create_namespace(&namespace, at - TimeDelta::hours(1));
            }
            if self.deletes_after().is_some_and(|items| first % items == 0 && first > 0) {
                site.lose_profile(&namespace);
            }
            let request = match self {
                Self::Recreated => "dump".to_owned(),
                _ => format!("dump-{first}"),
            };
            let consumer = (self == Self::FreshConsumers).then(|| format!("consumer-{first}"));
            // Shifted, so that no namespace asks for the one item that it has.
            let items: Vec<_> = (first..first + size)
                .map(|n| item(vault, environment, (n + NAMESPACES / 2) % TARGET_ITEMS))
                .collect();
            let of = (&*namespace, &*request);
            loot.in_all += site.wait_until(at);
            let (anomalies, outcome) = site.ask(at, of, consumer.as_deref(), &items);
            if anomalies > 0 {
                loot.before_anomaly.get_or_insert(loot.in_all);
            }
            match outcome {
                Outcome::Allowed => loot.in_all += size,
                Outcome::Alerted => {
                    loot.before_alert.get_or_insert(loot.in_all);
                    loot.in_all += size;
                }
                Outcome::Deferred | Outcome::Denied => {
                    loot.before_alert.get_or_insert(loot.in_all);
                    loot.before_stop.get_or_insert(loot.in_all);
                }
            }
        }
        loot.in_all += site.wait_until(self.when(TARGET_ITEMS) + TimeDelta::days(30));
        loot
    }

    fn namespace(self, first: usize) -> String {
        match self {
            Self::TenNamespaces => namespace(first % 10, first % 10),
            Self::FiftyNamespaces | Self::WideDrip => {
                namespace(first % NAMESPACES / 3, first % NAMESPACES % 3)
            }
            Self::FreshNamespaces => format!("fresh-{}", first % NAMESPACES),
            _ => namespace(0, 2),
        }
    }

    fn when(self, first: usize) -> DateTime<Utc> {
        let spread = |days: usize| {
            let nth = first * days / TARGET_ITEMS;
            at(DAY + nth, 10, first * days % TARGET_ITEMS * 2 / days.max(1))
        };
        match self {
            Self::Drip | Self::WideDrip | Self::DripProfileDeleted => spread(30),
            Self::KnowsTheLimits => spread(100),
            Self::ProfileDeleted => at(DAY, 10, first * 2),
            _ => at(DAY, 10, first * 60 / TARGET_ITEMS),
        }
    }

    /// After how many items the profile is deleted and the operator restarted.
    fn deletes_after(self) -> Option<usize> {
        match self {
            Self::ProfileDeleted => Some(10),
            Self::DripProfileDeleted => Some(5),
            _ => None,
        }
    }
}
