//! Files.

use super::*;

const FILE: &str = "6r65pjq33banznomn7q22sj44e";
const CONNECT: &str = "1password-connect-version: 1.8.1\r\n";

async fn file(reply: Reply) -> Result<FileContent, ConnectError> {
    let server = Server::start(reply).await;
    client(config(&server.origin)).fetch_file(&identity("orders"), FILE).await
}

#[tokio::test]
async fn a_file_comes_as_it_is_whatever_its_type() {
    for type_ in ["", "content-type: application/octet-stream\r\n", "content-type: text/html\r\n"] {
        let reply = http("200 OK", &format!("{type_}{CONNECT}"), CANARY);
        let server = Server::start(reply).await;
        let client = client(config(&server.origin));
        let content = client.fetch_file(&identity("orders"), FILE).await.unwrap();
        assert_eq!(content.expose(), CANARY.as_bytes());
        assert!(!format!("{content:?}{content:#?}").contains(CANARY));
        let path = format!("/v1/vaults/{VAULT}/items/{ITEM}/files/{FILE}/content");
        assert_eq!(server.paths(), [path]);
        assert!(server.heads()[0].contains("accept: */*\r\n"));
    }
}

#[tokio::test]
async fn a_page_of_another_server_is_no_file() {
    let error = file(html("200 OK")).await.unwrap_err();
    assert_eq!((error.failure(), error.class()), (Failure::NotConnect, Class::Unavailable));
    assert_silent(&error);
}

#[tokio::test]
async fn a_file_that_no_secret_holds_is_not_read() {
    let long = http("200 OK", CONNECT, &"x".repeat(4097));
    for (reply, failure, reason) in [
        (long, Failure::FileTooLarge(4096), Reason::SecretTooLarge),
        (json("413 X", &error_body(413)), Failure::NotSendable, Reason::InvalidResponse),
        (json("404 X", &error_body(404)), Failure::NotFound, Reason::ItemNotFound),
        (json("403 X", &error_body(403)), Failure::Forbidden, Reason::AccessDenied),
    ] {
        let error = file(reply).await.unwrap_err();
        assert_eq!((error.failure(), error.reason()), (failure, reason));
        assert!(error.to_string().contains(FILE), "{error}");
        assert_silent(&error);
    }
    let just = http("200 OK", CONNECT, &"x".repeat(4096));
    assert_eq!(file(just).await.unwrap().expose().len(), 4096);
}

#[tokio::test]
async fn what_is_no_id_of_a_file_is_not_sent() {
    let server = Server::start(http("200 OK", CONNECT, "")).await;
    let client = client(config(&server.origin));
    let long = "a".repeat(65);
    for id in ["", "..", "a/b", "a%2fb", "a?b", "a#b", "é", "canary-7f3a ", &long] {
        let error = client.fetch_file(&identity("orders"), id).await.unwrap_err();
        assert_eq!((error.failure(), error.class()), (Failure::BadId, Class::Invalid));
        assert_silent(&error);
    }
    assert!(server.heads().is_empty());
}
