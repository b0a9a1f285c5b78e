//! One actor a server: it polls what changed, keeps which items there are, and resolves names to ids.
//! Names and versions only; a value is never here.

mod actor;
mod snapshot;
mod view;

pub use actor::{ActorConfig, InUse, Server};
pub use snapshot::{Found, ListedItem, Listing, Snapshot, Unresolved, VaultEntry};
pub use view::{Health, News, Trouble, View};
