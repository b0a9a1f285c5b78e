//! Values for a grant: those that are kept and current, those that Connect gives, and while it cannot be
//! asked what may stand in. Whatever returns a value demands the grant, and what it returns borrows it on.

mod fallback;
mod flight;
mod limits;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use fallback::{FallbackError, allows_request};
pub use limits::class_of;
pub use values::{Substitute, Values};

use crate::api::{ConnectServerSpec, Source};
use crate::cache::{Class as CacheClass, Lookup, Part};
use crate::connect::{Class, ConnectError, Item};
use crate::kube_io::KubeIo;
use crate::policy::{Grant, GrantedRef, ItemIdentity, KeptRef};
use crate::telemetry::Metrics;
use crate::vaults::{Server, Trouble};
use flight::{Flights, Joined};

/// Fetches for all servers.
pub struct Fetcher {
    items: Flights<(u64, ItemIdentity, Part), Item>,
    io: KubeIo,
    environment: Environment,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

/// Reads a variable of the operator's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What is wanted, and what it takes.
pub struct Order<'g> {
    /// The grant.
    pub grant: &'g Arc<Grant>,
    /// Where the values are.
    pub server: &'g Server,
    /// What is configured of it.
    pub spec: &'g ConnectServerSpec,
    /// Whether Connect is asked.
    pub reach: Reach<'g>,
    /// Whether what stands in for values may serve, and from where.
    pub fallback: Fallback<'g>,
    /// How long a cached value may serve in an outage as far as server and request say.
    pub max_staleness: Duration,
}

/// Whether Connect is asked.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'g> {
    /// For what is not kept and current.
    Ask,
    /// For everything: somebody wants to be sure.
    Revalidate,
    /// Not at all: it is known not to answer.
    Down(&'g Trouble),
}

/// Whether what stands in for values may serve.
#[derive(Clone, Copy, Debug)]
pub enum Fallback<'g> {
    /// No: there is a Secret, which stays as it is.
    HasSecret,
    /// There is none: the request's fallback Secret, if it names one, and the server's variables.
    Secretless {
        /// The fallback Secret's name.
        secret: Option<&'g str>,
    },
}

/// Why there are no values.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Connect did not give them, and nothing could stand in.
    #[error("{error}{}", note.as_ref().map(|n| format!("; {n}")).unwrap_or_default())]
    Connect {
        /// What Connect did.
        error: ConnectError,
        /// Why the fallback that the request names did not serve.
        note: Option<FallbackError>,
        /// The item.
        item: Box<ItemIdentity>,
    },
    /// The fetch was ended with the operator, or failed in a way that it should not have.
    #[error("the fetch of {} of vault {} was broken off", .0.title, .0.vault_name)]
    Ended(Box<ItemIdentity>),
}

/// One item that was had.
struct Had {
    item: Arc<Item>,
    source: Source,
    /// When 1Password said last that it is current, of one that it could not be asked about now.
    since: Option<std::time::SystemTime>,
}

impl Fetcher {
    /// A fetcher that believes a failure for `failed_for`, and that an item is not there for `absent_for`.
    #[must_use]
    pub fn new(
        io: KubeIo,
        environment: Environment,
        (failed_for, absent_for): (Duration, Duration),
        metrics: Arc<Metrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        Self { items: Flights::new(failed_for, absent_for), io, environment, metrics, stop }
    }

    /// Ends what is under way, and whatever comes after: nothing has been written for it yet.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether Connect will be asked for some of it.
    #[must_use]
    pub fn asks(&self, order: &Order<'_>) -> bool {
        match order.reach {
            Reach::Down(_) => false,
            Reach::Revalidate => true,
            Reach::Ask => order.grant.items().any(|granted| {
                let identity = granted.identity();
                let class = class_of(order.spec, &identity.vault_name, order.max_staleness);
                let version = order.grant.facts().version_of(identity);
                !order.server.scope().is_fresh(identity, version, &class)
            }),
        }
    }

    /// Has the items of the grant that are not kept fetched, and kept, without handing them out. Says how many
    /// were fetched; a failure is for the next one who needs the item.
    pub async fn warm(&self, order: &Order<'_>) {
        for (granted, kept) in order.grant.items().zip(order.grant.kept_items()) {
            let identity = granted.identity();
            let class = class_of(order.spec, &identity.vault_name, order.max_staleness);
            let version = order.grant.facts().version_of(identity);
            if class.ttl.is_none() || order.server.scope().has(identity, version) {
                continue;
            }
            let result = match self.ask(order, kept, version, &class).await {
                Some(Ok(_)) => "ok",
                Some(Err(error)) => error.reason().as_str(),
                None => return,
            };
            self.metrics.cache.warmed(order.server.name(), result);
        }
    }

    /// Has every item of the grant, each once and in parallel as far as the server's limits allow.
    ///
    /// # Errors
    /// The first failure, when nothing may stand in for what is missing; what was had by then is wiped.
    pub async fn fetch<'g>(&self, order: &Order<'g>) -> Result<Values<'g>, FetchError> {
        let began = Instant::now();
        let granted: Vec<(GrantedRef<'g>, KeptRef)> =
            order.grant.items().zip(order.grant.kept_items()).collect();
        let had = join_all(granted.into_iter().map(|(granted, kept)| async move {
            (granted, self.item(order, granted, kept).await)
        }))
        .await;
        let mut values = Values::new(order.grant);
        let mut missing = BTreeMap::new();
        for (granted, had) in had {
            match had {
                Ok(had) => values.add(granted.identity(), had.item, had.source, had.since),
                Err(error) => {
                    missing.insert(granted.identity(), error);
                }
            }
        }
        if let Some((_, error)) = missing.first_key_value() {
            // Nothing stands in where 1Password said no, whatever it is about the other items.
            let refused = missing.values().find(|e| !e.is_outage());
            if let Some(error) = refused {
                return Err(error.clone());
            }
            let error = error.clone();
            let identities = missing.keys().copied().collect();
            self.stand_in(order, identities, &mut values).await.map_err(|note| error.with(note))?;
        }
        if values.source() != Source::Connect {
            self.metrics.cache.fell_back(order.server.name(), values.source().as_str());
        }
        self.metrics.cache.fetch_took(began.elapsed());
        Ok(values)
    }

    async fn item(
        &self,
        order: &Order<'_>,
        granted: GrantedRef<'_>,
        kept: KeptRef,
    ) -> Result<Had, FetchError> {
        let identity = granted.identity();
        let class = class_of(order.spec, &identity.vault_name, order.max_staleness);
        let version = order.grant.facts().version_of(identity);
        let scope = order.server.scope();
        let lookup = scope.item(granted, version, &class);
        let result = match &lookup {
            Lookup::Fresh(_) => "fresh",
            Lookup::Stale(..) => "stale",
            Lookup::Missing => "missing",
        };
        self.metrics.cache.looked_up(order.server.name(), result);
        let error = match (order.reach, lookup) {
            (Reach::Ask, Lookup::Fresh(item)) => {
                return Ok(Had { item: Arc::new(item), source: Source::Connect, since: None });
            }
            (Reach::Down(trouble), lookup) => {
                return stale(lookup).ok_or_else(|| FetchError::of(&trouble.error, identity));
            }
            (Reach::Ask | Reach::Revalidate, _) => {
                match self.ask(order, kept, version, &class).await {
                    Some(Ok(item)) => {
                        return Ok(Had { item, source: Source::Connect, since: None });
                    }
                    Some(Err(error)) => error,
                    None => return Err(FetchError::Ended(Box::new(identity.clone()))),
                }
            }
        };
        let outage = (error.class() == Class::Unavailable)
            // Looked up again: somebody may have fetched it meanwhile.
            .then(|| stale(scope.item(granted, version, &class)));
        outage.flatten().ok_or_else(|| FetchError::of(&error, identity))
    }

    /// Asks Connect, or waits for the answer to somebody who asked already.
    async fn ask(
        &self,
        order: &Order<'_>,
        kept: KeptRef,
        version: i64,
        class: &CacheClass,
    ) -> flight::Landing<Item> {
        let scope = order.server.scope().clone();
        let identity = kept.granted().identity().clone();
        let key = (scope.id(), identity, Part::Fields);
        let namespace: Arc<str> = order.grant.facts().request.namespace.as_str().into();
        let (client, class) = (order.server.client().clone(), class.clone());
        let fetch = self.items.join(key, || async move {
            let item = client.item(kept.granted()).await?;
            // What is older than the list said came from a replica that lags.
            if item.version >= version {
                scope.put_item(kept.granted(), &item, &class, &namespace);
            }
            Ok(item)
        });
        let (landing, joined) = self.stop.run_until_cancelled(fetch).await?;
        if joined == Joined::Shared {
            self.metrics.cache.coalesced(order.server.name());
        }
        landing
    }
}

/// What is kept, of an item that Connect cannot be asked about.
fn stale(lookup: Lookup<Item>) -> Option<Had> {
    let (item, since) = match lookup {
        Lookup::Fresh(item) => (item, std::time::SystemTime::now()),
        Lookup::Stale(item, since) => (item, since),
        Lookup::Missing => return None,
    };
    Some(Had { item: Arc::new(item), source: Source::Cache, since: Some(since) })
}

impl FetchError {
    fn of(error: &ConnectError, item: &ItemIdentity) -> Self {
        Self::Connect { error: error.clone(), note: None, item: Box::new(item.clone()) }
    }

    /// Whether Connect could not be asked, as against one that said no.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Connect { error, .. } => error.class() == Class::Unavailable,
            Self::Ended(_) => true,
        }
    }

    fn with(self, why: Option<FallbackError>) -> Self {
        match self {
            Self::Connect { error, item, note } => {
                Self::Connect { error, item, note: why.or(note) }
            }
            Self::Ended(item) => Self::Ended(item),
        }
    }
}
