//! Tokens that look like Connect's, and what can be read from one.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::ids;

/// A text with the form of a Connect token: three parts, `ES256`, the claims `jti`, `exp` (with an expiry) and the
/// vaults in scope. The signature is made up. The same arguments give the same token, but for `iat`, which is fixed.
///
/// A server must be told of it ([`crate::ConnectDev::add_token`]), and refuses it after its expiry.
#[must_use]
pub fn fake_token(jti: &str, vault_ids: &[&str], expires: Option<SystemTime>) -> String {
    let vaults: Vec<Value> = vault_ids.iter().map(|id| json!({"u": id, "a": 48})).collect();
    let account = ids::id(&["account"]).to_uppercase();
    let mut claims = json!({
        "1password.com/auuid": account,
        "1password.com/fts": ["vaultaccess"],
        "1password.com/token": ids::id(&["token", jti]),
        "1password.com/vts": vaults,
        "aud": ["com.1password.connect"],
        "iat": 1_700_000_000,
        "iss": "com.1password.b5",
        "jti": jti,
        "sub": ids::id(&["integration", jti]).to_uppercase(),
    });
    if let Some(expires) = expires {
        claims["exp"] = json!(DateTime::<Utc>::from(expires).timestamp());
    }
    let header = json!({"alg": "ES256", "kid": ids::id(&["key"]), "typ": "JWT"});
    let signature: Vec<u8> =
        ["1", "2", "3", "4"].iter().flat_map(|n| ids::digest(&[jti, n]).to_be_bytes()).collect();
    [header.to_string().into_bytes(), claims.to_string().into_bytes(), signature]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".")
}

/// `exp` of a token with the form of one, in seconds.
pub(crate) fn expiry(token: &str) -> Option<i64> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["exp"].as_i64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_carries_its_claims() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let token = fake_token("jti-1", &["v"], Some(at));
        assert_eq!(token.split('.').count(), 3);
        assert_eq!(expiry(&token), Some(2_000_000_000));
        assert_eq!(expiry(&fake_token("jti-1", &["v"], None)), None);
        assert_eq!(expiry("dev-token"), None);
        let signature = token.rsplit('.').next().and_then(|s| URL_SAFE_NO_PAD.decode(s).ok());
        assert_eq!(signature.map(|s| s.len()), Some(64));
    }
}
