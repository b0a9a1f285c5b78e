//! The client of 1Password Connect: lists without values for whoever keeps the index, and the values of an
//! item for whoever holds a grant for it.
//!
//! A client never changes: another address, token or authority is another client, so that no call can go
//! to one server with the token of another.
//!
//! A server may have several hosts. A call goes to the first that may be asked, and on to the next where
//! that one is unavailable; when none answers, they are gone through again, within a budget. A host that
//! asked to be left alone is, and so is one whose breaker is open. Whoever calls may repeat a call later
//! and need not do so at once.

mod body;
mod breaker;
mod call;
mod config;
mod error;
mod find;
mod health;
mod host;
mod list;
mod model;
mod observe;
mod rate;
mod retry;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use breaker::{BreakerState, CoolDown};
pub use config::{BuildError, ClientConfig, Proxy};
pub use error::{Cause, Class, ConnectError, Failure, Flaw, Subject};
pub use find::{FindError, Found, Kind};
pub use health::{Dependency, ServerHealth};
pub use host::HostState;
pub use list::ListLimits;
pub use model::{
    Field, File, FileContent, Item, ItemSummary, MAX_NAME, Section, State, Value, Vault, Website,
};
pub use observe::{Call, NoObserver, Observer, Operation};
pub use retry::Retries;
pub use token::{Access, Rights, TokenClaims, VaultScope};

use breaker::Breaker;
use call::{Failed, Request};
use host::{Host, Hosts};
use rate::Rate;
use retry::Budget;

use crate::policy::{GrantedRef, ItemIdentity};

/// The longest id of a file.
const FILE_ID_MAX: usize = 64;

/// A client of one Connect server with one token.
pub struct Client {
    http: reqwest::Client,
    hosts: Hosts,
    observer: Arc<dyn Observer>,
    /// Those who ask for values, as many as may be in flight at all: however many wait here, a list that
    /// everybody depends on waits for one call at most.
    gate: Semaphore,
    permits: Semaphore,
    rate: Rate,
    budget: Budget,
    retries: Retries,
    call_timeout: Duration,
    heartbeat_timeout: Duration,
    item_body_limit: usize,
    file_body_limit: usize,
    list_limits: ListLimits,
    claims: TokenClaims,
    token_identity: [u8; 32],
}

impl Client {
    /// Builds a client. No call is made yet.
    ///
    /// Redirects are not followed, which would take the token elsewhere.
    ///
    /// # Errors
    /// What of the configuration cannot be used, and [`BuildError::Tls`] when no TLS provider is installed.
    pub fn new(config: ClientConfig) -> Result<Self, BuildError> {
        // Whatever hangs, half a request's time is left for the next host.
        let heartbeat_timeout = config.connect_timeout.min(config.call_timeout / 2);
        let host = |origin: Arc<str>| {
            let breaker = Breaker::new(config.cool_down, heartbeat_timeout.saturating_mul(2));
            Host::new(origin, breaker, Arc::clone(&config.observer))
        };
        let (origins, http) = (config.origins()?, config.http()?);
        let mut hosts = origins.into_iter().map(host);
        let first = hosts.next().ok_or(BuildError::Host)?;
        let concurrency = config.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            hosts: Hosts::new(first, hosts.collect()),
            http,
            gate: Semaphore::new(concurrency),
            permits: Semaphore::new(concurrency),
            rate: Rate::new(config.requests_per_second),
            budget: Budget::full(),
            retries: config.retries,
            call_timeout: config.call_timeout,
            heartbeat_timeout,
            item_body_limit: config.item_body_limit,
            file_body_limit: config.file_body_limit,
            list_limits: config.list_limits,
            claims: TokenClaims::of(config.bare_token()),
            token_identity: token::identity(config.bare_token()),
            observer: config.observer,
        })
    }

    /// The origin that the list of vaults came from last, as long as nothing speaks against it; else the first
    /// that nothing speaks against.
    #[must_use]
    pub fn active_host(&self) -> &str {
        &self.hosts.active().origin
    }

    /// The hosts in their order, as they stand.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostState> {
        self.hosts.iter().map(Host::state).collect()
    }

    /// What the token says of itself, unverified.
    #[must_use]
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// What tells this client's token from any other, without being the token: for binding what was
    /// fetched with it.
    #[must_use]
    pub fn token_identity(&self) -> [u8; 32] {
        self.token_identity
    }

    /// How many calls could start now without waiting for others.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.available_permits()
    }

    /// The vaults that the token has access to.
    ///
    /// # Errors
    /// [`ConnectError`], also when a vault is in it twice; a 404 is [`Failure::NotConnect`] here, since Connect
    /// always has this list.
    pub async fn vaults(&self) -> Result<Vec<Vault>, ConnectError> {
        let request = Request::new(Operation::Vaults, "/v1/vaults".to_owned());
        self.call(&request, move |response| async move {
            let mut vaults = Vec::new();
            let take = |vault| {
                vaults.push(vault);
                Ok(())
            };
            list::read(response, self.list_limits, take).await.map_err(always_there)?;
            once_each(&vaults, |vault: &Vault| &vault.id)?;
            Ok(vaults)
        })
        .await
        .map(|answer| answer.value)
        .map_err(|failed| failed.about(Subject::Vaults))
    }

    /// One vault: for servers whose list does not tell the versions of what is in the vaults.
    ///
    /// # Errors
    /// [`ConnectError`], also when the answer is about another vault.
    pub async fn vault(&self, vault_id: &str) -> Result<Vault, ConnectError> {
        let subject = || Subject::Vault(shown(vault_id));
        if !model::is_id(vault_id) {
            return Err(self.unsent(subject()));
        }
        let request = Request::new(Operation::Vault, format!("/v1/vaults/{vault_id}"));
        self.call(&request, move |response| async move {
            let vault: Vault = body::read(response, self.list_limits.entry).await?;
            if &*vault.id == vault_id { Ok(vault) } else { Err(Failure::WrongItem) }
        })
        .await
        .map(|answer| answer.value)
        .map_err(|failed| failed.about(subject()))
    }

    /// The items of a vault without their values, archived and deleted ones among them, and the origin of the host that
    /// lists them: another one than of the last poll may know another version of the vault.
    ///
    /// # Errors
    /// [`ConnectError`], also when the list holds items of another vault, or one of them twice.
    pub async fn items(
        &self,
        vault_id: &str,
    ) -> Result<(Arc<str>, Vec<ItemSummary>), ConnectError> {
        let subject = || Subject::Items(shown(vault_id));
        if !model::is_id(vault_id) {
            return Err(self.unsent(subject()));
        }
        let request = Request::new(Operation::Items, format!("/v1/vaults/{vault_id}/items"));
        let shared: &Arc<str> = &vault_id.into();
        self.call(&request, move |response| async move {
            let mut items = Vec::new();
            let take = |mut item: ItemSummary| {
                if item.vault_id != *shared {
                    return Err(Failure::WrongItem);
                }
                item.vault_id = Arc::clone(shared);
                items.push(item);
                Ok(())
            };
            list::read(response, self.list_limits, take).await?;
            once_each(&items, |item: &ItemSummary| &item.id)?;
            Ok(items)
        })
        .await
        .map(|answer| (answer.host, answer.value))
        .map_err(|failed| failed.about(subject()))
    }

    /// The item that the grant is for, with its values.
    ///
    /// # Errors
    /// [`ConnectError`], also when the answer is about another item, and when the item has another title
    /// than the one that was decided on.
    pub async fn item(&self, granted: GrantedRef<'_>) -> Result<Item, ConnectError> {
        self.fetch_item(granted.identity()).await
    }

    /// The content of a file of the item that the grant is for. Which files an item has, the item says;
    /// the answer to this does not name what it is of.
    ///
    /// # Errors
    /// [`ConnectError`]; a file beyond the limit is [`Failure::FileTooLarge`].
    pub async fn file(
        &self,
        granted: GrantedRef<'_>,
        file_id: &str,
    ) -> Result<FileContent, ConnectError> {
        self.fetch_file(granted.identity(), file_id).await
    }

    /// What the active host says of itself. One request, which waits for nothing and is not repeated.
    ///
    /// # Errors
    /// [`ConnectError`]; a 404 is [`Failure::NotConnect`] here, since Connect always has this page.
    pub async fn health(&self) -> Result<ServerHealth, ConnectError> {
        let request = Request::new(Operation::Health, "/health".to_owned());
        self.ask_once(&request, move |response| async move {
            body::read(response, health::BODY_LIMIT).await.map_err(always_there)
        })
        .await
        .map_err(|failed| failed.about(Subject::Health))
    }

    async fn fetch_item(&self, identity: &ItemIdentity) -> Result<Item, ConnectError> {
        let subject = || Subject::Item(identity.clone());
        let Some(path) = item_path(identity) else {
            return Err(self.unsent(subject()));
        };
        let request = Request::new(Operation::Item, path);
        self.call(&request, move |response| async move {
            let item: Item = body::read(response, self.item_body_limit).await?;
            if item.id != identity.item_id || item.vault_id != identity.vault_id {
                return Err(Failure::WrongItem);
            }
            match item.state {
                State::Active if item.title == identity.title => Ok(item),
                State::Active => Err(Failure::Moved),
                State::Archived | State::Deleted => Err(Failure::NotFound),
            }
        })
        .await
        .map(|answer| answer.value)
        .map_err(|failed| failed.about(subject()))
    }

    async fn fetch_file(
        &self,
        identity: &ItemIdentity,
        file_id: &str,
    ) -> Result<FileContent, ConnectError> {
        let is_id = token::is_plain(file_id, FILE_ID_MAX);
        let shown = if is_id { file_id } else { "?" };
        let subject = || Subject::File(identity.clone(), shown.into());
        let Some(item) = item_path(identity).filter(|_| is_id) else {
            return Err(self.unsent(subject()));
        };
        let request = Request {
            operation: Operation::File,
            path: format!("{item}/files/{file_id}/content"),
            subject: item.into(),
        };
        self.call(&request, move |response| async move {
            body::content(response, self.file_body_limit).await.map(FileContent::from)
        })
        .await
        .map(|answer| answer.value)
        .map_err(|failed| failed.about(subject()))
    }

    /// The error of a call that was not made, since no path can be made of its ids.
    fn unsent(&self, subject: Subject) -> ConnectError {
        Failed::new(self.hosts.active(), Failure::BadId).about(subject)
    }
}

/// Refuses a list that has an id twice: it does not say which of the two is meant.
fn once_each<T>(entries: &[T], id: impl Fn(&T) -> &Arc<str>) -> Result<(), Failure> {
    let mut seen = HashSet::with_capacity(entries.len());
    let all_new = entries.iter().all(|entry| seen.insert(&**id(entry)));
    if all_new { Ok(()) } else { Err(Failure::Repeated) }
}

/// The path of an item, if its ids are such as Connect gives.
fn item_path(identity: &ItemIdentity) -> Option<String> {
    let (vault, item) = (&identity.vault_id, &identity.item_id);
    (model::is_id(vault) && model::is_id(item)).then(|| format!("/v1/vaults/{vault}/items/{item}"))
}

/// The id of a vault for an error. What is no id may be anything, and is not repeated.
fn shown(vault_id: &str) -> Arc<str> {
    if model::is_id(vault_id) { vault_id.into() } else { "?".into() }
}

/// The failure of a request for something that every Connect server has.
fn always_there(failure: Failure) -> Failure {
    match failure {
        Failure::NotFound => Failure::NotConnect,
        other => other,
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("hosts", &self.hosts())
            .field("available_permits", &self.permits.available_permits())
            .finish_non_exhaustive()
    }
}
