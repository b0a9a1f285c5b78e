//! Tokens that look like Connect's, and what can be read from one.

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ids;

/// What a token may do in a vault.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read items and their values.
    #[default]
    Read,
    /// Make, change and delete items too.
    ReadWrite,
}

impl Access {
    /// The bits of a token's `a`, numbered as 1Password's SDKs number the rights on a vault: reveal a password 16,
    /// read 32, update 64, create 128, archive 256, delete 512.
    fn bits(self) -> u32 {
        match self {
            Self::Read => 16 | 32,
            Self::ReadWrite => 16 | 32 | 64 | 128 | 256 | 512,
        }
    }
}

/// Makes a text with the form of a Connect token: three parts, `ES256`, the claims of a real one. The signature is
/// made up. The same calls give the same token: `iat` is fixed.
///
/// A server must be told of it ([`crate::ConnectDev::accept`]), and refuses it after its expiry.
#[derive(Clone)]
pub struct FakeToken {
    jti: String,
    vaults: Vec<(String, Access)>,
    features: Vec<String>,
    expires: Option<SystemTime>,
}

impl FakeToken {
    /// A token that opens no vault and never expires.
    #[must_use]
    pub fn new(jti: &str) -> Self {
        Self {
            jti: jti.to_owned(),
            vaults: Vec::new(),
            features: vec!["vaultaccess".to_owned()],
            expires: None,
        }
    }

    /// Opens a vault, given by id.
    #[must_use]
    pub fn vault(mut self, id: &str, access: Access) -> Self {
        self.vaults.push((id.to_owned(), access));
        self
    }

    /// Ends its life (`exp`), to the second.
    #[must_use]
    pub fn expires(mut self, at: SystemTime) -> Self {
        self.expires = Some(at);
        self
    }

    /// Replaces the features (`fts`), which are `vaultaccess` alone.
    #[must_use]
    pub fn features(mut self, features: &[&str]) -> Self {
        self.features = features.iter().map(|&f| f.to_owned()).collect();
        self
    }

    /// The token.
    #[must_use]
    pub fn build(&self) -> String {
        let vaults: Vec<Value> =
            self.vaults.iter().map(|(id, access)| json!({"u": id, "a": access.bits()})).collect();
        let mut claims = json!({
            "1password.com/auuid": account(),
            "1password.com/fts": self.features,
            "1password.com/token": ids::id(&["token", &self.jti]),
            "1password.com/vts": vaults,
            "aud": ["com.1password.connect"],
            "iat": 1_700_000_000,
            "iss": "com.1password.b5",
            "jti": self.jti,
            "sub": ids::id(&["integration", &self.jti]).to_uppercase(),
        });
        if let Some(expires) = self.expires {
            claims["exp"] = json!(DateTime::<Utc>::from(expires).timestamp());
        }
        let header = json!({"alg": "ES256", "kid": ids::id(&["key"]), "typ": "JWT"});
        let signature: Vec<u8> = ["1", "2", "3", "4"]
            .iter()
            .flat_map(|n| ids::digest(&[&self.jti, n]).to_be_bytes())
            .collect();
        [header.to_string().into_bytes(), claims.to_string().into_bytes(), signature]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    }

    pub(crate) fn rights(&self) -> impl Iterator<Item = (&str, Access)> {
        self.vaults.iter().map(|(id, access)| (id.as_str(), *access))
    }
}

impl fmt::Debug for FakeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeToken").field("jti", &self.jti).finish_non_exhaustive()
    }
}

/// A [`FakeToken`] that reads these vaults. The server must be told of it ([`crate::ConnectDev::add_token`]).
#[must_use]
pub fn fake_token(jti: &str, vault_ids: &[&str], expires: Option<SystemTime>) -> String {
    let token = FakeToken { expires, ..FakeToken::new(jti) };
    vault_ids.iter().fold(token, |token, id| token.vault(id, Access::Read)).build()
}

/// `exp` of a token with the form of one, in seconds.
pub(crate) fn expiry(token: &str) -> Option<i64> {
    claims(token)?["exp"].as_i64()
}

/// Who a token stands for, as the activity log names it.
pub(crate) struct Actor {
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) jti: String,
}

impl Actor {
    /// Read from the claims; of a token that has none, derived from it and from nothing that leads back to it.
    pub(crate) fn of(token: &str) -> Self {
        let claims = claims(token).unwrap_or(Value::Null);
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        Self {
            id: text("sub").unwrap_or_else(|| ids::id(&["integration", token]).to_uppercase()),
            account: text("1password.com/auuid").unwrap_or_else(account),
            jti: text("jti").unwrap_or_else(|| ids::id(&["jti", token])),
        }
    }
}

fn account() -> String {
    ids::id(&["account"]).to_uppercase()
}

fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_carries_its_claims() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let token = FakeToken::new("jti-1")
            .vault("read", Access::Read)
            .vault("write", Access::ReadWrite)
            .expires(at)
            .build();
        assert_eq!(token.split('.').count(), 3);
        assert_eq!(expiry(&token), Some(2_000_000_000));
        let claims = claims(&token).expect("claims");
        assert_eq!(
            claims["1password.com/vts"],
            json!([{"u": "read", "a": 48}, {"u": "write", "a": 1008}])
        );
        assert_eq!(claims["1password.com/fts"], json!(["vaultaccess"]));
        assert_eq!(Actor::of(&token).jti, "jti-1");
        let signature = token.rsplit('.').next().and_then(|s| URL_SAFE_NO_PAD.decode(s).ok());
        assert_eq!(signature.map(|s| s.len()), Some(64));
    }

    #[test]
    fn a_token_without_an_expiry_or_a_form_has_none() {
        assert_eq!(expiry(&FakeToken::new("jti-1").build()), None);
        assert_eq!(expiry("dev-token"), None);
        assert_eq!(fake_token("j", &["v"], None), fake_token("j", &["v"], None));
    }

    #[test]
    fn an_actor_of_a_plain_token_does_not_name_it() {
        let actor = Actor::of("dev-token");
        assert!(ids::is_id(&actor.jti), "{}", actor.jti);
        assert!(!format!("{:?}", FakeToken::new("j").vault("v", Access::Read)).contains('v'));
    }
}
