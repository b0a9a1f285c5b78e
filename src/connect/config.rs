//! What a client is built from.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Url, redirect, retry};
use rustls::crypto::CryptoProvider;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::breaker::CoolDown;
use super::list::ListLimits;
use super::observe::Observer;
use super::retry::Retries;

/// What a [`Client`](super::Client) is built from.
pub struct ClientConfig {
    /// Origins, such as `https://connect.internal:8443`, in the order in which they are asked; one at
    /// least. Whether `http://` is allowed is not decided here.
    pub hosts: Vec<String>,
    /// The Connect token. White space around it is dropped.
    pub token: SecretString,
    /// The only authorities to trust, in PEM; those of the system when absent.
    pub ca_pem: Option<Vec<u8>>,
    /// What stands between the client and the hosts.
    pub proxy: Proxy,
    /// Told of every request that is sent.
    pub observer: Arc<dyn Observer>,
    /// How long a connection may take to open, and a heartbeat in all, which takes half a `call_timeout` at
    /// most.
    pub connect_timeout: Duration,
    /// How long one request may take in all, to the end of its answer. A call, which may ask several
    /// hosts, takes twice that at most, from when it has a permit; hosts are asked again only as long as it
    /// has not taken that once.
    pub call_timeout: Duration,
    /// How a call that came to nothing is repeated.
    pub retries: Retries,
    /// How long a host whose breaker opened is left alone.
    pub cool_down: CoolDown,
    /// The largest item, in bytes of its answer.
    pub item_body_limit: usize,
    /// The largest file, in bytes.
    pub file_body_limit: usize,
    /// The largest list.
    pub list_limits: ListLimits,
    /// Calls in flight; further ones wait. At least 1.
    pub concurrency: usize,
    /// Requests in a second, with a burst of as many; further ones wait. Heartbeats and looks at the
    /// server's health are free.
    pub requests_per_second: Option<NonZeroU32>,
}

/// What stands between a client and its hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    #[default]
    None,
    /// The proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY` and so on). A proxy on the way to
    /// an `http://` host sees the token and the values.
    Environment,
}

/// Why a client cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A host is not an origin of `http` or `https`, or there is none.
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

impl ClientConfig {
    /// The token as it is sent.
    pub(super) fn bare_token(&self) -> &str {
        self.token.expose_secret().trim()
    }

    /// The hosts as they stand in errors and URLs, without a slash at the end, each once.
    pub(super) fn origins(&self) -> Result<Vec<Arc<str>>, BuildError> {
        let mut origins = Vec::new();
        for host in &self.hosts {
            let origin: Arc<str> = origin(host)?.origin().ascii_serialization().into();
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Ok(origins)
    }

    /// What sends the requests, to whichever host.
    pub(super) fn http(&self) -> Result<reqwest::Client, BuildError> {
        if CryptoProvider::get_default().is_none() {
            return Err(BuildError::Tls); // reqwest would panic.
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(self.bare_token())?)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            // A connection that hangs goes with its call. One of HTTP/2 would stay and take the next calls, too.
            .http1_only()
            .pool_max_idle_per_host(self.concurrency.max(1))
            .connect_timeout(self.connect_timeout)
            .timeout(self.call_timeout);
        builder = match self.proxy {
            Proxy::None => builder.no_proxy(),
            Proxy::Environment => builder,
        };
        if let Some(pem) = &self.ca_pem {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|_| BuildError::Ca)?;
            if certificates.is_empty() {
                return Err(BuildError::Ca);
            }
            builder = builder.tls_certs_only(certificates);
        } else if self.origins()?.iter().all(|origin| origin.starts_with("http://")) {
            builder = builder.tls_certs_only([]); // Needs no authorities, and an image may have none.
        }
        let unusable = if self.ca_pem.is_some() { BuildError::Ca } else { BuildError::Tls };
        builder.build().map_err(|_| unusable)
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

pub(super) fn headers(token: &str) -> Result<HeaderMap, BuildError> {
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

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("ca_pem", &self.ca_pem.as_ref().map(Vec::len))
            .field("proxy", &self.proxy)
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("retries", &self.retries)
            .field("cool_down", &self.cool_down)
            .field("item_body_limit", &self.item_body_limit)
            .field("file_body_limit", &self.file_body_limit)
            .field("list_limits", &self.list_limits)
            .field("concurrency", &self.concurrency)
            .field("requests_per_second", &self.requests_per_second)
            .finish_non_exhaustive() // The token, and the hosts, which may hold a password until they are checked.
    }
}
