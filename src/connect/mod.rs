//! The client of 1Password Connect: lists without values for whoever keeps the index, and the values of an
//! item for whoever holds a grant for it.
//!
//! A client never changes: another address, token or authority is another client, so that no call can go
//! to one server with the token of another. It does not try again; whoever called knows when to.

mod body;
mod error;
mod find;
mod model;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Url, redirect, retry};
use rustls::crypto::CryptoProvider;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

pub use error::{Cause, Class, ConnectError, Failure, Subject};
pub use find::{FindError, Found, Kind};
pub use model::{
    Field, File, FileContent, Item, ItemSummary, MAX_NAME, Section, State, Value, Vault, Website,
};

use crate::policy::{GrantedRef, ItemIdentity};

/// What a [`Client`] is built from.
pub struct ClientConfig {
    /// An origin, `https://connect.internal:8443`. Whether `http://` is allowed is not decided here.
    pub host: String,
    /// The Connect token. White space around it is dropped.
    pub token: SecretString,
    /// The only authorities to trust, in PEM; those of the system when absent.
    pub ca_pem: Option<Vec<u8>>,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long a call may take in all, from when it has a permit to the end of the answer.
    pub call_timeout: Duration,
    /// The largest item, in bytes of its answer.
    pub item_body_limit: usize,
    /// The largest list, in bytes of its answer.
    pub list_body_limit: usize,
    /// Calls in flight; further ones wait. At least 1.
    pub concurrency: usize,
}

/// Why a client cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The host is not an origin of `http` or `https`.
    #[error("the host is not an origin such as https://connect.internal:8443")]
    Host,
    /// The token is empty or has characters that a header cannot carry.
    #[error("the token is empty or not a token")]
    Token,
    /// The authorities are no certificates in PEM, or there is none among them.
    #[error("the authority's certificates cannot be read, or there are none")]
    Ca,
    /// The system's authorities cannot be read, or the process has no TLS provider.
    #[error("TLS cannot be set up; does the system have certificates of authorities?")]
    Tls,
}

/// A client of one Connect server with one token.
pub struct Client {
    http: reqwest::Client,
    /// Without a slash at the end.
    origin: Arc<str>,
    permits: Semaphore,
    item_body_limit: usize,
    list_body_limit: usize,
}

impl Client {
    /// Builds a client. No call is made yet.
    ///
    /// Redirects are not followed and proxies of the environment not used, either of which would take the
    /// token elsewhere.
    ///
    /// # Errors
    /// What of the configuration cannot be used, and [`BuildError::Tls`] when no TLS provider is installed.
    pub fn new(config: ClientConfig) -> Result<Self, BuildError> {
        let url = origin(&config.host)?;
        if CryptoProvider::get_default().is_none() {
            return Err(BuildError::Tls); // reqwest would panic.
        }
        let concurrency = config.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(&config.token)?)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            // A connection that hangs goes with its call. One of HTTP/2 would stay and take the next calls, too.
            .http1_only()
            .pool_max_idle_per_host(concurrency)
            .connect_timeout(config.connect_timeout)
            .timeout(config.call_timeout);
        let own_authorities = config.ca_pem.is_some();
        if let Some(pem) = config.ca_pem {
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| BuildError::Ca)?;
            if certificates.is_empty() {
                return Err(BuildError::Ca);
            }
            builder = builder.tls_certs_only(certificates);
        } else if url.scheme() == "http" {
            builder = builder.tls_certs_only([]); // Needs no authorities, and an image may have none.
        }
        let http = builder
            .build()
            .map_err(|_| if own_authorities { BuildError::Ca } else { BuildError::Tls })?;
        Ok(Self {
            http,
            origin: url.origin().ascii_serialization().into(),
            permits: Semaphore::new(concurrency),
            item_body_limit: config.item_body_limit,
            list_body_limit: config.list_body_limit,
        })
    }

    /// The origin that the client calls, as it stands in errors.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.origin
    }

    /// How many calls could start now without waiting for others.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.available_permits()
    }

    /// The vaults that the token has access to.
    ///
    /// # Errors
    /// [`ConnectError`]; a 404 is [`Failure::NotConnect`] here, since Connect always has this list.
    pub async fn vaults(&self) -> Result<Vec<Vault>, ConnectError> {
        self.get("/v1/vaults", self.list_body_limit)
            .await
            .map_err(|failure| match failure {
                Failure::NotFound => Failure::NotConnect,
                other => other,
            })
            .map_err(|failure| self.error(Subject::Vaults, failure))
    }

    /// The items of a vault without their values, archived and deleted ones among them.
    ///
    /// # Errors
    /// [`ConnectError`], also when the list holds items of another vault.
    pub async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, ConnectError> {
        self.fetch_items(vault_id).await.map_err(|failure| {
            // What is no id may be anything, and is not repeated.
            let id = if model::is_id(vault_id) { vault_id } else { "?" };
            self.error(Subject::Items(id.into()), failure)
        })
    }

    /// The item that the grant is for, with its values.
    ///
    /// # Errors
    /// [`ConnectError`], also when the answer is about another item, and when the item has another title
    /// than the one that was decided on.
    pub async fn item(&self, granted: GrantedRef<'_>) -> Result<Item, ConnectError> {
        self.fetch_item(granted.identity()).await
    }

    async fn fetch_items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, Failure> {
        if !model::is_id(vault_id) {
            return Err(Failure::BadId);
        }
        let path = format!("/v1/vaults/{vault_id}/items");
        let mut items: Vec<ItemSummary> = self.get(&path, self.list_body_limit).await?;
        let shared: Arc<str> = vault_id.into();
        for item in &mut items {
            if item.vault_id != shared {
                return Err(Failure::WrongItem);
            }
            item.vault_id = Arc::clone(&shared);
        }
        Ok(items)
    }

    async fn fetch_item(&self, identity: &ItemIdentity) -> Result<Item, ConnectError> {
        self.try_item(identity)
            .await
            .map_err(|failure| self.error(Subject::Item(identity.clone()), failure))
    }

    async fn try_item(&self, identity: &ItemIdentity) -> Result<Item, Failure> {
        let (vault, id) = (&identity.vault_id, &identity.item_id);
        if !model::is_id(vault) || !model::is_id(id) {
            return Err(Failure::BadId);
        }
        let path = format!("/v1/vaults/{vault}/items/{id}");
        let item: Item = self.get(&path, self.item_body_limit).await?;
        if item.id != *id || item.vault_id != *vault {
            return Err(Failure::WrongItem);
        }
        match item.state {
            State::Active if item.title == identity.title => Ok(item),
            State::Active => Err(Failure::Moved),
            State::Archived | State::Deleted => Err(Failure::NotFound),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<T, Failure> {
        // The semaphore is never closed. The permit is held until the answer is read.
        let _permit = self.permits.acquire().await;
        let request = self.http.get(format!("{}{path}", self.origin));
        let response = request.send().await.map_err(body::no_answer)?;
        body::read(response, limit).await
    }

    fn error(&self, subject: Subject, failure: Failure) -> ConnectError {
        ConnectError::new(&self.origin, subject, failure)
    }
}

/// The URL of an origin, which has nothing but a scheme, a host and perhaps a port.
fn origin(host: &str) -> Result<Url, BuildError> {
    let url = Url::parse(host).map_err(|_| BuildError::Host)?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if bare { Ok(url) } else { Err(BuildError::Host) }
}

fn headers(token: &SecretString) -> Result<HeaderMap, BuildError> {
    let token = token.expose_secret().trim();
    if token.is_empty() {
        return Err(BuildError::Token);
    }
    let bearer = Zeroizing::new(format!("Bearer {token}"));
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| BuildError::Token)?;
    bearer.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, bearer),
        (ACCEPT, HeaderValue::from_static("application/json")),
    ]))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.origin)
            .field("available_permits", &self.permits.available_permits())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("ca_pem", &self.ca_pem.as_ref().map(Vec::len))
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("item_body_limit", &self.item_body_limit)
            .field("list_body_limit", &self.list_body_limit)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive() // The token, and the host, which may hold a password until it is checked.
    }
}
