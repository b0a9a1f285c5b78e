//! What clients change: items, through `POST`, `PUT`, `PATCH` and `DELETE`. Each moves the versions once.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::access::{self, Intent};
use crate::api::reply::{ApiError, Reply};
use crate::api::route::ItemPath;
use crate::item::parts::Content;
use crate::item::patch;
use crate::item::write::{Invalid, Place};
use crate::state::State;

type Answer = Result<Reply, ApiError>;

pub(crate) fn create(state: &mut State, bearer: Option<&str>, vault: &str, body: &[u8]) -> Answer {
    access::vault(state, bearer, vault, Intent::Create)?;
    let content = Content::from_body(&parse(body)?, &Place::New { vault })?;
    let id = state.create_item(vault, content).map_err(internal)?;
    full(state, ItemPath { vault, item: &id })
}

/// The answer carries the version from before, as Connect's does: the 1Password provider for Terraform adds one to
/// what it is given (`internal/onepassword/connect/connect_client.go` of `1Password/terraform-provider-onepassword`).
pub(crate) fn replace(
    state: &mut State,
    bearer: Option<&str>,
    at: ItemPath<'_>,
    body: &[u8],
) -> Answer {
    let (_, item) = access::item(state, bearer, at, Intent::Update)?;
    let version = item.version;
    let place = Place::Known { vault: at.vault, item: at.item, content: &item.content };
    let content = Content::from_body(&parse(body)?, &place)?;
    put(state, at, content)?;
    match full(state, at)? {
        Reply::Json(mut body) => {
            body["version"] = json!(version);
            Ok(Reply::Json(body))
        }
        other => Ok(other),
    }
}

pub(crate) fn patch(
    state: &mut State,
    bearer: Option<&str>,
    at: ItemPath<'_>,
    body: &[u8],
) -> Answer {
    let (vault, item) = access::item(state, bearer, at, Intent::Update)?;
    let patched = patch::apply(&item.full(vault), &parse(body)?)?;
    let place = Place::Known { vault: at.vault, item: at.item, content: &item.content };
    let content = Content::from_body(&patched, &place)?;
    put(state, at, content)?;
    full(state, at)
}

pub(crate) fn delete(state: &mut State, bearer: Option<&str>, at: ItemPath<'_>) -> Answer {
    access::item(state, bearer, at, Intent::Delete)?;
    state.remove_item(at.vault, at.item).map_err(internal)?;
    Ok(Reply::Deleted)
}

fn put(state: &mut State, at: ItemPath<'_>, content: Content) -> Result<(), ApiError> {
    let set = |item: &mut crate::item::Item| {
        item.content = content;
        Ok(())
    };
    state.change_item(at.vault, at.item, set).map_err(internal)
}

fn full(state: &State, at: ItemPath<'_>) -> Answer {
    let vault = state.vault_by_id(at.vault);
    let found = vault.and_then(|vault| vault.items.get(at.item).map(|item| item.full(vault)));
    found.map(Reply::Json).ok_or_else(|| access::not_found("item", at.item))
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|_| Invalid::new("the body is not JSON").into())
}

/// What access was checked for is there, so that this is not met.
fn internal(_: anyhow::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong")
}
