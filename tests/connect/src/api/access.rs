//! Who may do what: from a bearer token to the vault or item that a path names.

use axum::http::StatusCode;
use chrono::Utc;

use crate::api::reply::ApiError;
use crate::api::route::ItemPath;
use crate::ids;
use crate::item::Item;
use crate::state::{Scope, State, Vault};
use crate::token::Access;

/// What a client means to do to a vault, in the words of Connect's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Create,
    Update,
    Delete,
}

impl Intent {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    fn within(self, access: Access) -> bool {
        self == Self::Read || access == Access::ReadWrite
    }
}

pub(crate) fn scope<'a>(state: &'a State, bearer: Option<&str>) -> Result<&'a Scope, ApiError> {
    let scope = bearer.and_then(|bearer| state.scope(bearer, Utc::now()));
    scope.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Invalid bearer token"))
}

pub(crate) fn vault<'a>(
    state: &'a State,
    bearer: Option<&str>,
    id: &str,
    intent: Intent,
) -> Result<&'a Vault, ApiError> {
    let scope = scope(state, bearer)?;
    well_formed(id, "Vault")?;
    // The same answer for a vault that is not there: Connect does not tell the two apart.
    let found = state.vault_by_id(id).zip(scope.access(id));
    let (vault, access) = found.ok_or_else(|| {
        let why = format!("Authorization: token does not have access to vault {id}");
        ApiError::new(StatusCode::FORBIDDEN, why)
    })?;
    if !intent.within(access) {
        let why = format!(
            "Authorization: token does not have permission to perform {} on vault {id}",
            intent.word()
        );
        return Err(ApiError::new(StatusCode::FORBIDDEN, why));
    }
    Ok(vault)
}

pub(crate) fn item<'a>(
    state: &'a State,
    bearer: Option<&str>,
    at: ItemPath<'_>,
    intent: Intent,
) -> Result<(&'a Vault, &'a Item), ApiError> {
    let vault = vault(state, bearer, at.vault, intent)?;
    well_formed(at.item, "Item")?;
    let item = vault.items.get(at.item).ok_or_else(|| not_found("item", at.item))?;
    Ok((vault, item))
}

/// The message for an id without the form of one.
pub(crate) fn well_formed(id: &str, of: &str) -> Result<(), ApiError> {
    if ids::is_id(id) {
        Ok(())
    } else {
        Err(ApiError::new(StatusCode::BAD_REQUEST, format!("Invalid {of} UUID")))
    }
}

pub(crate) fn not_found(of: &str, id: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("{of} {id} not found"))
}
