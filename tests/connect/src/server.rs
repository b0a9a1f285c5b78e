//! The handle of a running server, and its life.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};

use crate::admin;
use crate::listener::Listener;
use crate::shared::Core;
use crate::spec::StateSpec;
use crate::state::State;
use crate::tls::Authority;

/// A running server. It has a thread of its own, so that no runtime is needed to start it, and ends when dropped.
///
/// Vaults and items are named by name, title or id; where several have one name, the oldest is meant.
pub struct ConnectDev {
    pub(crate) core: Arc<Core>,
    api: SocketAddr,
    admin: Option<SocketAddr>,
    transport: Transport,
    running: Mutex<Vec<Listener>>,
}

/// How clients reach the API.
enum Transport {
    Http,
    Https(Mutex<Authority>),
}

impl std::fmt::Debug for ConnectDev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectDev")
            .field("api", &self.api)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

impl ConnectDev {
    /// Starts on a free port of 127.0.0.1, without an admin port.
    pub fn start(spec: StateSpec) -> anyhow::Result<Self> {
        Self::start_on(free_port(), None, spec)
    }

    /// Starts on an address, and on another for the admin API. Port 0 is any free one.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for it afterwards")]
    pub fn start_on(
        api: SocketAddr,
        admin: Option<SocketAddr>,
        spec: StateSpec,
    ) -> anyhow::Result<Self> {
        Self::run(Core::of(&spec)?, api, admin, Transport::Http)
    }

    /// Starts as [`Self::start`] does, with https alone: its certificate, for 127.0.0.1 and `localhost`, is signed by
    /// an authority made just now, which [`Self::ca_pem`] gives.
    pub fn start_tls(spec: StateSpec) -> anyhow::Result<Self> {
        Self::start_tls_on(free_port(), None, spec)
    }

    /// Starts as [`Self::start_on`] does, with https as [`Self::start_tls`] has it. The admin API stays http.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for it afterwards")]
    pub fn start_tls_on(
        api: SocketAddr,
        admin: Option<SocketAddr>,
        spec: StateSpec,
    ) -> anyhow::Result<Self> {
        let transport = Transport::Https(Mutex::new(Authority::new()?));
        Self::run(Core::of(&spec)?, api, admin, transport)
    }

    /// Starts as [`Self::start_tls_on`] does, with a certificate and its key, in PEM, that somebody else has made.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for it afterwards")]
    pub fn start_tls_with(
        api: SocketAddr,
        admin: Option<SocketAddr>,
        spec: StateSpec,
        (cert, key): (&str, &str),
    ) -> anyhow::Result<Self> {
        let transport = Transport::Https(Mutex::new(Authority::of(cert, key)?));
        Self::run(Core::of(&spec)?, api, admin, transport)
    }

    /// Starts a second server of the same account on a free port: tokens, vaults, items and what it says of itself
    /// are as they are here now, and go their own way from now on, as those of a host that lags behind. Requests and
    /// faults are its own; of a server with TLS it has the authority too. [`Self::sync_from`] lets it catch up.
    pub fn replica(&self) -> anyhow::Result<Self> {
        let core = Core::new(self.core.state().clone(), self.core.presence().clone());
        let transport = match &self.transport {
            Transport::Http => Transport::Http,
            Transport::Https(authority) => Transport::Https(Mutex::new(lock(authority).clone())),
        };
        Self::run(core, free_port(), None, transport)
    }

    /// Takes over the tokens, vaults and items of another server as they are now.
    pub fn sync_from(&self, other: &Self) {
        let state = other.core.state().clone();
        *self.core.state() = state;
    }

    fn run(
        core: Core,
        api: SocketAddr,
        admin: Option<SocketAddr>,
        transport: Transport,
    ) -> anyhow::Result<Self> {
        let running = Mutex::default();
        let server = Self { core: Arc::new(core), api, admin, transport, running };
        let (api, admin) = server.listen()?;
        Ok(Self { api, admin, ..server })
    }

    fn running(&self) -> MutexGuard<'_, Vec<Listener>> {
        lock(&self.running)
    }

    fn listen(&self) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
        let mut running = self.running();
        let authority = match &self.transport {
            Transport::Http => None,
            Transport::Https(authority) => Some(lock(authority)),
        };
        let api = Listener::api(self.api, self.core.clone(), authority.as_deref())
            .with_context(|| format!("cannot listen on {}", self.api))?;
        let admin = self.admin.map(|at| {
            Listener::admin(at, admin::router(self.core.clone()))
                .with_context(|| format!("cannot listen on {at}"))
        });
        let admin = admin.transpose()?;
        let addresses = (api.address, admin.as_ref().map(|l| l.address));
        *running = std::iter::once(api).chain(admin).collect();
        Ok(addresses)
    }

    /// Stops listening, closes all connections and frees the ports. The state stays, for [`Self::restart`].
    pub fn stop(&self) {
        self.running().clear();
    }

    /// Listens again on the same ports after [`Self::stop`], with the same state, faults and counts.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop();
        self.listen().map(|_| ())
    }

    /// The certificate, in PEM, of the authority that signed this server's; none of a server without TLS,
    /// or with a certificate that it was given.
    #[must_use]
    pub fn ca_pem(&self) -> Option<String> {
        match &self.transport {
            Transport::Http => None,
            Transport::Https(authority) => lock(authority).pem.clone(),
        }
    }

    /// Makes a new authority and a new certificate. All connections are closed; a server that was stopped stays so.
    /// An error for a server without TLS.
    pub fn replace_ca(&self) -> anyhow::Result<()> {
        let Transport::Https(authority) = &self.transport else {
            bail!("this server has no TLS");
        };
        *lock(authority) = Authority::new()?;
        if self.running().is_empty() {
            return Ok(());
        }
        self.restart()
    }

    /// Where the API is: `http://127.0.0.1:<port>`, or `https://…` with TLS, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.transport {
            Transport::Http => format!("http://{}", self.api),
            Transport::Https(_) => format!("https://{}", self.api),
        }
    }

    /// Where the API listens, also while stopped.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.api
    }

    /// Where the admin API is, if it was asked for.
    #[must_use]
    pub fn admin_url(&self) -> Option<String> {
        self.admin.map(|at| format!("http://{at}"))
    }

    /// The file that the admin API's `PUT /state` reads when it comes without a body.
    pub fn set_state_file(&self, path: impl Into<std::path::PathBuf>) {
        *self.core.file() = Some(path.into());
    }
}

impl Core {
    fn of(spec: &StateSpec) -> anyhow::Result<Self> {
        Ok(Self::new(State::new(spec)?, crate::health::Presence::default()))
    }
}

fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
