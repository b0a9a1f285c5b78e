//! One actor a server: it polls what changed, keeps which items there are, and resolves names to ids.
//! Names and versions only; a value is never here.

mod actor;
mod gone;
mod listing;
mod lists;
mod server;
mod snapshot;
mod trouble;
mod view;

pub use gone::GoneVault;
pub use listing::{ListedItem, Listing};
pub use server::{ActorConfig, InUse, Server};
pub use snapshot::{Found, Snapshot, Unresolved, VaultEntry};
pub use trouble::Trouble;
pub use view::{Health, News, View};
