//! The reading half of Connect's REST API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use serde_json::{Value, json};

use crate::faults::FaultKind;
use crate::filter::{Attribute, Filter};
use crate::ids;
use crate::item::time;
use crate::shared::Core;
use crate::state::{State, Vault};

/// What the server says it is.
pub(crate) const VERSION: &str = "1.8.2";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Heartbeat,
    Health,
    Vaults,
    Vault(&'a str),
    Items(&'a str),
    Item(&'a str, &'a str),
    /// A route of Connect's, with a method that this server does not have.
    NotAllowed,
    Other,
}

impl<'a> Route<'a> {
    pub(crate) fn of(method: &Method, path: &'a str) -> Self {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let route = match parts[..] {
            ["heartbeat"] => Self::Heartbeat,
            ["health"] => Self::Health,
            ["v1", "vaults"] | ["v1", "vaults", ""] => Self::Vaults,
            ["v1", "vaults", vault] => Self::Vault(vault),
            ["v1", "vaults", vault, "items"] | ["v1", "vaults", vault, "items", ""] => {
                Self::Items(vault)
            }
            ["v1", "vaults", vault, "items", item] => Self::Item(vault, item),
            _ => return Self::Other,
        };
        if method == Method::GET { route } else { Self::NotAllowed }
    }

    pub(crate) fn template(self) -> &'static str {
        match self {
            Self::Heartbeat => "GET /heartbeat",
            Self::Health => "GET /health",
            Self::Vaults => "GET /v1/vaults",
            Self::Vault(_) => "GET /v1/vaults/{v}",
            Self::Items(_) => "GET /v1/vaults/{v}/items",
            Self::Item(..) => "GET /v1/vaults/{v}/items/{i}",
            Self::NotAllowed | Self::Other => "other",
        }
    }
}

/// An error as Connect writes one.
pub(crate) struct ApiError(u16, String);

type Answer = Result<Value, ApiError>;

pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new().fallback(handle).with_state(core)
}

/// Ends the count of a request in flight, also of one whose client went away.
struct InFlight(Arc<Core>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests().end();
    }
}

async fn handle(Shared(core): Shared<Arc<Core>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let uri = &request.uri;
    let text = |name| request.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let route = Route::of(&request.method, uri.path());
    let template = route.template();
    let target = uri.path_and_query().map_or(uri.path(), |p| p.as_str());
    core.requests().begin(
        template,
        request.method.as_str(),
        target,
        text(header::USER_AGENT).unwrap_or(""),
    );
    let _in_flight = InFlight(core.clone());

    let verdict = core.faults().judge(template, uri.path(), matches!(route, Route::Item(..)));
    if !verdict.latency.is_zero() {
        tokio::time::sleep(verdict.latency).await;
    }
    let mut response = match verdict.instead {
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Html { code }) => return html(code),
        Some(FaultKind::Status { code, message }) => error(&ApiError(code, message)),
        Some(FaultKind::RateLimited { retry_after }) => {
            let mut response = error(&ApiError(429, "Too many requests".to_owned()));
            response.headers_mut().insert(header::RETRY_AFTER, retry_after.as_secs().into());
            response
        }
        other => {
            let wrong_item = matches!(other, Some(FaultKind::WrongItem));
            let bearer = text(header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer "));
            answer(&core.state(), route, uri.query().unwrap_or(""), bearer, wrong_item)
        }
    };
    response.headers_mut().insert("1Password-Connect-Version", HeaderValue::from_static(VERSION));
    response
}

fn answer(
    state: &State,
    route: Route<'_>,
    query: &str,
    bearer: Option<&str>,
    wrong_item: bool,
) -> Response {
    let body = match route {
        Route::Heartbeat => return ".".into_response(),
        Route::Health => Ok(health()),
        Route::NotAllowed => {
            return (StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed").into_response();
        }
        Route::Other => return (StatusCode::NOT_FOUND, "404 page not found").into_response(),
        Route::Vaults => vaults(state, bearer, query),
        Route::Vault(id) => vault(state, bearer, id).map(vault_body),
        Route::Items(id) => vault(state, bearer, id).and_then(|v| items(v, query)),
        Route::Item(id, item_id) => {
            vault(state, bearer, id).and_then(|v| item(v, item_id, wrong_item))
        }
    };
    match body {
        Ok(body) => axum::Json(body).into_response(),
        Err(why) => error(&why),
    }
}

fn vaults(state: &State, bearer: Option<&str>, query: &str) -> Answer {
    let scope = bearer.and_then(|b| state.scope(b, Utc::now())).ok_or_else(unauthorized)?;
    let filter = filter(query)?;
    if filter.as_ref().is_some_and(|f| f.attribute == Attribute::Tag) {
        return Err(ApiError(400, "invalid filter: vaults have a name alone".to_owned()));
    }
    let meant = |v: &&Vault| filter.as_ref().is_none_or(|f| f.vault(&v.name));
    Ok(state.vaults(scope).filter(meant).map(vault_body).collect())
}

fn vault<'a>(state: &'a State, bearer: Option<&str>, id: &str) -> Result<&'a Vault, ApiError> {
    let scope = bearer.and_then(|b| state.scope(b, Utc::now())).ok_or_else(unauthorized)?;
    if !ids::is_id(id) {
        return Err(ApiError(400, "Invalid Vault UUID".to_owned()));
    }
    // The same answer for a vault that is not there: Connect does not tell the two apart.
    let vault = state.vault_by_id(id).filter(|v| scope.covers(&v.id));
    vault.ok_or_else(|| {
        ApiError(403, format!("Authorization: token does not have access to vault {id}"))
    })
}

fn items(vault: &Vault, query: &str) -> Answer {
    let filter = filter(query)?;
    if filter.as_ref().is_some_and(|f| f.attribute == Attribute::Name) {
        return Err(ApiError(400, "invalid filter: items have a title or a tag".to_owned()));
    }
    let meant =
        vault.items.values().filter(|i| filter.as_ref().is_none_or(|f| f.item(&i.title, &i.tags)));
    Ok(meant.map(|i| i.summary(vault)).collect())
}

fn item(vault: &Vault, id: &str, wrong: bool) -> Answer {
    if !ids::is_id(id) {
        return Err(ApiError(400, "Invalid Item UUID".to_owned()));
    }
    let item = vault.items.get(id).ok_or_else(|| ApiError(404, format!("item {id} not found")))?;
    let other = vault.items.values().find(|i| wrong && i.id != item.id);
    Ok(other.unwrap_or(item).full(vault))
}

fn filter(query: &str) -> Result<Option<Filter>, ApiError> {
    Filter::from_query(query).map_err(|why| ApiError(400, why))
}

fn vault_body(vault: &Vault) -> Value {
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

fn health() -> Value {
    json!({
        "name": "1Password Connect API",
        "version": VERSION,
        "dependencies": [
            {"service": "sync", "status": "ACTIVE"},
            {"service": "sqlite", "status": "ACTIVE", "message": "Connected to ~/1password.sqlite"},
            {"service": "account_data", "status": "AVAILABLE"},
        ],
    })
}

fn unauthorized() -> ApiError {
    ApiError(401, "Invalid bearer token".to_owned())
}

fn error(ApiError(code, message): &ApiError) -> Response {
    let body = axum::Json(json!({"status": code, "message": message}));
    (status(*code), body).into_response()
}

fn html(code: u16) -> Response {
    let page =
        "<html><head><title>A proxy</title></head><body><h1>Not Connect</h1></body></html>\n";
    (status(code), axum::response::Html(page)).into_response()
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_met_with_and_without_a_slash() {
        let of = |path: &'static str| Route::of(&Method::GET, path);
        assert_eq!(of("/v1/vaults"), of("/v1/vaults/"));
        assert_eq!(of("/v1/vaults/x/items"), of("/v1/vaults/x/items/"));
        assert_eq!(of("/v1/vaults/x/items/y"), Route::Item("x", "y"));
        assert_eq!(of("/v1/vaults/x/items/y/files"), Route::Other);
        assert_eq!(of("/v1/vaults/x/"), Route::Other);
        assert_eq!(of("/"), Route::Other);
        assert_eq!(Route::of(&Method::POST, "/v1/vaults/x/items"), Route::NotAllowed);
    }
}
