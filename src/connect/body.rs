//! Answers: statuses to failures, and bodies read with a limit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::error::{Cause, Failure};

/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The header that Connect has put into every answer since 1.3.0, the first version with files
/// (<https://github.com/1Password/connect-sdk-go>, `connect/version.go`).
const VERSION_HEADER: &str = "1password-connect-version";

/// Reads an answer in JSON of at most `limit` bytes.
pub(super) async fn read<T: DeserializeOwned>(
    response: Response,
    limit: usize,
) -> Result<T, Failure> {
    parse(&whole(json(response)?, limit).await?)
}

/// Reads the content of a file, whose type may be any, of at most `limit` bytes.
pub(super) async fn content(
    response: Response,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match response.status() {
        // A proxy's page would be delivered as a value, and the type does not tell it from a file.
        StatusCode::OK if response.headers().contains_key(VERSION_HEADER) => {}
        StatusCode::OK => return Err(Failure::NotConnect),
        status => check(status, response.headers(), Utc::now())?,
    }
    whole(response, limit).await.map_err(|failure| match failure {
        Failure::TooLarge(limit) => Failure::FileTooLarge(limit),
        other => other,
    })
}

/// The answer, if its status and type promise a body of Connect's.
pub(super) fn json(response: Response) -> Result<Response, Failure> {
    check(response.status(), response.headers(), Utc::now())?;
    Ok(response)
}

/// The length that the answer announces; 0 where it does not.
pub(super) fn announced(response: &Response) -> usize {
    usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX)
}

async fn whole(mut response: Response, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let announced = announced(&response);
    if announced > limit {
        return Err(Failure::TooLarge(limit));
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if chunk.len() > limit - body.len() {
            return Err(Failure::TooLarge(limit));
        }
        append(&mut body, &chunk);
    }
    Ok(body)
}

/// What a body of JSON says. Neither the text of the body nor that of serde's error goes further.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::NotConnect)
}

/// What a transport error means. Takes the error, so that its text, which has the address, ends here.
#[expect(clippy::needless_pass_by_value, reason = "the error must not go further")]
pub(super) fn no_answer(error: reqwest::Error) -> Failure {
    Failure::NoAnswer(Cause::from(&error))
}

/// Appends without leaving a copy behind: `Vec` would free what it grows out of as it stands.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let needed = body.len() + chunk.len();
        let mut grown = Vec::with_capacity(needed.max(body.capacity() * 2));
        grown.extend_from_slice(body);
        *body = Zeroizing::new(grown);
    }
    body.extend_from_slice(chunk);
}

/// Whether a status and its headers promise a body of Connect's.
pub(super) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    match status {
        StatusCode::OK if is_json(headers) => Ok(()),
        StatusCode::OK => Err(Failure::NotJson),
        // An ingress without a backend answers 404, and a firewall 403: that is an outage, and 1Password said nothing.
        StatusCode::BAD_REQUEST
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
            if !is_connects(headers) =>
        {
            Err(Failure::NotJson)
        }
        StatusCode::BAD_REQUEST => Err(Failure::BadRequest),
        StatusCode::UNAUTHORIZED => Err(Failure::Unauthorized),
        StatusCode::FORBIDDEN => Err(Failure::Forbidden),
        StatusCode::NOT_FOUND => Err(Failure::NotFound),
        StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::NotSendable),
        other => {
            Err(Failure::Status { code: other.as_u16(), retry_after: retry_after(headers, now) })
        }
    }
}

/// Whether an answer is Connect's own and not of something before it.
fn is_connects(headers: &HeaderMap) -> bool {
    is_json(headers) || headers.contains_key(VERSION_HEADER)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => DateTime::parse_from_rfc2822(value)
            .ok()?
            .signed_duration_since(now)
            .to_std()
            .unwrap_or_default(),
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, reqwest::header::HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_never_long() {
        let now = DateTime::parse_from_rfc3339("2015-10-21T07:27:30Z").unwrap().to_utc();
        for (value, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("86400", Some(300)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let got = retry_after(&headers(&[(RETRY_AFTER, value)]), now);
            assert_eq!(got, seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn statuses_are_classified_with_their_type() {
        let json = headers(&[(CONTENT_TYPE, "Application/JSON; charset=utf-8")]);
        let html = headers(&[(CONTENT_TYPE, "text/html")]);
        let version = reqwest::header::HeaderName::from_static(VERSION_HEADER);
        let text = headers(&[(CONTENT_TYPE, "text/plain"), (version, "1.8.1")]);
        let status = |code| Failure::Status { code, retry_after: None };
        for (code, of_json, of_html) in [
            (200, Ok(()), Err(Failure::NotJson)),
            (201, Err(status(201)), Err(status(201))),
            (302, Err(status(302)), Err(status(302))),
            (400, Err(Failure::BadRequest), Err(Failure::NotJson)),
            (401, Err(Failure::Unauthorized), Err(Failure::NotJson)),
            (403, Err(Failure::Forbidden), Err(Failure::NotJson)),
            (404, Err(Failure::NotFound), Err(Failure::NotJson)),
            (407, Err(status(407)), Err(status(407))),
            (413, Err(Failure::NotSendable), Err(Failure::NotSendable)),
            (429, Err(status(429)), Err(status(429))),
            (503, Err(status(503)), Err(status(503))),
        ] {
            let code = StatusCode::from_u16(code).unwrap();
            assert_eq!(check(code, &json, Utc::now()), of_json, "{code}");
            assert_eq!(check(code, &html, Utc::now()), of_html, "{code}");
            if code != StatusCode::OK {
                assert_eq!(check(code, &text, Utc::now()), of_json, "{code}");
            }
            assert_eq!(check(code, &HeaderMap::new(), Utc::now()), of_html);
        }
    }

    #[test]
    fn a_body_that_outgrows_its_announcement_is_kept_whole() {
        let mut body = Zeroizing::new(Vec::new());
        for chunk in [&b"ab"[..], b"", b"cdefgh", b"i"] {
            append(&mut body, chunk);
        }
        assert_eq!(body.as_slice(), b"abcdefghi");
    }
}
