//! A development server that speaks 1Password Connect's REST API, with faults on demand.
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
//! - `server` and `changes`: the handle, [`ConnectDev`]: a server's life, and what moves while it runs.
//! - `api`, `filter`, `token`, `ids`: the API as clients meet it.
//! - `health`, `activity`, `metrics`: what a server says of itself and of its clients.
//! - `faults`, `requests`: what goes wrong on demand, and what was asked.
//! - `admin`: the second port, to do from a shell what the handle does from a test.
//! - `listener`, `connection`, `tls`: the thread, the sockets and the certificates.

mod activity;
mod admin;
mod api;
mod changes;
mod connection;
mod faults;
mod filter;
mod health;
mod ids;
mod item;
mod listener;
mod metrics;
mod requests;
mod server;
mod shared;
mod spec;
mod state;
mod tls;
mod token;

pub use faults::{FaultId, FaultKind, FaultSpec, RouteMatch};
pub use health::{ContentVersions, DEFAULT_VERSION, Health};
pub use item::retired_value;
pub use requests::{LOG_LIMIT, RequestCounts, RequestRecord};
pub use server::ConnectDev;
pub use spec::{FieldSpec, FileSpec, ItemSpec, SectionSpec, StateSpec, TokenSpec, VaultSpec};
pub use tls::Certificate;
pub use token::{Access, FakeToken, fake_token};
