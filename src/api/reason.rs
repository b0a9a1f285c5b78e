use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a condition has its status: a condition reason, an Event reason and a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// The reason as it stands in conditions, Events, metrics and audit.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

reasons! {
    /// The Secret holds what 1Password holds.
    Synced,
    /// 1Password cannot be asked, and the Secret was made of values that it gave earlier.
    ServedFromCache,
    /// 1Password cannot be asked, and the Secret was made of the request's fallback Secret.
    ServedFromFallbackSecret,
    /// 1Password cannot be asked, and the Secret was made of variables of the operator's environment.
    ServedFromEnvironment,
    /// The decision allows the request.
    Allowed,
    /// The decision allows the request and alerts.
    Alerted,
    /// Work on the request is stopped by `spec.suspend`.
    Suspended,
    /// The server answered and accepted the token.
    Connected,
    /// Every rule of the policy compiles.
    Compiled,
    /// The policy has a rule that does not compile, or is too long or too deep.
    InvalidRule,

    /// Connect accepts the token, which may write: reading is all that is needed.
    TokenCanWrite,
    /// Connect accepts the token, which ends soon.
    TokenExpiresSoon,
    /// The cache survives a restart.
    CachePersisted,
    /// There is no key to seal the cache with that lies apart from it.
    CacheKeyMissing,
    /// The cache could not be written, or only a part of it.
    CacheNotWritten,

    /// An access profile is not as the operator wrote it, and is written again.
    ProfileRebuilt,

    /// No ConnectServer of that name for this operator.
    ServerNotFound,
    /// The token Secret or its key is missing.
    TokenNotFound,
    /// The token Secret does not allow the server's host.
    TokenNotForHost,
    /// The authority's certificates are missing or cannot be read.
    CaInvalid,
    /// Connect answered 401.
    TokenRejected,
    /// Connect answered 403.
    AccessDenied,
    /// Connect did not answer, or not as Connect does.
    ConnectUnavailable,
    /// Connect answers, and says itself that it has not the account's data or does not follow it.
    ConnectNotSynced,
    /// Connect answered 400, or with something other than what was asked.
    InvalidResponse,

    /// The reference is outside the server's access rows.
    VaultNotAllowed,
    /// No vault of that name or id.
    VaultNotFound,
    /// More than one vault of that name.
    AmbiguousVault,
    /// No item of that title or id.
    ItemNotFound,
    /// More than one item of that title.
    AmbiguousItem,
    /// The item has no such section or field.
    FieldNotFound,
    /// The item has more than one such field.
    AmbiguousField,
    /// The field exists and is empty.
    FieldEmpty,
    /// What was found has no such attribute: the size of a field, the purpose of a file.
    AttributeNotFound,
    /// What was to be put into the OpenSSH format is no private key that can be.
    SshKeyInvalid,
    /// The field is a one-time password, which is stale as soon as it is written.
    OneTimePassword,
    /// The values do not fit into a Secret.
    SecretTooLarge,

    /// A rule or the score denies the request.
    Denied,
    /// The request waits, and is decided on again when the time has come.
    Deferred,
    /// The grant stands, and rules that read what passes keep it from being refreshed for now.
    HeldByPolicy,
    /// The claimed environment contradicts the facts.
    EnvironmentMismatch,
    /// A reference is covered by no policy.
    NoPolicyMatches,
    /// A policy that matches the request cannot be evaluated.
    PolicyInvalid,
    /// A policy cannot be read at all, so that nobody knows what it matches.
    PolicyUnreadable,

    /// A Secret of the target's name exists and is not this request's.
    SecretNotOwned,
    /// The API server refused or did not answer a write of the Secret.
    WriteFailed,
    /// The grant was withdrawn between the decision and the write.
    GrantWithdrawn,
    /// The audit stream cannot be written, and nothing is granted that is not recorded.
    AuditFailed,
    /// The request's spec cannot be read by this version of the operator.
    InvalidSpec,
    /// The operator failed in a way that it should not have; its log says where.
    InternalError,
}

impl Reason {
    /// Whether it speaks of a Connect that cannot be asked, as against one that said no.
    #[must_use]
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::ConnectUnavailable
                | Self::InvalidResponse
                | Self::ServedFromCache
                | Self::ServedFromFallbackSecret
                | Self::ServedFromEnvironment
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
