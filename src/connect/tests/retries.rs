//! Calls that are repeated, and calls that have to wait.

use std::num::NonZeroU32;

use super::*;

fn repeating(server: &Server, rounds: usize) -> ClientConfig {
    let millisecond = Duration::from_millis(1);
    let retries = Retries { rounds, first: millisecond, max: millisecond };
    ClientConfig { retries, ..config(&server.origin) }
}

/// Remembers what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<(Operation, &'static str, u32)>>);

impl Observer for Told {
    fn called(&self, call: &Call<'_>) {
        assert!(call.host.starts_with("http://127.0.0.1:"));
        self.0.lock().unwrap().push((call.operation, call.code, call.attempt));
    }

    fn breaker_moved(&self, _host: &str, _state: BreakerState) {}
}

#[tokio::test]
async fn what_passes_by_itself_is_not_seen_by_the_caller() {
    let server = Server::answering(|_, number| match number {
        0 => Reply::Reset,
        1 => html("502 Bad Gateway"),
        _ => json("200 OK", "[]"),
    })
    .await;
    let told = Arc::new(Told::default());
    let config = ClientConfig { observer: told.clone(), ..repeating(&server, 2) };
    client(config).vaults().await.unwrap();
    let vaults = Operation::Vaults;
    assert_eq!(
        *told.0.lock().unwrap(),
        [(vaults, "reset", 1), (vaults, "5xx", 2), (vaults, "2xx", 3)]
    );
}

#[tokio::test]
async fn a_call_is_repeated_as_often_as_allowed_and_no_more() {
    for rounds in [0, 1, 2] {
        let server = Server::start(json("500 X", "")).await;
        let error = client(repeating(&server, rounds)).vaults().await.unwrap_err();
        assert_eq!(error.failure(), Failure::Status { code: 500, retry_after: None });
        assert_eq!(server.heads().len(), rounds + 1);
    }
}

#[tokio::test]
async fn a_call_that_hung_is_not_repeated() {
    let server = Server::start(Reply::Stall("")).await;
    let mut config = repeating(&server, 2);
    config.call_timeout = Duration::from_millis(100);
    client(config).vaults().await.unwrap_err();
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn every_host_is_asked_in_every_round() {
    let first = Server::start(json("500 X", "")).await;
    let second = Server::start(json("502 X", "")).await;
    let mut config = repeating(&first, 2);
    config.hosts.push(second.origin.clone());
    client(config).vaults().await.unwrap_err();
    assert_eq!((first.heads().len(), second.heads().len()), (3, 3));
}

#[tokio::test]
async fn what_would_be_the_same_again_is_not_repeated() {
    let long = format!("[{}]", " ".repeat(9000));
    for reply in [
        json("401 X", &error_body(401)),
        json("403 X", &error_body(403)),
        json("400 X", &error_body(400)),
        json("200 OK", &long),
        http("429 X", "retry-after: 60\r\n", ""),
    ] {
        let server = Server::start(reply).await;
        client(repeating(&server, 2)).vaults().await.unwrap_err();
        assert_eq!(server.heads().len(), 1);
    }
}

#[tokio::test]
async fn a_server_in_trouble_does_not_get_several_times_the_calls() {
    let server = Server::start(json("500 X", "")).await;
    let client = client(repeating(&server, 2));
    for _ in 0..100 {
        client.vaults().await.unwrap_err();
    }
    let sent = server.heads().len();
    assert!(sent <= 100 + 10 + 10, "{sent} requests for 100 calls");
    assert!(sent > 110, "{sent} requests for 100 calls");
}

#[tokio::test]
async fn requests_beyond_the_rate_wait_for_their_turn() {
    let server = Server::answering(|path, _| match path {
        "/health" => json("200 OK", "{}"),
        _ => json("200 OK", "[]"),
    })
    .await;
    let mut config = config(&server.origin);
    config.requests_per_second = NonZeroU32::new(20);
    let client = client(config);
    let started = std::time::Instant::now();
    for _ in 0..25 {
        client.vaults().await.unwrap();
        client.health().await.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(240), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_call_that_waits_too_long_for_its_turn_says_so() {
    let server = Server::start(json("200 OK", "[]")).await;
    let mut config = config(&server.origin);
    config.requests_per_second = NonZeroU32::new(1);
    config.call_timeout = Duration::from_millis(300);
    let client = client(config);
    client.vaults().await.unwrap();
    let error = client.vaults().await.unwrap_err();
    assert_eq!((error.failure(), error.class()), (Failure::Throttled, Class::Throttled));
    assert_silent(&error);
    assert_eq!((server.heads().len(), client.available_permits()), (1, 2));
}

#[tokio::test]
async fn every_request_is_told_of_with_what_came_of_it() {
    for (reply, code) in [
        (json("200 OK", &item_body(ITEM, VAULT, "orders", "")), "2xx"),
        (json("200 OK", &item_body(OTHER, VAULT, "orders", "")), "wrong-answer"),
        (json("401 X", ""), "401"),
        (json("403 X", ""), "403"),
        (json("404 X", ""), "404"),
        (json("418 X", ""), "4xx"),
        (http("429 X", "", ""), "429"),
        (json("302 X", ""), "3xx"),
        (html("200 OK"), "not-json"),
        (json("200 OK", "[]"), "not-connect"),
    ] {
        let server = Server::start(reply).await;
        let told = Arc::new(Told::default());
        let config = ClientConfig { observer: told.clone(), ..config(&server.origin) };
        let _ = client(config).fetch_item(&identity("orders")).await;
        assert_eq!(*told.0.lock().unwrap(), [(Operation::Item, code, 1)]);
    }
}

#[tokio::test]
async fn a_list_waits_for_one_call_however_many_items_are_wanted() {
    let server = Server::answering(|path, _| match path {
        "/v1/vaults" => json("200 OK", "[]"),
        _ => Reply::Stall("HTTP/1.1 200 OK\r\n"),
    })
    .await;
    let call_timeout = Duration::from_millis(300);
    let client =
        Arc::new(client(ClientConfig { call_timeout, concurrency: 1, ..config(&server.origin) }));
    let items: Vec<_> = (0..5)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.fetch_item(&identity("orders")).await.unwrap_err() })
        })
        .collect();
    until(|| server.paths().len() == 1).await;
    client.vaults().await.unwrap();
    let paths = server.paths();
    assert_eq!(paths.iter().position(|path| path == "/v1/vaults"), Some(1), "{paths:?}");
    for item in items {
        item.await.unwrap();
    }
}
