//! What people do with credentials, and what thieves do, as attempts that behaviour is judged by.
//!
//! Nothing here is random twice: a seed gives the same attempts each time. [`Month`] is an ordinary one, with its
//! new applications, its rotation, its migration and its failed nodes; [`Attack`] is a dump of a vault of 200
//! items, split in the ways that somebody would split it who does not want to be seen.

mod attack;
mod month;
mod random;
mod site;

pub use attack::{Attack, Loot, TARGET_ITEMS};
pub use month::Month;
pub use site::{Site, Tally};
