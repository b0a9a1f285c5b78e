//! Attacks on an operator like this one, each with the test that proves it is stopped.

mod claims;
mod policies;
mod rules;
mod spellings;
mod tags;
