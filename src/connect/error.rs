//! What went wrong in a call to Connect, in our own words: never those of an answer, of serde or of
//! reqwest, which may hold values or addresses.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rustls::CertificateError;

use crate::api::Reason;
use crate::policy::ItemIdentity;

/// A call to Connect that gave nothing. The host is the one whose answer, or silence, was the last.
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
    /// One vault, by its id.
    Vault(Arc<str>),
    /// The items of a vault, by its id.
    Items(Arc<str>),
    /// One item.
    Item(ItemIdentity),
    /// The content of a file of an item, by the file's id.
    File(ItemIdentity, Arc<str>),
    /// What the server says of itself.
    Health,
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
        /// The answer's `Retry-After`, five minutes at most.
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
    /// An entry of a list is longer than this many bytes.
    #[error("an entry of the list is larger than {0} bytes")]
    EntryTooLarge(usize),
    /// A list has more than this many entries.
    #[error("the list has more than {0} entries")]
    TooMany(usize),
    /// The server asked, by an earlier answer, to be left alone. Nothing was sent.
    #[error("not asked: it wants to be left alone until {}", time(*until))]
    Paused {
        /// Until when; five minutes ahead at most.
        until: DateTime<Utc>,
    },
    /// The host's breaker is open. Nothing was sent.
    #[error("not asked: it has been down since {}, and is looked at about once a minute", time(*since))]
    Open {
        /// When the breaker opened.
        since: DateTime<Utc>,
    },
    /// Too many calls wait for the rate that the server may be asked at. Nothing was sent.
    #[error("not asked: too many calls wait for the limit on requests per second")]
    Throttled,
    /// A 401 of Connect: in JSON, or with its version header. Any other is of something before it, and an outage.
    #[error("the token was rejected (401)")]
    Unauthorized,
    /// The same for 403. Connect answers so for a vault that does not exist, too.
    #[error("the token has no access (403)")]
    Forbidden,
    /// A 404 in JSON, or an item that is archived or deleted. A 404 of another type comes from a proxy
    /// or a router and is [`NotJson`](Self::NotJson).
    #[error("not found (404, archived or deleted)")]
    NotFound,
    /// 400.
    #[error("the call was refused as invalid (400)")]
    BadRequest,
    /// 413.
    #[error("the server finds it too large to send (413)")]
    NotSendable,
    /// A file is longer than this many bytes.
    #[error("the file is larger than {0} bytes, which no Secret holds")]
    FileTooLarge(usize),
    /// An id that Connect does not give. Nothing was sent.
    #[error("the id is not of the form that Connect gives")]
    BadId,
    /// The answer is about another item or vault than what was asked for.
    #[error("the answer is about something other than what was asked for")]
    WrongItem,
    /// A list has the same id twice.
    #[error("the list has something in it twice")]
    Repeated,
    /// The item was renamed since it was listed: its title, which was decided on, is another one now.
    #[error("the item was renamed since it was listed")]
    Moved,
}

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Connect cannot be asked just now: what was fetched before may serve.
    Unavailable,
    /// The call waited too long for its turn under a limit of ours: that is no outage, and says nothing of
    /// the server. Ask again later.
    Throttled,
    /// Connect says no (401, 403). Believed only after a while, and nothing falls back meanwhile.
    Refused,
    /// Connect says that there is no such thing (404, archived). Believed as late as a refusal.
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
    /// A certificate that is not trusted.
    Certificate(Flaw),
    /// No TLS: a server without, or one that speaks it otherwise.
    Tls,
    /// Anything else, such as a connection that was closed in the middle or does not speak HTTP.
    Broken,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// An authority signed it that is not among those that are trusted.
    UnknownAuthority,
    /// It is for another name.
    OtherName,
    /// It has expired, or is not valid yet.
    Expired,
    /// It is the certificate of an authority, which a server must not show as its own.
    OfAuthority,
    /// Anything else.
    Other,
}

impl ConnectError {
    pub(crate) fn new(host: &Arc<str>, subject: Subject, failure: Failure) -> Self {
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

    /// The origin that the failure comes from.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How long, from now, the server asks to be left alone; five minutes at most.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.failure {
            Failure::Status { retry_after, .. } => retry_after,
            Failure::Paused { until } => Some((until - Utc::now()).to_std().unwrap_or_default()),
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
            | Failure::Paused { .. }
            | Failure::Open { .. }
            | Failure::Throttled => Reason::ConnectUnavailable,
            Failure::Unauthorized => Reason::TokenRejected,
            Failure::Forbidden => Reason::AccessDenied,
            Failure::NotFound => match self.subject {
                Subject::Item(_) | Subject::File(..) => Reason::ItemNotFound,
                Subject::Vaults | Subject::Vault(_) | Subject::Items(_) | Subject::Health => {
                    Reason::VaultNotFound
                }
            },
            Failure::FileTooLarge(_) => Reason::SecretTooLarge,
            Failure::TooLarge(_)
            | Failure::EntryTooLarge(_)
            | Failure::TooMany(_)
            | Failure::BadRequest
            | Failure::NotSendable
            | Failure::BadId
            | Failure::WrongItem
            | Failure::Repeated
            | Failure::Moved => Reason::InvalidResponse,
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
            | Self::Paused { .. }
            | Self::Open { .. } => Class::Unavailable,
            Self::Throttled => Class::Throttled,
            Self::Unauthorized | Self::Forbidden => Class::Refused,
            Self::NotFound => Class::NotFound,
            Self::TooLarge(_)
            | Self::EntryTooLarge(_)
            | Self::TooMany(_)
            | Self::BadRequest
            | Self::NotSendable
            | Self::FileTooLarge(_)
            | Self::BadId
            | Self::WrongItem
            | Self::Repeated => Class::Invalid,
            Self::Moved => Class::Moved,
        }
    }

    /// Whether nothing was sent, so that what an earlier host said is worth more.
    pub(super) fn is_skip(self) -> bool {
        matches!(self, Self::Paused { .. } | Self::Open { .. } | Self::Throttled)
    }

    /// Whether asking the same hosts again a moment later may give something else. What is too large is so
    /// the next time, too, and what was not sent says itself when to come again.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Status { .. } | Self::NotJson | Self::NotConnect)
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are quoted with their control characters escaped: others chose them.
        match self {
            Self::Vaults => f.write_str("the list of vaults"),
            Self::Vault(vault) => write!(f, "vault {vault}"),
            Self::Items(vault) => write!(f, "the items of vault {vault}"),
            Self::File(item, file) => {
                write!(f, "file {file} of item {:?} ({})", item.title, item.item_id)
            }
            Self::Health => f.write_str("the server's health"),
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
            Self::Certificate(flaw) => match flaw {
                Flaw::UnknownAuthority => {
                    "TLS: no authority that is trusted signed its certificate; spec.ca says which are"
                }
                Flaw::OtherName => "TLS: its certificate is for another name",
                Flaw::Expired => "TLS: its certificate has expired or is not valid yet",
                Flaw::OfAuthority => {
                    "TLS: it shows the certificate of an authority as its own; it needs one that the authority signed"
                }
                Flaw::Other => "TLS: its certificate is not valid",
            },
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
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(match error {
                rustls::Error::InvalidCertificate(error) => Self::Certificate(Flaw::of(error)),
                _ => Self::Tls,
            });
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

impl Flaw {
    fn of(error: &CertificateError) -> Self {
        match error {
            // The latter where an authority of the same name signed it, as one that was made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            // The name of webpki's error, which rustls has no variant for.
            CertificateError::Other(error) if error.0.to_string() == "CaUsedAsEndEntity" => {
                Self::OfAuthority
            }
            _ => Self::Other,
        }
    }
}
