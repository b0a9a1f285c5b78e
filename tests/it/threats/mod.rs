//! Attacks on an operator like this one, each with the test that proves it is stopped.

mod between;
mod claims;
mod foreign;
mod hosts;
mod policies;
mod recreated;
mod rules;
mod spellings;
mod tags;
