//! Connect's REST API: one request from its route to its answer, with the faults and records on the way.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;

use crate::activity::{Entry, Outcome, Resource};
use crate::faults::{Damage, Instead};
use crate::metrics;
use crate::shared::Core;
use crate::state::State;
use crate::token::Actor;

mod access;
mod damage;
mod read;
mod reply;
mod route;
mod write;

pub(crate) use damage::Dropped;
use reply::{ApiError, Reply};
use route::{Data, Route};

const VERSION_HEADER: HeaderName = HeaderName::from_static("1password-connect-version");
/// The largest body, in bytes, that a client may send.
const BODY_LIMIT: usize = 16 << 20;

/// What an answer takes from a request besides its route.
struct Call<'a> {
    query: &'a str,
    bearer: Option<&'a str>,
    user_agent: &'a str,
    from: IpAddr,
    body: &'a [u8],
}

/// Ends the count of a request in flight, also of one whose client went away.
struct InFlight(Arc<Core>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests().end();
    }
}

/// Answers a request. The error says that its connection is to be closed without an answer.
pub(crate) async fn handle(
    core: Arc<Core>,
    request: Request<Body>,
    from: IpAddr,
) -> Result<Response, Dropped> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let route = Route::of(&parts.method, path);
    let target = parts.uri.path_and_query().map_or(path, |p| p.as_str());
    let user_agent = text(&parts, header::USER_AGENT).unwrap_or("");
    core.requests().begin(route.template(), parts.method.as_str(), target, user_agent);
    let _in_flight = InFlight(core.clone());
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return Ok((StatusCode::PAYLOAD_TOO_LARGE, "413 body too large").into_response());
    };

    let verdict = core.faults().judge(route.template(), path, damage::subject(route));
    if !verdict.latency.is_zero() {
        tokio::time::sleep(verdict.latency).await;
    }
    let damage = match verdict.instead {
        None => None,
        Some(Instead::Damaged(damage)) => Some(damage),
        Some(Instead::Hang) => match std::future::pending::<Infallible>().await {},
        Some(Instead::Drop) => return Err(Dropped),
        Some(Instead::Html { code }) => return Ok(reply::html(code)),
        Some(Instead::Error { code, message, retry_after }) => {
            return Ok(versioned(&core, reply::failed(code, message, retry_after)));
        }
    };
    let call = Call {
        query: parts.uri.query().unwrap_or(""),
        bearer: text(&parts, header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer ")),
        user_agent,
        from,
        body: &body,
    };
    let response = answer(&core, route, &call, damage);
    let response = match damage {
        None => response,
        Some(damage) => damage::cut(response, damage).await,
    };
    Ok(versioned(&core, response))
}

fn text(parts: &Parts, name: HeaderName) -> Option<&str> {
    parts.headers.get(name).and_then(|v| v.to_str().ok())
}

fn versioned(core: &Core, mut response: Response) -> Response {
    if let Ok(version) = HeaderValue::try_from(core.presence().version.as_str()) {
        response.headers_mut().insert(VERSION_HEADER, version);
    }
    response
}

fn answer(core: &Core, route: Route<'_>, call: &Call<'_>, damage: Option<Damage>) -> Response {
    match route {
        Route::Heartbeat => ".".into_response(),
        Route::Health => reply::response(Ok(Reply::Json(core.presence().body()))),
        Route::Metrics => {
            let (counts, in_flight) = {
                let requests = core.requests();
                (requests.counts(), requests.in_flight())
            };
            metrics::text(&counts, in_flight, core.state().size()).into_response()
        }
        Route::Activity => reply::response(activity(core, call)),
        Route::Data(data) => {
            let mut state = core.state();
            let reply = recorded(core, &mut state, data, call);
            reply::response(match damage {
                None => reply,
                Some(damage) => reply.map(|r| damage::misplace(&state, data, r, damage)),
            })
        }
        Route::NotAllowed => {
            (StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed").into_response()
        }
        Route::Other => (StatusCode::NOT_FOUND, "404 page not found").into_response(),
    }
}

fn activity(core: &Core, call: &Call<'_>) -> Result<Reply, ApiError> {
    access::scope(&core.state(), call.bearer)?;
    let page = core.activity().page(call.query);
    page.map(Reply::Page).map_err(|why| ApiError::new(StatusCode::BAD_REQUEST, why))
}

/// Answers what is about vaults and items, and puts it into the activity log.
fn recorded(
    core: &Core,
    state: &mut State,
    data: Data<'_>,
    call: &Call<'_>,
) -> Result<Reply, ApiError> {
    let versions = core.presence().content_versions;
    let before = data.item().and_then(|at| version(state, at.vault, at.item));
    let (query, bearer, body) = (call.query, call.bearer, call.body);
    let reply = match data {
        Data::Vaults => read::vaults(state, bearer, query, versions),
        Data::Vault(id) => read::vault(state, bearer, id, versions),
        Data::Items(vault) => read::items(state, bearer, vault, query),
        Data::Item(at) => read::item(state, bearer, at),
        Data::Files(at) => read::files(state, bearer, at, query),
        Data::File(at, file) => read::file(state, bearer, at, file, query),
        Data::FileContent(at, file) => read::content(state, bearer, at, file),
        Data::CreateItem(vault) => write::create(state, bearer, vault, body),
        Data::ReplaceItem(at) => write::replace(state, bearer, at, body),
        Data::PatchItem(at) => write::patch(state, bearer, at, body),
        Data::DeleteItem(at) => write::delete(state, bearer, at),
    };
    let outcome = match &reply {
        Ok(_) => Outcome::Success,
        Err(error) if error.status == StatusCode::FORBIDDEN => Outcome::Deny,
        Err(_) => return reply,
    };
    // A token that nobody knows has no row: its 401 is neither of the two.
    if let Some(bearer) = bearer {
        let entry = Entry {
            action: data.action(),
            outcome,
            resource: resource(state, data, &reply, before),
            actor: Actor::of(bearer),
            user_agent: call.user_agent.to_owned(),
            ip: call.from,
        };
        core.activity().record(&entry, Utc::now());
    }
    reply
}

/// What a request was about. A deleted item has the version from before.
fn resource(
    state: &State,
    data: Data<'_>,
    reply: &Result<Reply, ApiError>,
    before: Option<u64>,
) -> Resource {
    match data {
        Data::Vaults => Resource::Vault { id: None },
        Data::Vault(id) => Resource::Vault { id: Some(id.to_owned()) },
        Data::Items(vault) => Resource::Item { vault: vault.to_owned(), item: None },
        Data::CreateItem(vault) => {
            let made = match reply {
                Ok(Reply::Json(body)) => body["id"].as_str().map(|id| (id.to_owned(), 1)),
                _ => None,
            };
            Resource::Item { vault: vault.to_owned(), item: made }
        }
        Data::Item(at)
        | Data::ReplaceItem(at)
        | Data::PatchItem(at)
        | Data::DeleteItem(at)
        | Data::Files(at)
        | Data::File(at, _)
        | Data::FileContent(at, _) => {
            let version = version(state, at.vault, at.item).or(before);
            let item = version.map(|version| (at.item.to_owned(), version));
            Resource::Item { vault: at.vault.to_owned(), item }
        }
    }
}

fn version(state: &State, vault: &str, item: &str) -> Option<u64> {
    state.vault_by_id(vault)?.items.get(item).map(|item| item.version)
}
