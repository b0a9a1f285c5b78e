//! One actor a server: it polls what changed, keeps which items there are, and resolves names to ids.
//! Names and versions only; a value is never here.

mod actor;
mod gone;
mod server;
mod snapshot;
mod trouble;
mod view;

pub use gone::GoneVault;
pub use server::{ActorConfig, InUse, Server};
pub use snapshot::{Found, ListedItem, Listing, Snapshot, Unresolved, VaultEntry};
pub use trouble::Trouble;
pub use view::{Health, News, View};
