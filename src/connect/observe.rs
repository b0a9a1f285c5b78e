//! What a client tells of its calls, to whoever counts them.

use std::time::Duration;

use super::breaker::BreakerState;
use super::error::{Cause, Failure};

/// Told of every request that a client sends. Called in the middle of a call: must not block.
pub trait Observer: Send + Sync {
    /// A request has ended, with whatever came of it.
    fn called(&self, call: &Call<'_>);

    /// The breaker of a host is in another state. Told once for every host when the client is built, too.
    fn breaker_moved(&self, host: &str, state: BreakerState);
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn called(&self, _call: &Call<'_>) {}

    fn breaker_moved(&self, _host: &str, _state: BreakerState) {}
}

/// A request that has ended. One call of the client may send several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// What was asked for.
    pub operation: Operation,
    /// What came of it, of a closed set: `2xx`, a status that means something here (`401`), the class of
    /// any other (`5xx`), or why there was no answer of Connect's (`timeout`, `not-json`).
    pub code: &'static str,
    /// From before the request was sent to the end of its answer.
    pub took: Duration,
    /// The origin that was asked.
    pub host: &'a str,
    /// Which request of its call it was, from 1. Heartbeats are not counted with the others.
    pub attempt: u32,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The list of vaults.
    Vaults,
    /// One vault.
    Vault,
    /// The list of a vault's items.
    Items,
    /// One item with its values.
    Item,
    /// The content of a file.
    File,
    /// What the server says of itself.
    Health,
    /// Whether the server is there at all.
    Heartbeat,
}

impl Operation {
    /// The operation as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vaults => "vaults",
            Self::Vault => "vault",
            Self::Items => "items",
            Self::Item => "item",
            Self::File => "file",
            Self::Health => "health",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// [`Call::code`] of what came of a request.
pub(super) fn code(failure: Option<Failure>) -> &'static str {
    let Some(failure) = failure else { return "2xx" };
    match failure {
        Failure::NoAnswer(cause) => match cause {
            Cause::TimedOut => "timeout",
            Cause::NameNotFound => "name-not-found",
            Cause::Refused => "refused-connection",
            Cause::Reset => "reset",
            Cause::Unreachable => "unreachable",
            Cause::Certificate(_) | Cause::Tls => "tls",
            Cause::Broken => "broken",
        },
        Failure::Status { code: 429, .. } => "429",
        Failure::Status { code: 200..=299, .. } => "2xx",
        Failure::Status { code: 300..=399, .. } => "3xx",
        Failure::Status { code: 400..=499, .. } => "4xx",
        Failure::Status { .. } => "5xx",
        Failure::NotJson => "not-json",
        Failure::NotConnect => "not-connect",
        Failure::TooLarge(_)
        | Failure::EntryTooLarge(_)
        | Failure::TooMany(_)
        | Failure::FileTooLarge(_) => "too-large",
        Failure::Unauthorized => "401",
        Failure::Forbidden => "403",
        Failure::NotFound => "404",
        Failure::BadRequest => "400",
        Failure::NotSendable => "413",
        Failure::WrongItem | Failure::Repeated | Failure::Moved => "wrong-answer",
        Failure::BadId | Failure::Paused { .. } | Failure::Open { .. } | Failure::Throttled => {
            "not-sent"
        }
    }
}
