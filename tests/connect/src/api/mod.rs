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
use crate::faults::FaultKind;
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

use damage::Damage;
pub(crate) use damage::Dropped;
use reply::{ApiError, Reply};
use route::Route;

const VERSION_HEADER: HeaderName = HeaderName::from_static("1password-connect-version");
/// The largest body, in bytes, that a client may send.
const BODY_LIMIT: usize = 16 << 20;

/// A request with its body read.
struct Call<'a> {
    route: Route<'a>,
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
        None => Damage::None,
        Some(fault) => match instead(fault).await? {
            Instead::Answer(response) => return Ok(versioned(&core, response)),
            Instead::Proxy(response) => return Ok(response),
            Instead::Damaged(damage) => damage,
        },
    };
    let call = Call {
        route,
        query: parts.uri.query().unwrap_or(""),
        bearer: text(&parts, header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer ")),
        user_agent,
        from,
        body: &body,
    };
    let response = answer(&core, &call, damage);
    Ok(versioned(&core, damage::cut(response, damage).await))
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

/// What a fault makes of a request.
enum Instead {
    /// An answer of the server's, before the token is looked at.
    Answer(Response),
    /// An answer of something before the server.
    Proxy(Response),
    /// The true answer, damaged.
    Damaged(Damage),
}

async fn instead(fault: FaultKind) -> Result<Instead, Dropped> {
    let retry = |error: ApiError, after: std::time::Duration| {
        let mut response = reply::response(Err(error));
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
        Instead::Answer(response)
    };
    Ok(match fault {
        FaultKind::Hang => match std::future::pending::<Infallible>().await {},
        FaultKind::Drop => return Err(Dropped),
        FaultKind::Html { code } => Instead::Proxy(html(code)),
        FaultKind::Status { code, message } => {
            Instead::Answer(reply::response(Err(ApiError::of_code(code, message))))
        }
        FaultKind::RateLimited { retry_after } => {
            retry(ApiError::of_code(429, "Too many requests".to_owned()), retry_after)
        }
        FaultKind::RetryAfter { code, message, retry_after } => {
            retry(ApiError::of_code(code, message), retry_after)
        }
        FaultKind::WrongItem => Instead::Damaged(Damage::OtherItem),
        FaultKind::WrongTitle => Instead::Damaged(Damage::OtherTitle),
        FaultKind::WrongVault => Instead::Damaged(Damage::OtherVault),
        FaultKind::Truncated => Instead::Damaged(Damage::Short),
        FaultKind::Reset => Instead::Damaged(Damage::Broken),
        // Judged as latency, and met here by nothing.
        FaultKind::Latency(_) => Instead::Damaged(Damage::None),
    })
}

fn answer(core: &Core, call: &Call<'_>, damage: Damage) -> Response {
    let reply = match call.route {
        Route::Heartbeat => return ".".into_response(),
        Route::Metrics => {
            let counts = core.requests().counts();
            return metrics::text(&counts, core.requests().in_flight(), core.state().size())
                .into_response();
        }
        Route::NotAllowed => {
            return (StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed").into_response();
        }
        Route::Other => return (StatusCode::NOT_FOUND, "404 page not found").into_response(),
        Route::Health => Ok(Reply::Json(core.presence().body())),
        Route::Activity => access::scope(&core.state(), call.bearer).and_then(|_| {
            let page = core.activity().page(call.query);
            page.map(Reply::Page).map_err(|why| ApiError::new(StatusCode::BAD_REQUEST, why))
        }),
        _ => recorded(core, call),
    };
    let damaged = reply.map(|reply| damage::misplace(&core.state(), call.route, reply, damage));
    reply::response(damaged)
}

/// Answers what is about vaults and items, and puts it into the activity log.
fn recorded(core: &Core, call: &Call<'_>) -> Result<Reply, ApiError> {
    let versions = core.presence().content_versions;
    let mut state = core.state();
    let before = call.route.item().and_then(|at| version(&state, at.vault, at.item));
    let (query, bearer, body) = (call.query, call.bearer, call.body);
    let reply = match call.route {
        Route::Vaults => read::vaults(&state, bearer, query, versions),
        Route::Vault(id) => read::vault(&state, bearer, id, versions),
        Route::Items(vault) => read::items(&state, bearer, vault, query),
        Route::Item(at) => read::item(&state, bearer, at),
        Route::Files(at) => read::files(&state, bearer, at, query),
        Route::File(at, file) => read::file(&state, bearer, at, file, query),
        Route::FileContent(at, file) => read::content(&state, bearer, at, file),
        Route::CreateItem(vault) => write::create(&mut state, bearer, vault, body),
        Route::ReplaceItem(at) => write::replace(&mut state, bearer, at, body),
        Route::PatchItem(at) => write::patch(&mut state, bearer, at, body),
        Route::DeleteItem(at) => write::delete(&mut state, bearer, at),
        Route::Heartbeat
        | Route::Health
        | Route::Metrics
        | Route::Activity
        | Route::NotAllowed
        | Route::Other => Err(ApiError::new(StatusCode::NOT_FOUND, "404 page not found")),
    };
    record(core, &state, call, &reply, before);
    reply
}

/// A row for what was done and for what the token did not allow. A token that nobody knows is nobody's row.
fn record(
    core: &Core,
    state: &State,
    call: &Call<'_>,
    reply: &Result<Reply, ApiError>,
    before: Option<u64>,
) {
    let outcome = match reply {
        Ok(_) => Outcome::Success,
        Err(error) if error.status == StatusCode::FORBIDDEN => Outcome::Deny,
        Err(_) => return,
    };
    let (Some(action), Some(bearer)) = (call.route.action(), call.bearer) else {
        return;
    };
    let resource = match call.route {
        Route::Vault(id) => Resource::Vault { id: Some(id.to_owned()) },
        Route::Items(vault) => Resource::Item { vault: vault.to_owned(), item: None },
        Route::CreateItem(vault) => {
            let made = match reply {
                Ok(Reply::Json(body)) => body["id"].as_str().map(|id| (id.to_owned(), 1)),
                _ => None,
            };
            Resource::Item { vault: vault.to_owned(), item: made }
        }
        route => match route.item() {
            None => Resource::Vault { id: None },
            Some(at) => {
                let version = version(state, at.vault, at.item).or(before);
                let item = version.map(|version| (at.item.to_owned(), version));
                Resource::Item { vault: at.vault.to_owned(), item }
            }
        },
    };
    let entry = Entry {
        action,
        outcome,
        resource,
        actor: Actor::of(bearer),
        user_agent: call.user_agent.to_owned(),
        ip: call.from,
    };
    core.activity().record(&entry, Utc::now());
}

fn version(state: &State, vault: &str, item: &str) -> Option<u64> {
    state.vault_by_id(vault)?.items.get(item).map(|item| item.version)
}

fn html(code: u16) -> Response {
    let page =
        "<html><head><title>A proxy</title></head><body><h1>Not Connect</h1></body></html>\n";
    (reply::status(code), axum::response::Html(page)).into_response()
}
