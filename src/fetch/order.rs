use std::sync::Arc;

use super::Staleness;
use crate::api::ConnectServerSpec;
use crate::policy::Grant;
use crate::vaults::{Server, Trouble};

/// What is wanted, and what it takes.
pub struct Order<'g> {
    /// The grant.
    pub grant: &'g Arc<Grant>,
    /// Where the values are.
    pub server: &'g Server,
    /// What is configured of it.
    pub spec: &'g ConnectServerSpec,
    /// Whether Connect is asked.
    pub reach: Reach<'g>,
    /// Whether what stands in for values may serve, and from where.
    pub fallback: Fallback<'g>,
    /// How long a cached value may serve in an outage as far as server and request say.
    pub staleness: Staleness,
}

/// Whether Connect is asked.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'g> {
    /// For what is not kept and current.
    Ask,
    /// The same, and nobody waits for it.
    Ahead,
    /// For everything: somebody wants to be sure.
    Revalidate,
    /// Not at all: it is known not to answer.
    Down(&'g Trouble),
}

/// Whether what stands in for values may serve.
#[derive(Clone, Copy, Debug)]
pub enum Fallback<'g> {
    /// No, and nor may what is kept: 1Password refused it the last time that it could be asked.
    Refused,
    /// No: there is a Secret, which stays as it is.
    HasSecret,
    /// There is none: the request's fallback Secret, if it names one, and the server's variables.
    Secretless {
        /// The fallback Secret's name.
        secret: Option<&'g str>,
    },
}
