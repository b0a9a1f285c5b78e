//! What is usual for a namespace, and what is not. Pure: no clock, no client, no file.
//!
//! An [`Attempt`] is the first decision on a UID and spec of a request. [`Profiles::look`] says what is unusual
//! about it ([`Anomaly`]) and what policy may know of the past ([`History`]), and changes nothing;
//! [`Profiles::note`] takes in what was decided; [`Profiles::weigh`] is both around a decision. A refresh is no
//! attempt.
//!
//! Only what was granted becomes familiar. And what was granted is no news: most detectors look at the items of
//! an attempt that its namespace never had, so that a request that is made again, on a new node or after a
//! restore, is not held against anybody.

mod anomaly;
mod attempt;
mod bounds;
mod consumers;
mod decay;
mod detectors;
mod history;
mod limits;
mod note;
mod profile;
mod profiles;
mod sight;
mod vaults;
mod weigh;

pub use anomaly::{Anomaly, Detector};
pub use attempt::{Attempt, AttemptedItem, Installation, NotedOutcome, Seen};
pub use history::History;
pub use limits::Limits;
pub use profile::Profile;
pub use profiles::Profiles;
pub use weigh::{Look, Noted};

#[cfg(test)]
mod tests;
