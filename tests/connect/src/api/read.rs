//! What clients read: vaults, items and files.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::access::{self, Intent};
use crate::api::reply::{ApiError, Reply};
use crate::api::route::ItemPath;
use crate::filter::{Attribute, Filter};
use crate::health::ContentVersions;
use crate::item::body::{Inline, time};
use crate::item::parts::File;
use crate::state::{State, Vault};

/// The largest file, in bytes, that Connect puts into a body, unless `OP_MAX_INLINE_FILE_SIZE_KB` says otherwise.
pub(crate) const INLINE_LIMIT: usize = 100 * 1024;

type Answer = Result<Reply, ApiError>;

pub(crate) fn vaults(
    state: &State,
    bearer: Option<&str>,
    query: &str,
    versions: ContentVersions,
) -> Answer {
    let scope = access::scope(state, bearer)?;
    let filter = filter(query)?;
    if filter.as_ref().is_some_and(|f| f.attribute == Attribute::Tag) {
        let why = "invalid filter: vaults have a name alone";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, why));
    }
    let meant = |v: &&Vault| filter.as_ref().is_none_or(|f| f.vault(&v.name));
    let versioned = versions == ContentVersions::Everywhere;
    let body = |v: &Vault| if versioned { vault_body(v) } else { unversioned(vault_body(v)) };
    Ok(Reply::Json(state.vaults(scope).filter(meant).map(body).collect()))
}

pub(crate) fn vault(
    state: &State,
    bearer: Option<&str>,
    id: &str,
    versions: ContentVersions,
) -> Answer {
    let body = vault_body(access::vault(state, bearer, id, Intent::Read)?);
    Ok(Reply::Json(match versions {
        ContentVersions::Everywhere | ContentVersions::SingleVault => body,
        ContentVersions::Nowhere => unversioned(body),
    }))
}

pub(crate) fn items(state: &State, bearer: Option<&str>, vault: &str, query: &str) -> Answer {
    let vault = access::vault(state, bearer, vault, Intent::Read)?;
    let filter = filter(query)?;
    if filter.as_ref().is_some_and(|f| f.attribute == Attribute::Name) {
        let why = "invalid filter: items have a title or a tag";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, why));
    }
    let meant = vault
        .items
        .values()
        .filter(|i| filter.as_ref().is_none_or(|f| f.item(&i.content.title, &i.content.tags)));
    Ok(Reply::Json(meant.map(|i| i.summary(vault)).collect()))
}

pub(crate) fn item(state: &State, bearer: Option<&str>, at: ItemPath<'_>) -> Answer {
    let (vault, item) = access::item(state, bearer, at, Intent::Read)?;
    Ok(Reply::Json(item.full(vault)))
}

pub(crate) fn files(state: &State, bearer: Option<&str>, at: ItemPath<'_>, query: &str) -> Answer {
    let (_, item) = access::item(state, bearer, at, Intent::Read)?;
    let bodies = item.content.files.iter().map(|file| file_body(file, at, query));
    Ok(Reply::Json(bodies.collect::<Result<_, _>>()?))
}

pub(crate) fn file(
    state: &State,
    bearer: Option<&str>,
    at: ItemPath<'_>,
    id: &str,
    query: &str,
) -> Answer {
    let file = find_file(state, bearer, at, id)?;
    file_body(file, at, query).map(Reply::Json)
}

pub(crate) fn content(state: &State, bearer: Option<&str>, at: ItemPath<'_>, id: &str) -> Answer {
    let file = find_file(state, bearer, at, id)?;
    Ok(Reply::Content { name: file.name.clone(), bytes: file.content.clone() })
}

fn find_file<'a>(
    state: &'a State,
    bearer: Option<&str>,
    at: ItemPath<'_>,
    id: &str,
) -> Result<&'a File, ApiError> {
    let (_, item) = access::item(state, bearer, at, Intent::Read)?;
    access::well_formed(id, "File")?;
    let file = item.content.files.iter().find(|file| file.id == id);
    file.ok_or_else(|| access::not_found("file", id))
}

fn file_body(file: &File, at: ItemPath<'_>, query: &str) -> Result<Value, ApiError> {
    // The OpenAPI document has the one name, the prose reference the other.
    let wanted = ["inline_files=true", "inline_content=true"];
    let inline =
        if query.split('&').any(|pair| wanted.contains(&pair)) { Inline::Yes } else { Inline::No };
    if inline == Inline::Yes && file.content.len() > INLINE_LIMIT {
        let why = format!(
            "File is too large to inline in request. Use the {} endpoint instead.",
            file.content_path(at.vault, at.item)
        );
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    Ok(file.body(at.vault, at.item, inline))
}

fn filter(query: &str) -> Result<Option<Filter>, ApiError> {
    Filter::from_query(query).map_err(|why| ApiError::new(StatusCode::BAD_REQUEST, why))
}

pub(crate) fn vault_body(vault: &Vault) -> Value {
    let mut body = json!({
        "id": vault.id,
        "name": vault.name,
        "attributeVersion": vault.attribute_version,
        "contentVersion": vault.content_version,
        "items": vault.items.len(),
        "type": "USER_CREATED",
        "createdAt": time(vault.created),
        "updatedAt": time(vault.updated),
    });
    if !vault.description.is_empty() {
        body["description"] = json!(vault.description);
    }
    body
}

fn unversioned(mut vault: Value) -> Value {
    if let Some(members) = vault.as_object_mut() {
        members.remove("contentVersion");
    }
    vault
}
