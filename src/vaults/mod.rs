//! One actor a server: it polls what changed, keeps which items there are, and resolves names to ids.
//! Names and versions only; a value is never here.

mod actor;
mod listing;
mod server;
mod snapshot;
mod view;

pub use listing::{ListedItem, Listing};
pub use server::{ActorConfig, InUse, Server};
pub use snapshot::{Found, GoneVault, Snapshot, Unresolved, VaultEntry};
pub use view::{Health, News, Trouble, View};
