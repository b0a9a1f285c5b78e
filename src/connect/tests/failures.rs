//! What a server in trouble, or another server, does.

use super::*;

#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, failure, class, reason) in [
        (401, Failure::Unauthorized, Class::Refused, Reason::TokenRejected),
        (403, Failure::Forbidden, Class::Refused, Reason::AccessDenied),
        (404, Failure::NotFound, Class::NotFound, Reason::ItemNotFound),
        (400, Failure::BadRequest, Class::Invalid, Reason::InvalidResponse),
        (413, Failure::NotSendable, Class::Invalid, Reason::InvalidResponse),
    ] {
        let error = item_error(json(&format!("{status} X"), &error_body(status))).await;
        assert_eq!(error.failure(), failure);
        assert_eq!((error.class(), error.reason()), (class, reason));
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert!(error.to_string().contains("orders"), "{error}");
        assert_silent(&error);
    }
    let server = Server::start(json("404 X", &error_body(404))).await;
    let client = client(config(&server.origin));
    let error = client.items(VAULT).await.unwrap_err();
    assert_eq!((error.failure(), error.reason()), (Failure::NotFound, Reason::VaultNotFound));
    let error = client.vaults().await.unwrap_err();
    assert_eq!((error.failure(), error.class()), (Failure::NotConnect, Class::Unavailable));
}

#[tokio::test]
async fn what_is_not_connect_is_unavailable() {
    let status = |code| Failure::Status { code, retry_after: None };
    for (reply, failure) in [
        (html("200 OK"), Failure::NotJson),
        (html("404 Not Found"), Failure::NotJson),
        (
            http("404 Not Found", "content-type: text/plain\r\n", "404 page not found"),
            Failure::NotJson,
        ),
        (html("502 Bad Gateway"), status(502)),
        (json("500 X", &error_body(500)), status(500)),
        (json("200 OK", &format!(r#"{{"items":["{CANARY}"]}}"#)), Failure::NotConnect),
        (json("200 OK", &format!(r#"[{{"id":"{CANARY}","name":"x"}}]"#)), Failure::NotConnect),
        (json("200 OK", &format!("<html>{CANARY}")), Failure::NotConnect),
        (json("200 OK", ""), Failure::NotConnect),
        (json("204 No Content", ""), status(204)),
        (Reply::Raw(format!("SSH-2.0-{CANARY}\r\n")), Failure::NoAnswer(Cause::Broken)),
        (Reply::Raw(String::new()), Failure::NoAnswer(Cause::Broken)),
        (Reply::Reset, Failure::NoAnswer(Cause::Reset)),
    ] {
        let error = vaults_error(reply).await;
        assert_eq!(error.failure(), failure);
        assert_eq!(
            (error.class(), error.reason()),
            (Class::Unavailable, Reason::ConnectUnavailable)
        );
        assert_silent(&error);
    }
    // A value of the wrong type would be in serde's text.
    let body = item_body(ITEM, VAULT, "orders", "")
        .replace(r#""version":3"#, &format!(r#""version":"{CANARY}""#));
    let error = item_error(json("200 OK", &body)).await;
    assert_eq!(error.failure(), Failure::NotConnect);
    assert_silent(&error);
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_is_heard() {
    for status in [429, 503] {
        let reply = http(&format!("{status} X"), "retry-after: 7\r\n", CANARY);
        let error = vaults_error(reply).await;
        assert_eq!(error.class(), Class::Unavailable);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_silent(&error);
    }
}

#[tokio::test]
async fn a_hung_server_times_out_and_gives_its_permit_back() {
    let part = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n[";
    for (reply, cause) in [
        (Reply::Stall(""), Cause::TimedOut),
        (Reply::Stall(part), Cause::TimedOut),
        (Reply::Raw(part.to_owned()), Cause::Broken),
        (Reply::Cut(part), Cause::Reset),
    ] {
        let server = Server::start(reply).await;
        let mut config = config(&server.origin);
        config.call_timeout = Duration::from_millis(200);
        let client = client(config);
        let error = client.vaults().await.unwrap_err();
        assert_eq!(error.failure(), Failure::NoAnswer(cause));
        assert_eq!(error.class(), Class::Unavailable);
        assert_silent(&error);
        assert_eq!(client.available_permits(), 2);
    }
}

#[tokio::test]
async fn no_connection_and_no_tls_have_their_words() {
    let error = client(config(&nowhere().await)).vaults().await.unwrap_err();
    assert_eq!(error.failure(), Failure::NoAnswer(Cause::Refused));
    assert!(error.to_string().ends_with("the list of vaults: no answer: connection refused"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = client(config(&format!("https://{address}"))).vaults().await.unwrap_err();
    assert_eq!(error.failure(), Failure::NoAnswer(Cause::Tls));
    assert_silent(&error);

    let error = client(config("http://no-such-host.invalid")).vaults().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert_silent(&error);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(json("200 OK", "[]")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}/{CANARY}\r\n", elsewhere.origin);
        let error = vaults_error(http(&format!("{status} X"), &location, "")).await;
        assert_eq!(error.failure(), Failure::Status { code: status, retry_after: None });
        assert_silent(&error);
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}
