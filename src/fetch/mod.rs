//! Values for a grant: those that are kept and current, those that Connect gives, and while it cannot be
//! asked what may stand in. Whatever returns a value demands the grant, and what it returns borrows it on.

mod fallback;
mod flight;
mod kept;
mod limits;
mod order;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use fallback::{FallbackError, allows_request};
pub use limits::{Staleness, class_of};
pub use order::{Fallback, Order, Reach};
pub use values::{Stale, Substitute, Values};

use crate::api::Source;
use crate::cache::{Class as CacheClass, Lookup, Part};
use crate::connect::{Class, ConnectError, FileContent, Item};
use crate::kube_io::KubeIo;
use crate::policy::{GrantedRef, ItemIdentity, KeptRef};
use crate::telemetry::Metrics;
use flight::{Flights, Joined, Landing};
use kept::files_of;

/// The most items of one request that are asked for at the same time.
const AT_ONCE: usize = 8;

/// A scope of the cache, and what of it is fetched.
type FlightKey = (u64, ItemIdentity, Part);

/// Fetches for all servers.
pub struct Fetcher {
    items: Flights<FlightKey, Item>,
    files: Flights<FlightKey, FileContent>,
    io: KubeIo,
    environment: Environment,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

/// Reads a variable of the operator's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

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
    /// The fetch failed in a way that it should not have.
    #[error("the fetch of {} of vault {} was broken off", .0.title, .0.vault_name)]
    BrokenOff(Box<ItemIdentity>),
    /// The operator stops: nothing came of the fetch, and nothing is to be said of it.
    #[error("the operator stops")]
    Stopping,
}

/// A value that was had.
struct Had<T> {
    value: Arc<T>,
    source: Source,
    /// Why it is not Connect's, and when 1Password said last that it is current.
    stale: Option<Stale>,
}

/// An item with those of its files that references mean.
struct HadItem {
    item: Had<Item>,
    files: Vec<(Arc<str>, Had<FileContent>)>,
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
        Self {
            items: Flights::new(failed_for, absent_for),
            files: Flights::new(failed_for, absent_for),
            io,
            environment,
            metrics,
            stop,
        }
    }

    /// Ends what is under way, and whatever comes after: nothing has been written for it yet.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Has the items of the grant that are not kept fetched, and kept, without handing them out. A failure is
    /// for the next one who needs the item.
    pub async fn warm(&self, order: &Order<'_>) {
        for (granted, kept) in order.grant.items().zip(order.grant.kept_items()) {
            let identity = granted.identity();
            if class_of(order.spec, &identity.vault_name, order.staleness).ttl.is_none() {
                continue;
            }
            // What is kept is had from there, and the files of it that references mean are fetched, too.
            let result = match self.item(order, granted, kept).await {
                Ok(_) => "ok",
                Err(FetchError::Connect { error, .. }) => error.reason().as_str(),
                Err(FetchError::BrokenOff(_)) => "broken off",
                Err(FetchError::Stopping) => return,
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
        let mut fetches: Vec<BoxFuture<'_, _>> = Vec::with_capacity(granted.len());
        for (granted, kept) in granted {
            let fetch = self.item(order, granted, kept).map(move |had| (granted, had));
            fetches.push(fetch.boxed());
        }
        // A few at a time: a request of many items does not queue up before all others.
        let had: Vec<_> = stream::iter(fetches).buffer_unordered(AT_ONCE).collect().await;
        let mut values = Values::new(order.grant);
        let mut missing = BTreeMap::new();
        for (granted, had) in had {
            match had {
                Ok(HadItem { item, files }) => {
                    values.add(granted.identity(), item.value, item.source, item.stale);
                    for (id, file) in files {
                        let of = (granted.identity(), id);
                        values.add_file(of, file.value, file.source, file.stale);
                    }
                }
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
            let cause = error.to_string();
            self.stand_in(order, identities, cause, &mut values)
                .await
                .map_err(|note| error.with(note))?;
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
    ) -> Result<HadItem, FetchError> {
        let identity = granted.identity();
        let class = class_of(order.spec, &identity.vault_name, order.staleness);
        let version = order.grant.facts().version_of(identity);
        let look = || order.server.scope().item(granted, version, &class);
        let ask = || self.ask(order, kept, version, &class);
        let of = (identity, &Part::Fields);
        let item = self.obtain(order, of, &class, look, ask).await?;
        let mut files = Vec::new();
        for file in files_of(order.grant, identity, &item.value) {
            let Some(kept) = order.grant.kept(identity) else { continue };
            let version = item.value.version;
            let look = || order.server.scope().file(granted, &file, version, &class);
            let ask = || self.ask_file(order, kept, (&file, version), &class);
            let of = (identity, &Part::File(file.clone()));
            let had = self.obtain(order, of, &class, look, ask).await?;
            files.push((file, had));
        }
        Ok(HadItem { item, files })
    }

    /// Has a value: what is kept and current, else what Connect gives, else in an outage what is kept.
    async fn obtain<T, F>(
        &self,
        order: &Order<'_>,
        (identity, part): (&ItemIdentity, &Part),
        class: &CacheClass,
        look: impl Fn() -> Lookup<T>,
        ask: impl FnOnce() -> F,
    ) -> Result<Had<T>, FetchError>
    where
        F: Future<Output = Landing<T>>,
    {
        let lookup = look();
        let result = match &lookup {
            Lookup::Fresh(..) => "fresh",
            Lookup::Stale(..) => "stale",
            Lookup::Missing => "missing",
        };
        self.metrics.cache.looked_up(order.server.name(), result);
        let is_ahead = matches!(order.reach, Reach::Ahead);
        if !is_ahead && order.server.scope().first_use_of_ahead(identity, part) {
            self.metrics.cache.warmed(order.server.name(), "used");
        }
        let error = match (order.reach, lookup) {
            (Reach::Ask | Reach::Ahead, Lookup::Fresh(value, _)) => {
                return Ok(Had { value: Arc::new(value), source: Source::Connect, stale: None });
            }
            (Reach::Down(trouble), lookup) => {
                return stale(lookup, class, &trouble.error)
                    .ok_or_else(|| FetchError::of(&trouble.error, identity));
            }
            (Reach::Ask | Reach::Ahead | Reach::Revalidate, _) => match ask().await {
                Some(Ok(value)) => {
                    if is_ahead {
                        order.server.scope().came_ahead(identity, part);
                    }
                    return Ok(Had { value, source: Source::Connect, stale: None });
                }
                Some(Err(error)) => error,
                None if self.stop.is_cancelled() => return Err(FetchError::Stopping),
                None => return Err(FetchError::BrokenOff(Box::new(identity.clone()))),
            },
        };
        // Looked up again: somebody may have fetched it meanwhile.
        let is_outage = error.class() == Class::Unavailable;
        let serves = is_outage && !matches!(order.fallback, Fallback::Refused);
        let outage = serves.then(|| stale(look(), class, &error));
        outage.flatten().ok_or_else(|| FetchError::of(&error, identity))
    }

    /// Asks Connect, or waits for the answer to somebody who asked already.
    async fn ask(
        &self,
        order: &Order<'_>,
        kept: KeptRef,
        version: i64,
        class: &CacheClass,
    ) -> Landing<Item> {
        let scope = order.server.scope().clone();
        let identity = kept.granted().identity().clone();
        let key = (scope.id(), identity, Part::Fields);
        let namespace: Arc<str> = order.grant.facts().request.namespace.as_str().into();
        let (client, class) = (order.server.client().clone(), class.clone());
        let may_be_kept = !matches!(order.reach, Reach::Revalidate);
        let fetch = self.items.join(key, || async move {
            // Somebody else's fetch may have ended between the look and the start of this one.
            if may_be_kept
                && let Lookup::Fresh(item, _) = scope.item(kept.granted(), version, &class)
            {
                return Ok(item);
            }
            let item = client.item(kept.granted()).await?;
            // What is older than the list said came from a replica that lags.
            if item.version >= version {
                scope.put_item(kept.granted(), &item, &class, &namespace);
            }
            Ok(item)
        });
        let (landing, joined) = self.stop.run_until_cancelled(fetch).await?;
        self.count(order, joined);
        landing
    }

    /// The same for a file of an item of a version.
    async fn ask_file(
        &self,
        order: &Order<'_>,
        kept: KeptRef,
        (file, version): (&Arc<str>, i64),
        class: &CacheClass,
    ) -> Landing<FileContent> {
        let scope = order.server.scope().clone();
        let identity = kept.granted().identity().clone();
        let key = (scope.id(), identity, Part::File(file.clone()));
        let namespace: Arc<str> = order.grant.facts().request.namespace.as_str().into();
        let (client, class, file) = (order.server.client().clone(), class.clone(), file.clone());
        let fetch = self.files.join(key, || async move {
            let content = client.file(kept.granted(), &file).await?;
            scope.put_file(kept.granted(), &file, (version, &content), &class, &namespace);
            Ok(content)
        });
        let (landing, joined) = self.stop.run_until_cancelled(fetch).await?;
        self.count(order, joined);
        landing
    }

    fn count(&self, order: &Order<'_>, joined: Joined) {
        if joined == Joined::Shared {
            self.metrics.cache.coalesced(order.server.name());
        }
    }
}

/// What is kept, of something that Connect cannot be asked about, as long as its class lets it serve.
fn stale<T>(lookup: Lookup<T>, class: &CacheClass, error: &ConnectError) -> Option<Had<T>> {
    let (Lookup::Fresh(value, since) | Lookup::Stale(value, since)) = lookup else { return None };
    // Current values, too: in an outage the limit of staleness counts alone, and none at all is never.
    if since.elapsed().unwrap_or_default() >= class.max_staleness {
        return None;
    }
    let stale = Some(Stale { since, cause: error.to_string() });
    Some(Had { value: Arc::new(value), source: Source::Cache, stale })
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
            Self::BrokenOff(_) | Self::Stopping => false,
        }
    }

    fn with(self, why: Option<FallbackError>) -> Self {
        match self {
            Self::Connect { error, item, note } => {
                Self::Connect { error, item, note: why.or(note) }
            }
            Self::BrokenOff(_) | Self::Stopping => self,
        }
    }
}
