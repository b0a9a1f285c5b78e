//! What went wrong in a call to Connect, in our own words: never those of an answer, of serde or of
//! reqwest, which may hold values or addresses.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::api::Reason;
use crate::policy::ItemIdentity;

/// A call to Connect that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {subject}: {failure}")]
pub struct ConnectError {
    host: Arc<str>,
    subject: Subject,
    failure: Failure,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The list of vaults.
    Vaults,
    /// The items of a vault, by its id.
    Items(Arc<str>),
    /// One item.
    Item(ItemIdentity),
}

/// Why a call gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer, or only a part of one.
    #[error("no answer: {0}")]
    NoAnswer(Cause),
    /// A status that says nothing about what was asked: 5xx, 429, a redirect, anything unknown.
    #[error("the answer was status {code}")]
    Status {
        /// The status.
        code: u16,
        /// The answer's `Retry-After`, an hour at most.
        retry_after: Option<Duration>,
    },
    /// The answer's type is not JSON: a proxy or another server answered.
    #[error("the answer is not JSON; is the address that of a Connect server?")]
    NotJson,
    /// The answer is JSON that Connect does not give.
    #[error("the answer is not as Connect's; is the address that of a Connect server?")]
    NotConnect,
    /// The answer is longer than this many bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// 401, whoever sent it.
    #[error("the token was rejected (401)")]
    Unauthorized,
    /// 403, whoever sent it. Connect answers so for a vault that does not exist, too.
    #[error("the token has no access (403)")]
    Forbidden,
    /// A 404 in JSON, or an item that is archived or deleted. A 404 of another type comes from a proxy
    /// or a router and is [`NotJson`](Self::NotJson).
    #[error("not found (404, archived or deleted)")]
    NotFound,
    /// 400.
    #[error("the call was refused as invalid (400)")]
    BadRequest,
    /// An id that Connect does not give. Nothing was sent.
    #[error("the id is not of the form that Connect gives")]
    BadId,
    /// The answer is about another item or vault than what was asked for.
    #[error("the answer is about something other than what was asked for")]
    WrongItem,
    /// The item was renamed since it was listed: its title, which was decided on, is another one now.
    #[error("the item was renamed since it was listed")]
    Moved,
}

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Connect cannot be asked just now: what was fetched before may serve.
    Unavailable,
    /// Connect says no. Believed only after a while, and nothing falls back meanwhile.
    Refused,
    /// NotFound.
    NotFound,
    /// The call or its answer is wrong, and asking again gives the same.
    Invalid,
    /// What is known of the item is out of date: list the vault, resolve and decide again.
    Moved,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Connecting, or the call as a whole, took too long.
    TimedOut,
    /// The host's name has no address.
    NameNotFound,
    /// Nothing listens.
    Refused,
    /// The other side broke the connection off.
    Reset,
    /// There is no way to the host.
    Unreachable,
    /// No TLS: a certificate that is not trusted, or a server without TLS.
    Tls,
    /// Anything else, such as a connection that was closed in the middle or does not speak HTTP.
    Broken,
}

impl ConnectError {
    pub(super) fn new(host: &Arc<str>, subject: Subject, failure: Failure) -> Self {
        Self { host: Arc::clone(host), subject, failure }
    }

    /// Why the call gave nothing.
    #[must_use]
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// What the failure means for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        self.failure.class()
    }

    /// How long the server asks to be left alone, an hour at most.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.failure {
            Failure::Status { retry_after, .. } => retry_after,
            _ => None,
        }
    }

    /// The reason for a condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.failure {
            Failure::NoAnswer(_)
            | Failure::Status { .. }
            | Failure::NotJson
            | Failure::NotConnect
            | Failure::TooLarge(_) => Reason::ConnectUnavailable,
            Failure::Unauthorized => Reason::TokenRejected,
            Failure::Forbidden => Reason::AccessDenied,
            Failure::NotFound => match self.subject {
                Subject::Item(_) => Reason::ItemNotFound,
                Subject::Vaults | Subject::Items(_) => Reason::VaultNotFound,
            },
            Failure::BadRequest | Failure::BadId | Failure::WrongItem | Failure::Moved => {
                Reason::InvalidResponse
            }
        }
    }
}

impl Failure {
    /// What the failure means for the caller.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::NoAnswer(_)
            | Self::Status { .. }
            | Self::NotJson
            | Self::NotConnect
            | Self::TooLarge(_) => Class::Unavailable,
            Self::Unauthorized | Self::Forbidden => Class::Refused,
            Self::NotFound => Class::NotFound,
            Self::BadRequest | Self::BadId | Self::WrongItem => Class::Invalid,
            Self::Moved => Class::Moved,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are quoted with their control characters escaped: others chose them.
        match self {
            Self::Vaults => f.write_str("the list of vaults"),
            Self::Items(vault) => write!(f, "the items of vault {vault}"),
            Self::Item(item) => {
                write!(f, "item {:?} ({}) of vault {:?}", item.title, item.item_id, item.vault_name)
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "timed out",
            Self::NameNotFound => "name not found",
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::Unreachable => "unreachable",
            Self::Tls => "TLS",
            Self::Broken => "connection broken",
        })
    }
}

impl From<&reqwest::Error> for Cause {
    fn from(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        if error.is_dns() {
            return Self::NameNotFound;
        }
        std::iter::successors(error.source(), |&e| e.source())
            .find_map(Self::of)
            .unwrap_or(Self::Broken)
    }
}

impl Cause {
    /// The cause, as far as one link of a chain of errors tells it.
    fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        if error.is::<rustls::Error>() {
            return Some(Self::Tls);
        }
        let error = error.downcast_ref::<io::Error>()?;
        match error.kind() {
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Some(Self::Reset),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Some(Self::Unreachable)
            }
            // The source of an `io::Error` is that of the error in it, which it skips.
            _ => Self::of(error.get_ref()?),
        }
    }
}
