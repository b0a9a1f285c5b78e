//! What the API answers, before it is HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::activity::Page;
use crate::item::write::Invalid;

/// An answer to a request that was understood and allowed.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(Value),
    Page(Page),
    /// What a file holds.
    Content {
        name: String,
        bytes: Vec<u8>,
    },
    /// 204 without a body.
    Deleted,
}

/// An error as Connect writes one.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::new(StatusCode::BAD_REQUEST, invalid.message())
    }
}

/// What a fault says instead of the server. The code need not be one of HTTP's.
pub(crate) fn failed(code: u16, message: String, retry_after: Option<Duration>) -> Response {
    let mut response = response(Err(ApiError { status: status(code), message }));
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
    }
    response
}

/// A page of something that stands before the server.
pub(crate) fn html(code: u16) -> Response {
    let page =
        "<html><head><title>A proxy</title></head><body><h1>Not Connect</h1></body></html>\n";
    (status(code), axum::response::Html(page)).into_response()
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(crate) fn response(reply: Result<Reply, ApiError>) -> Response {
    match reply {
        Ok(Reply::Json(body)) => axum::Json(body).into_response(),
        Ok(Reply::Page(page)) => {
            let mut response = axum::Json(page.rows).into_response();
            if let Ok(range) = HeaderValue::try_from(page.range) {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            response
        }
        Ok(Reply::Content { name, bytes }) => {
            let mut response = Response::new(Body::from(bytes));
            let headers = response.headers_mut();
            let binary = HeaderValue::from_static("application/octet-stream");
            headers.insert(header::CONTENT_TYPE, binary);
            headers.insert(header::CONTENT_DISPOSITION, disposition(&name));
            response
        }
        Ok(Reply::Deleted) => StatusCode::NO_CONTENT.into_response(),
        Err(ApiError { status, message }) => {
            let body = axum::Json(json!({"status": status.as_u16(), "message": message}));
            (status, body).into_response()
        }
    }
}

/// The name of a file in a header (RFC 6266): in plain characters, and where that is not all of it, encoded too.
fn disposition(name: &str) -> HeaderValue {
    let plain: String =
        name.chars().map(|c| if matches!(c, ' '..='~') { c } else { '_' }).collect();
    let quoted = plain.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!("attachment; filename=\"{quoted}\"");
    if plain != name {
        let encoded: String = name
            .bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    char::from(b).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        text += &format!("; filename*=UTF-8''{encoded}");
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_quoted_and_encoded() {
        assert_eq!(disposition("ca.pem"), "attachment; filename=\"ca.pem\"");
        assert_eq!(disposition("a\"b\\c"), "attachment; filename=\"a\\\"b\\\\c\"");
        assert_eq!(
            disposition("ü\r\n"),
            "attachment; filename=\"___\"; filename*=UTF-8''%C3%BC%0D%0A"
        );
    }
}
