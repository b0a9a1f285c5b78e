//! A development server that speaks the reading half of 1Password Connect's REST API, with faults on demand.
//!
//! ```
//! # fn main() -> anyhow::Result<()> {
//! use connect_dev::{ConnectDev, ItemSpec, StateSpec};
//!
//! let item = ItemSpec::new("orders-db").field("username", "orders").field("password", "s3cret");
//! let server = ConnectDev::start(StateSpec::default().token("t", &["*"]).vault("services", vec![item]))?;
//! server.set_field("services", "orders-db", "password", "n3w")?;
//! println!("{}", server.url());
//! # Ok(())
//! # }
//! ```
//!
//! - `spec`: the YAML of a state file. `state` and `item`: what it becomes, how it changes, how versions move.
//! - `routes`, `filter`, `token`, `ids`: the API as clients meet it.
//! - `faults`, `requests`: what goes wrong on demand, and what was asked.
//! - `admin`: the second port, to do from a shell what the handle does from a test.
//! - `listener`: the thread and the sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

mod admin;
mod faults;
mod filter;
mod ids;
mod item;
mod listener;
mod requests;
mod routes;
mod shared;
mod spec;
mod state;
mod token;

pub use faults::{FaultId, FaultKind, FaultSpec, RouteMatch};
pub use item::retired_value;
pub use requests::{LOG_LIMIT, RequestCounts, RequestRecord};
pub use spec::{FieldSpec, ItemSpec, SectionSpec, StateSpec, TokenSpec, VaultSpec};
pub use token::fake_token;

use listener::Listener;
use shared::Core;
use state::State;

/// A running server. It has a thread of its own, so that no runtime is needed to start it, and ends when dropped.
///
/// Vaults and items are named by name, title or id; where several have one name, the oldest is meant.
pub struct ConnectDev {
    core: Arc<Core>,
    api: SocketAddr,
    admin: Option<SocketAddr>,
    running: Mutex<Vec<Listener>>,
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
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), None, spec)
    }

    /// Starts on an address, and on another for the admin API. Port 0 is any free one.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for it afterwards")]
    pub fn start_on(
        api: SocketAddr,
        admin: Option<SocketAddr>,
        spec: StateSpec,
    ) -> anyhow::Result<Self> {
        let core = Arc::new(Core::new(State::new(&spec)?));
        let server = Self { core, api, admin, running: Mutex::default() };
        let (api, admin) = server.listen()?;
        Ok(Self { api, admin, ..server })
    }

    fn running(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) -> anyhow::Result<(SocketAddr, Option<SocketAddr>)> {
        let mut running = self.running();
        let api = Listener::start(self.api, routes::router(self.core.clone()))
            .with_context(|| format!("cannot listen on {}", self.api))?;
        let admin = self.admin.map(|at| {
            Listener::start(at, admin::router(self.core.clone()))
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

    /// Where the API is: `http://127.0.0.1:<port>`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
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

    /// Makes the state what a specification says: what is not in it goes, what stays keeps its id, and versions
    /// move of what differs.
    pub fn apply(&self, spec: &StateSpec) -> anyhow::Result<()> {
        self.core.state().apply(spec)
    }

    /// The id of a vault.
    #[must_use]
    pub fn vault_id(&self, vault: &str) -> Option<String> {
        self.core.state().vault(vault).ok().map(|v| v.id.clone())
    }

    /// The id of an item.
    #[must_use]
    pub fn item_id(&self, vault: &str, item: &str) -> Option<String> {
        self.core.state().vault(vault).ok().and_then(|v| v.item_id(item).map(str::to_owned))
    }

    /// The version of an item.
    #[must_use]
    pub fn item_version(&self, vault: &str, item: &str) -> Option<u64> {
        let state = self.core.state();
        let vault = state.vault(vault).ok()?;
        vault.items.get(vault.item_id(item)?).map(|i| i.version)
    }

    /// Sets the value of the first field with this label (or id), or adds such a field.
    pub fn set_field(
        &self,
        vault: &str,
        item: &str,
        label: &str,
        value: &str,
    ) -> anyhow::Result<()> {
        let set = |i: &mut item::Item| {
            i.set_field(label, value);
            Ok(())
        };
        self.core.state().change_item(vault, item, set)
    }

    /// Removes the first field with this label (or id).
    pub fn remove_field(&self, vault: &str, item: &str, label: &str) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| i.remove_field(label))
    }

    /// Gives the first field with this label (or id) another label.
    pub fn rename_field(
        &self,
        vault: &str,
        item: &str,
        label: &str,
        new: &str,
    ) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| i.rename_field(label, new))
    }

    /// Adds an item; its id. One made again under an old title has a new id.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for it afterwards")]
    pub fn add_item(&self, vault: &str, spec: ItemSpec) -> anyhow::Result<String> {
        self.core.state().add_item(vault, &spec)
    }

    /// Gives an item another title. Its id stays.
    pub fn rename_item(&self, vault: &str, item: &str, title: &str) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            title.clone_into(&mut i.title);
            Ok(())
        })
    }

    /// Replaces an item's tags.
    pub fn set_tags(&self, vault: &str, item: &str, tags: &[&str]) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            i.tags = tags.iter().map(|&t| t.to_owned()).collect();
            Ok(())
        })
    }

    /// Archives an item: it stays readable, with `state: ARCHIVED`.
    pub fn archive_item(&self, vault: &str, item: &str) -> anyhow::Result<()> {
        self.set_state(vault, item, Some("ARCHIVED"))
    }

    /// Brings an archived item back.
    pub fn restore_item(&self, vault: &str, item: &str) -> anyhow::Result<()> {
        self.set_state(vault, item, None)
    }

    fn set_state(&self, vault: &str, item: &str, state: Option<&str>) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            i.state = state.map(str::to_owned);
            Ok(())
        })
    }

    /// Deletes an item: it is not found from now on.
    pub fn delete_item(&self, vault: &str, item: &str) -> anyhow::Result<()> {
        self.core.state().remove_item(vault, item)
    }

    /// Adds an empty vault; its id. A token that named it before now opens it.
    pub fn add_vault(&self, name: &str) -> anyhow::Result<String> {
        self.core.state().add_vault(&VaultSpec::new(name))
    }

    /// Gives a vault another name. Its id stays, and tokens open it as before.
    pub fn rename_vault(&self, vault: &str, name: &str) -> anyhow::Result<()> {
        self.core.state().rename_vault(vault, name)
    }

    /// Deletes a vault with all that is in it. It answers 403 from now on.
    pub fn delete_vault(&self, vault: &str) -> anyhow::Result<()> {
        self.core.state().remove_vault(vault)
    }

    /// Accepts a token, for vaults by name or id, or `*`.
    pub fn add_token(&self, token: &str, vaults: &[&str]) {
        let vaults = vaults.iter().map(|&v| v.to_owned()).collect();
        self.core.state().add_token(&TokenSpec { token: token.to_owned(), vaults });
    }

    /// Changes what a token opens, which real Connect cannot: there, a new token is needed.
    pub fn set_token_scope(&self, token: &str, vaults: &[&str]) {
        self.add_token(token, vaults);
    }

    /// Refuses a token from now on; whether it was known.
    pub fn revoke_token(&self, token: &str) -> bool {
        self.core.state().revoke_token(token)
    }

    /// What was asked until now.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.core.requests().counts()
    }

    /// Forgets what was asked.
    pub fn reset_requests(&self) {
        self.core.requests().reset();
    }

    /// Injects a fault, until it is cleared or used up.
    pub fn fault(&self, spec: FaultSpec) -> FaultId {
        self.core.faults().add(spec)
    }

    /// Ends a fault; whether it was still there. A request that hangs goes on hanging.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.core.faults().clear(id)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.core.faults().clear_all();
    }
}
