//! The second port: changes the state of a running server. It asks for no token: keep it on the loopback.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::{FaultId, FaultSpec};
use crate::health::{ContentVersions, Health};
use crate::requests::RequestCounts;
use crate::shared::Core;
use crate::spec::{ItemSpec, StateSpec, TokenSpec, VaultSpec};

type Shared = State<Arc<Core>>;

/// What could not be done, as 400 with a message. Messages name things and never quote a value.
struct Refused(anyhow::Error);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = Json(json!({"status": 400, "message": format!("{:#}", self.0)}));
        (StatusCode::BAD_REQUEST, body).into_response()
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

/// 204 when it was done.
type Done = Result<StatusCode, Refused>;
/// An object with the id of what was made.
type Made = Result<Json<Value>, Refused>;

const DONE: Done = Ok(StatusCode::NO_CONTENT);

pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/items/{vault}/{title}", delete(delete_item).patch(change_item))
        .route("/items/{vault}/{title}/fields/{label}", put(set_field).delete(remove_field))
        .route("/items/{vault}/{title}/files/{name}", put(set_file).delete(remove_file))
        .route("/vaults", post(add_vault))
        .route("/vaults/{vault}", delete(delete_vault).patch(change_vault))
        .route("/vaults/{vault}/items", post(add_item))
        .route("/tokens", post(add_token))
        .route("/tokens/{token}", delete(revoke_token))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(clear_fault))
        .route("/requests", get(requests).delete(reset_requests))
        .route("/presence", patch(change_presence))
        .route("/state", put(reload))
        .with_state(core)
}

async fn set_field(
    State(core): Shared,
    Path((vault, title, label)): Path<(String, String, String)>,
    value: String,
) -> Done {
    core.state().change_item(&vault, &title, |item| {
        item.set_field(&label, &value);
        Ok(())
    })?;
    DONE
}

async fn remove_field(
    State(core): Shared,
    Path((vault, title, label)): Path<(String, String, String)>,
) -> Done {
    core.state().change_item(&vault, &title, |item| item.remove_field(&label))?;
    DONE
}

async fn set_file(
    State(core): Shared,
    Path((vault, title, name)): Path<(String, String, String)>,
    content: Bytes,
) -> Done {
    core.state().change_item(&vault, &title, |item| {
        item.set_file(&name, &content);
        Ok(())
    })?;
    DONE
}

async fn remove_file(
    State(core): Shared,
    Path((vault, title, name)): Path<(String, String, String)>,
) -> Done {
    core.state().change_item(&vault, &title, |item| item.remove_file(&name))?;
    DONE
}

/// What a `PATCH` of an item may say. An empty `state` is an ordinary item.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemChange {
    title: Option<String>,
    tags: Option<Vec<String>>,
    state: Option<String>,
}

async fn change_item(
    State(core): Shared,
    Path((vault, title)): Path<(String, String)>,
    Json(change): Json<ItemChange>,
) -> Done {
    core.state().change_item(&vault, &title, |item| {
        let content = &mut item.content;
        content.title = change.title.unwrap_or_else(|| content.title.clone());
        content.tags = change.tags.unwrap_or_else(|| content.tags.clone());
        if let Some(state) = change.state {
            content.state = Some(state).filter(|s| !s.is_empty());
        }
        Ok(())
    })?;
    DONE
}

async fn delete_item(State(core): Shared, Path((vault, title)): Path<(String, String)>) -> Done {
    core.state().remove_item(&vault, &title)?;
    DONE
}

async fn add_item(
    State(core): Shared,
    Path(vault): Path<String>,
    Json(spec): Json<ItemSpec>,
) -> Made {
    let id = core.state().add_item(&vault, &spec)?;
    Ok(Json(json!({"id": id})))
}

async fn add_vault(State(core): Shared, Json(spec): Json<VaultSpec>) -> Made {
    let id = core.state().add_vault(&spec)?;
    Ok(Json(json!({"id": id})))
}

/// What a `PATCH` of a vault may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultChange {
    name: String,
}

async fn change_vault(
    State(core): Shared,
    Path(vault): Path<String>,
    Json(change): Json<VaultChange>,
) -> Done {
    core.state().rename_vault(&vault, &change.name)?;
    DONE
}

async fn delete_vault(State(core): Shared, Path(vault): Path<String>) -> Done {
    core.state().remove_vault(&vault)?;
    DONE
}

async fn add_token(State(core): Shared, Json(spec): Json<TokenSpec>) -> StatusCode {
    core.state().add_token(&spec);
    StatusCode::NO_CONTENT
}

async fn revoke_token(State(core): Shared, Path(token): Path<String>) -> Done {
    if core.state().revoke_token(&token) {
        DONE
    } else {
        Err(Refused(anyhow::anyhow!("no such token")))
    }
}

async fn add_fault(State(core): Shared, Json(spec): Json<FaultSpec>) -> Json<Value> {
    let FaultId(id) = core.faults().add(spec);
    Json(json!({"id": id}))
}

async fn clear_fault(State(core): Shared, Path(id): Path<u64>) -> Done {
    if core.faults().clear(FaultId(id)) {
        DONE
    } else {
        Err(Refused(anyhow::anyhow!("no fault {id}")))
    }
}

async fn clear_faults(State(core): Shared) -> StatusCode {
    core.faults().clear_all();
    StatusCode::NO_CONTENT
}

async fn requests(State(core): Shared) -> Json<RequestCounts> {
    Json(core.requests().counts())
}

async fn reset_requests(State(core): Shared) -> StatusCode {
    core.requests().reset();
    StatusCode::NO_CONTENT
}

/// What a `PATCH` of the server's presence may say. `health` is the list of dependencies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresenceChange {
    version: Option<String>,
    health: Option<Health>,
    content_versions: Option<ContentVersions>,
}

async fn change_presence(State(core): Shared, Json(change): Json<PresenceChange>) -> StatusCode {
    let mut presence = core.presence();
    if let Some(version) = change.version {
        presence.version = version;
    }
    if let Some(health) = change.health {
        presence.health = health;
    }
    if let Some(versions) = change.content_versions {
        presence.content_versions = versions;
    }
    StatusCode::NO_CONTENT
}

/// Takes the state of the YAML in the body or, without one, of the state file.
async fn reload(State(core): Shared, yaml: String) -> Done {
    let spec = if yaml.trim().is_empty() {
        let file = core.file().clone();
        let file = file.ok_or_else(|| {
            anyhow::anyhow!("the server has no state file, and the body is empty")
        })?;
        StateSpec::from_file(file)?
    } else {
        StateSpec::from_yaml(&yaml)?
    };
    core.state().apply(&spec)?;
    DONE
}
