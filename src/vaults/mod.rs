//! One actor a server: it polls what changed, keeps which items there are, and resolves names to ids.
//! Names and versions only; a value is never here.

mod actor;
mod snapshot;

pub use actor::{ActorConfig, Health, News, Server, Trouble, View};
pub use snapshot::{Found, ListedItem, Listing, Snapshot, Unresolved, VaultEntry};
