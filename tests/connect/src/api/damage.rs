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
use crate::api::route::{Data, Route};
use crate::faults::{Damage, Subject};
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

/// What the faults about bodies may meet.
pub(crate) fn subject(route: Route<'_>) -> Subject {
    match route {
        Route::Data(Data::Item(_)) => Subject::Item,
        Route::Data(Data::Vault(_)) => Subject::Vault,
        Route::Data(Data::Vaults | Data::Items(_)) => Subject::List,
        _ => Subject::Other,
    }
}

/// Puts another body in the place of an item's or a vault's, or one that is wrong in the place of a list.
pub(crate) fn misplace(state: &State, data: Data<'_>, reply: Reply, damage: Damage) -> Reply {
    let Reply::Json(body) = reply else {
        return reply;
    };
    let other = match (damage, data) {
        (Damage::OtherItem, Data::Item(at)) => state.vault_by_id(at.vault).and_then(|vault| {
            vault.items.values().find(|item| item.id != at.item).map(|item| item.full(vault))
        }),
        (Damage::OtherTitle, Data::Item(_)) => Some(with(&body, "title", json!("another title"))),
        (Damage::OtherVault, Data::Item(at)) => {
            let other = state.other_vault(at.vault);
            let vault = match other {
                Some(vault) => json!({"id": vault.id, "name": vault.name}),
                None => json!({"id": ids::id(&["nowhere"]), "name": "nowhere"}),
            };
            Some(with(&body, "vault", vault))
        }
        (Damage::OtherVault, Data::Vault(id)) => Some(match state.other_vault(id) {
            Some(vault) => read::vault_body(vault),
            None => with(&body, "id", json!(ids::id(&["nowhere"]))),
        }),
        (Damage::SameId, Data::Vaults | Data::Items(_)) => Some(with_an_id_twice(&body)),
        _ => None,
    };
    Reply::Json(other.unwrap_or(body))
}

fn with(body: &Value, member: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[member] = value;
    body
}

fn with_an_id_twice(list: &Value) -> Value {
    let mut list = list.clone();
    if let Some([first, second, ..]) = list.as_array_mut().map(Vec::as_mut_slice) {
        second["id"] = first["id"].clone();
    }
    list
}

/// Lets an answer end before its end, where that is the damage.
pub(crate) async fn cut(response: Response, damage: Damage) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    let (length, body) = match damage {
        Damage::Short => (half.len(), Body::from(half)),
        Damage::Broken => (whole.len(), broken(half)),
        Damage::OtherItem | Damage::OtherTitle | Damage::OtherVault | Damage::SameId => {
            (whole.len(), Body::from(whole))
        }
    };
    parts.headers.insert(header::CONTENT_LENGTH, length.into());
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
