//! Attacks on an operator like this one, each with the test that proves it is stopped.

mod between;
mod claims;
mod everyone;
mod foreign;
mod hosts;
mod looks;
mod noisy;
mod policies;
mod recreated;
mod revoked;
mod rules;
mod spellings;
mod tags;
