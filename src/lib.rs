//! Portcullis decides on requests for credentials, fetches the values from 1Password Connect, writes
//! Kubernetes Secrets, and records who got what and why. **No credential leaves 1Password without a
//! decision, and every decision can be read.**
//!
//! The modules, in the order in which a request passes them:
//!
//! - [`api`]: the custom resources, their conditions and reasons. No I/O.
//! - [`index`]: watch events folded into compact state, and the reverse maps that say whom a change
//!   concerns.
//! - [`controller`]: the queue, the facts, the path of a reconcile, and the tasks beside it: servers,
//!   policies, readiness.
//! - [`reference`](mod@reference): the grammar of `op://`, and the one rule on case. Pure.
//! - [`vaults`]: an actor a server, which polls what changed and resolves names to ids.
//! - [`policy`]: facts → score → decision. Makes the [`Grant`](policy::Grant) that everything after it
//!   demands. Pure.
//! - [`behavior`]: what is usual for a namespace, and what about an attempt is not. Pure.
//! - [`connect`]: the REST client for 1Password Connect, and what can go wrong with it.
//! - [`cache`]: values that were fetched, sealed, with how long they serve. No network.
//! - [`fetch`]: values for a grant: from the cache, from Connect, or in an outage from what may stand in.
//! - [`render`]: values → the data of a Secret. Pure.
//! - [`secret`]: whose a Secret is, and how it is written so that no other is touched.
//! - [`status`]: conditions and history, the one status write, Events.
//! - [`audit`]: a record for each decision and each change, chained; what proves the records and sums them up.
//!
//! Beside them: [`plan`], what would be decided without an operator. Pure.
//!
//! Around them: [`leader`], which of several replicas works; [`kube_io`], the one client that writes; [`settings`], every interval and limit;
//! [`telemetry`], logs and metrics; [`server`], probes and metrics over HTTP; [`cli`], the command line.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod api;
pub mod audit;
pub mod behavior;
pub mod cache;
pub mod cli;
pub mod connect;
pub mod controller;
pub mod fetch;
pub mod index;
pub mod kube_io;
pub mod leader;
pub mod plan;
pub mod policy;
pub mod reference;
pub mod render;
pub mod secret;
pub mod server;
pub mod settings;
pub mod status;
pub mod telemetry;
pub mod vaults;
