//! Faults that begin with the true answer: a body that belongs elsewhere, or that ends before its end.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::Response;
use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};

use crate::api::read;
use crate::api::reply::Reply;
use crate::api::route::Route;
use crate::faults::Subject;
use crate::ids;
use crate::state::State;

/// A connection that is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a fault closes the connection")
    }
}

impl std::error::Error for Dropped {}

/// What is done to a true answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// The body of another item of the vault.
    OtherItem,
    /// The item under a title that it has not.
    OtherTitle,
    /// The item with the id of another vault; of a vault, another one's body.
    OtherVault,
    /// Half of the body, as if that were all.
    Short,
    /// Half of the body, and then the connection closed.
    Broken,
}

/// What the faults about bodies may meet.
pub(crate) fn subject(route: Route<'_>) -> Subject {
    match route {
        Route::Item(_) => Subject::Item,
        Route::Vault(_) => Subject::Vault,
        _ => Subject::Other,
    }
}

/// Puts another body in the place of an item's or a vault's.
pub(crate) fn misplace(state: &State, route: Route<'_>, reply: Reply, damage: Damage) -> Reply {
    let Reply::Json(body) = reply else {
        return reply;
    };
    let other = match (damage, route) {
        (Damage::OtherItem, Route::Item(at)) => state.vault_by_id(at.vault).and_then(|vault| {
            vault.items.values().find(|item| item.id != at.item).map(|item| item.full(vault))
        }),
        (Damage::OtherTitle, Route::Item(_)) => Some(with(&body, "title", json!("another title"))),
        (Damage::OtherVault, Route::Item(at)) => {
            let other = state.other_vault(at.vault);
            let vault = match other {
                Some(vault) => json!({"id": vault.id, "name": vault.name}),
                None => json!({"id": ids::id(&["nowhere"]), "name": "nowhere"}),
            };
            Some(with(&body, "vault", vault))
        }
        (Damage::OtherVault, Route::Vault(id)) => Some(match state.other_vault(id) {
            Some(vault) => read::vault_body(vault),
            None => with(&body, "id", json!(ids::id(&["nowhere"]))),
        }),
        _ => None,
    };
    Reply::Json(other.unwrap_or(body))
}

fn with(body: &Value, member: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[member] = value;
    body
}

/// Lets an answer end before its end.
pub(crate) async fn cut(response: Response, damage: Damage) -> Response {
    if !matches!(damage, Damage::Short | Damage::Broken) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    let body = if damage == Damage::Short {
        parts.headers.insert(header::CONTENT_LENGTH, half.len().into());
        Body::from(half)
    } else {
        parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
        broken(half)
    };
    Response::from_parts(parts, body)
}

/// A body that fails after its first part. It waits in between, so that the part is sent before it fails.
fn broken(part: Bytes) -> Body {
    let failure = stream::once(async {
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(stream::iter([Ok(part)]).chain(failure))
}
