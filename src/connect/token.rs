//! What a Connect token says of itself. Nothing here is verified: it is for people to read, and for telling
//! tokens apart, and decides nothing.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::model;

/// The longest token that is looked into, in bytes.
const TOKEN_MAX: usize = 64 << 10;

/// The longest id of a token that is kept.
const ID_MAX: usize = 64;

/// What a token says of itself: as much of it as it says, and nothing where it is no JWT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenClaims {
    /// When it expires (`exp`); a token without it does not.
    pub expires_at: Option<DateTime<Utc>>,
    /// Its id (`jti`): at most 64 letters, digits, hyphens and underscores.
    pub id: Option<Arc<str>>,
    /// The vaults that it opens.
    pub vaults: Vec<VaultScope>,
    /// The most that it allows in any of them.
    pub access: Access,
}

/// A vault that a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultScope {
    /// The vault's id, in lower case as Connect gives it elsewhere; tokens have it in upper case, too.
    pub vault_id: Arc<str>,
    /// What it allows there.
    pub rights: Rights,
}

/// Rights on a vault, as 1Password's bits.
///
/// The bits are those of its SDK (<https://github.com/1Password/onepassword-sdk-go>). Connect's tokens
/// have 48 where they may read, and 496 where they may write, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u64);

impl Rights {
    const MANAGE: u64 = 2;
    const UPDATE: u64 = 64;
    const CREATE: u64 = 128;
    const ARCHIVE: u64 = 256;
    const DELETE: u64 = 512;
    const WRITES: u64 = Self::MANAGE | Self::UPDATE | Self::CREATE | Self::ARCHIVE | Self::DELETE;

    /// Whether any of them changes what is in the vault, or who may.
    #[must_use]
    pub fn may_write(self) -> bool {
        self.0 & Self::WRITES != 0
    }
}

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// It does not say.
    #[default]
    Unknown,
    /// To read, in every vault that it opens.
    ReadOnly,
    /// To write, in one vault at least. Portcullis only ever reads.
    ReadWrite,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read and write",
        })
    }
}

impl TokenClaims {
    /// What a token says. Whatever is missing or of another form is left out.
    pub(super) fn of(token: &str) -> Self {
        let payload = payload(token).unwrap_or_default();
        let wire: Wire = serde_json::from_slice(&payload).unwrap_or_default();
        let scope = |scope: WireScope| {
            let vault_id = scope.u.to_ascii_lowercase();
            model::is_id(&vault_id)
                .then(|| VaultScope { vault_id: vault_id.into(), rights: Rights(scope.a) })
        };
        let vaults: Vec<_> = wire.vts.into_iter().filter_map(scope).collect();
        let access = match vaults.as_slice() {
            [] => Access::Unknown,
            some if some.iter().any(|scope| scope.rights.may_write()) => Access::ReadWrite,
            _ => Access::ReadOnly,
        };
        Self {
            expires_at: wire.exp.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            id: wire.jti.filter(|id| is_plain(id, ID_MAX)).map(Into::into),
            vaults,
            access,
        }
    }
}

/// Tells tokens apart without being one: a hash that nothing else in Portcullis makes.
pub(super) fn identity(token: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"portcullis.dev/connect-token-identity/v1\0");
    hash.update(token.as_bytes());
    hash.finalize().into()
}

/// Whether a text is 1 to `max` letters, digits, hyphens and underscores: it can stand anywhere as it is.
pub(super) fn is_plain(text: &str, max: usize) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.len() <= max && text.bytes().all(is_plain)
}

/// The middle one of a JWT's three parts (RFC 7519, 3).
fn payload(token: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > TOKEN_MAX {
        return None;
    }
    // Some pad, which the standard does not.
    URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok().map(Zeroizing::new)
}

#[derive(Default, Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "seconds")]
    exp: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    jti: Option<String>,
    #[serde(default, rename = "1password.com/vts", deserialize_with = "scopes")]
    vts: Vec<WireScope>,
}

#[derive(Deserialize)]
struct WireScope {
    u: String,
    a: u64,
}

/// A number of seconds, which may have a fraction (RFC 7519, 2).
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64)))
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WireScope>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(scopes) => {
            scopes.into_iter().filter_map(|scope| WireScope::deserialize(scope).ok()).collect()
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VAULT: &str = "VAULTAAAAAAAAAAAAAAAAAAAAA";

    fn jwt(payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"ES256"}"#), part(payload), part("signature"))
    }

    fn access(scopes: &str) -> Access {
        TokenClaims::of(&jwt(&format!(r#"{{"1password.com/vts":{scopes}}}"#))).access
    }

    #[test]
    fn a_token_says_when_it_expires_who_it_is_and_what_it_opens() {
        let claims = TokenClaims::of(&jwt(&format!(
            r#"{{"1password.com/auuid":"A","1password.com/token":"canary","iss":"com.1password.b5",
                "1password.com/vts":[{{"u":"{VAULT}","a":48}},{{"u":"vaultbbbbbbbbbbbbbbbbbbbbb","a":48}}],
                "exp":1790000000,"jti":"kx7mzr2vhnqpw3tdjyb6sg4fae","aud":["com.1password.connect"]}}"#
        )));
        assert_eq!(claims.expires_at, DateTime::from_timestamp(1_790_000_000, 0));
        assert_eq!(claims.id.as_deref(), Some("kx7mzr2vhnqpw3tdjyb6sg4fae"));
        let vaults: Vec<_> = claims.vaults.iter().map(|scope| &*scope.vault_id).collect();
        assert_eq!(vaults, ["vaultaaaaaaaaaaaaaaaaaaaaa", "vaultbbbbbbbbbbbbbbbbbbbbb"]);
        assert_eq!(claims.access, Access::ReadOnly);
        assert!(!format!("{claims:?}").contains("canary"));
    }

    #[test]
    fn one_vault_that_it_may_write_to_makes_it_a_writing_token() {
        let scope = |rights: u64| format!(r#"{{"u":"{VAULT}","a":{rights}}}"#);
        for rights in [496, 2, 64, 128, 256, 512, 48 | 64] {
            assert_eq!(access(&format!("[{},{}]", scope(48), scope(rights))), Access::ReadWrite);
        }
        assert_eq!(access(&format!("[{}]", scope(32))), Access::ReadOnly);
        assert_eq!(access("[]"), Access::Unknown);
    }

    #[test]
    fn what_a_token_leaves_out_or_spells_otherwise_is_left_out() {
        for odd in [
            "{}",
            "[]",
            r#"{"exp":"soon","jti":7,"1password.com/vts":{"u":"x"}}"#,
            r#"{"exp":null,"jti":"../etc","1password.com/vts":[7,{"u":"short","a":48},{"a":1}]}"#,
            r#"{"exp":1e300,"jti":""}"#,
        ] {
            assert_eq!(TokenClaims::of(&jwt(odd)), TokenClaims::default(), "{odd}");
        }
        let long = TokenClaims::of(&jwt(&format!(r#"{{"exp":12.9,"jti":"{}"}}"#, "a".repeat(65))));
        assert_eq!((long.expires_at, long.id), (DateTime::from_timestamp(12, 0), None));
        for no_jwt in ["", "token", "a.b", "a.b.c.d", "a.!.c", "..", &jwt(&" ".repeat(TOKEN_MAX))] {
            assert_eq!(TokenClaims::of(no_jwt), TokenClaims::default());
        }
    }

    #[test]
    fn tokens_are_told_apart_and_not_given_away() {
        assert_eq!(identity("a.b.c"), identity("a.b.c"));
        assert_ne!(identity("a.b.c"), identity("a.b.d"));
        assert_ne!(identity("a.b.c").as_slice(), Sha256::digest("a.b.c").as_slice());
    }

    proptest! {
        #[test]
        fn any_token_says_something_of_bounded_size(token in any::<String>(), payload in any::<String>()) {
            for token in [token, jwt(&payload)] {
                let claims = TokenClaims::of(&token);
                prop_assert!(claims.id.is_none_or(|id| is_plain(&id, ID_MAX)));
            }
        }
    }
}
