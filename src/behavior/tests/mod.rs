//! Detectors on histories that are made here, and what holds of all of them.

mod appearance;
mod bursts;
mod given;
mod habits;
mod properties;
mod reading_back;
mod vaults;
