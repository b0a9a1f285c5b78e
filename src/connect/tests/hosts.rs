//! Several hosts: which is asked, and when.

use super::*;

const PAUSED: &str = "retry-after: 60\r\n";

fn good() -> Reply {
    json("200 OK", "[]")
}

#[tokio::test]
async fn the_first_host_gets_every_call_while_it_is_well() {
    let (first, second) = (Server::start(good()).await, Server::start(good()).await);
    let client = client(config_of([&first, &second]));
    for _ in 0..3 {
        client.vaults().await.unwrap();
        client.items(VAULT).await.unwrap();
    }
    assert_eq!((first.heads().len(), second.heads().len()), (6, 0));
    assert_eq!(client.active_host(), first.origin);
}

#[tokio::test]
async fn the_active_host_is_the_one_that_the_last_list_of_vaults_came_from() {
    let is_down = Arc::new(AtomicUsize::new(0));
    let down = is_down.clone();
    let first = Server::answering(move |_, _| match down.load(Ordering::SeqCst) {
        0 => good(),
        _ => Reply::Reset,
    })
    .await;
    let second = Server::start(good()).await;
    let client = client(config_of([&first, &second]));
    client.vaults().await.unwrap();
    assert_eq!(client.active_host(), first.origin);
    is_down.store(1, Ordering::SeqCst);
    client.items(VAULT).await.unwrap();
    assert_eq!(client.active_host(), first.origin, "one list of items says nothing of a host");
    client.vaults().await.unwrap();
    assert_eq!(client.active_host(), second.origin);
    let _ = client.health().await;
    assert_eq!(
        second.paths().last().unwrap(),
        "/health",
        "it is the active one that is asked how it is"
    );
    is_down.store(0, Ordering::SeqCst);
    client.vaults().await.unwrap();
    assert_eq!(client.active_host(), first.origin);
}

#[tokio::test]
async fn a_call_goes_on_to_the_next_host_where_one_is_unavailable() {
    for reply in [
        json("500 X", &error_body(500)),
        http("429 X", "", ""),
        html("200 OK"),
        html("404 Not Found"),
        json("200 OK", r#"{"items":[]}"#),
        json("200 OK", r#"[{"id":"#),
        Reply::Reset,
        Reply::Raw(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n["
                .into(),
        ),
    ] {
        let (first, second) = (Server::start(reply).await, Server::start(good()).await);
        client(config_of([&first, &second])).vaults().await.unwrap();
        assert_eq!((first.heads().len(), second.heads().len()), (1, 1));
    }
    let second = Server::start(good()).await;
    let mut config = config(&nowhere().await);
    config.hosts.push(second.origin.clone());
    client(config).vaults().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_says_no_is_taken_from_the_first_host() {
    for (reply, class) in [
        (json("401 X", &error_body(401)), Class::Refused),
        (json("403 X", &error_body(403)), Class::Refused),
        (json("404 X", &error_body(404)), Class::NotFound),
        (json("400 X", &error_body(400)), Class::Invalid),
        (json("200 OK", &item_body(OTHER, VAULT, "orders", "")), Class::Invalid),
        (json("200 OK", &item_body(ITEM, VAULT, "renamed", "")), Class::Moved),
    ] {
        let good = json("200 OK", &item_body(ITEM, VAULT, "orders", ""));
        let (first, second) = (Server::start(reply).await, Server::start(good).await);
        let client = client(config_of([&first, &second]));
        let error = client.fetch_item(&identity("orders")).await.unwrap_err();
        assert_eq!((error.class(), error.host()), (class, first.origin.as_str()));
        assert!(second.heads().is_empty());
    }
}

#[tokio::test]
async fn the_error_names_the_host_that_answered_last() {
    let first = Server::start(json("500 X", "")).await;
    let second = Server::start(json("403 X", &error_body(403))).await;
    let error = client(config_of([&first, &second])).vaults().await.unwrap_err();
    assert_eq!((error.failure(), error.host()), (Failure::Forbidden, second.origin.as_str()));
    assert!(error.to_string().starts_with(&second.origin));

    let (first, second) =
        (Server::start(Reply::Reset).await, Server::start(json("502 X", "")).await);
    let error = client(config_of([&first, &second])).vaults().await.unwrap_err();
    assert_eq!(error.failure(), Failure::Status { code: 502, retry_after: None });
    assert_eq!(error.host(), second.origin);
}

#[tokio::test]
async fn calls_return_to_the_first_host_when_it_is_well_again() {
    let first = Server::answering(|_, number| match number {
        0 => json("503 X", ""),
        _ => good(),
    })
    .await;
    let second = Server::start(good()).await;
    let client = client(config_of([&first, &second]));
    for _ in 0..3 {
        client.vaults().await.unwrap();
    }
    assert_eq!((first.heads().len(), second.heads().len()), (3, 1));
}

#[tokio::test]
async fn a_hung_host_leaves_time_for_the_next() {
    let (first, second) = (Server::start(Reply::Stall("")).await, Server::start(good()).await);
    let mut config = config_of([&first, &second]);
    config.call_timeout = Duration::from_secs(1);
    client(config).vaults().await.unwrap();
}

#[tokio::test]
async fn a_call_takes_no_longer_than_twice_a_request_whatever_hangs() {
    let servers = futures::future::join_all((0..8).map(|_| Server::start(Reply::Stall("")))).await;
    let mut config = config_of(&servers);
    config.call_timeout = Duration::from_millis(500);
    config.retries = Retries { rounds: 5, first: Duration::ZERO, max: Duration::ZERO };
    let client = client(config);
    let started = std::time::Instant::now();
    let error = client.vaults().await.unwrap_err();
    assert_eq!(error.failure(), Failure::NoAnswer(Cause::TimedOut));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(client.available_permits(), 2);
}

#[tokio::test]
async fn a_host_that_asks_for_a_pause_gets_no_call_until_it_is_over() {
    for status in [429, 503] {
        let first = Server::start(http(&format!("{status} X"), PAUSED, CANARY)).await;
        let second = Server::start(good()).await;
        let client = client(config_of([&first, &second]));
        for _ in 0..3 {
            client.vaults().await.unwrap();
        }
        assert_eq!((first.heads().len(), second.heads().len()), (1, 3));
        assert_eq!(client.active_host(), second.origin);
        let states = client.hosts();
        assert!(states[0].paused_until.is_some() && states[1].paused_until.is_none());
    }
}

#[tokio::test]
async fn an_item_that_asks_for_a_pause_gets_it_and_its_host_does_not() {
    let item = |path: &str| path.ends_with(ITEM);
    let first = Server::answering(move |path, _| match path {
        path if item(path) => http("503 X", PAUSED, CANARY),
        _ => good(),
    })
    .await;
    let client = client(config(&first.origin));
    let error = client.fetch_item(&identity("orders")).await.unwrap_err();
    let minute = Duration::from_secs(60);
    assert_eq!(error.failure(), Failure::Status { code: 503, retry_after: Some(minute) });
    let asked = || first.paths().iter().filter(|path| item(path)).count();
    assert_eq!(asked(), 1, "it is not repeated");
    for _ in 0..3 {
        let error = client.fetch_item(&identity("orders")).await.unwrap_err();
        assert!(matches!(error.failure(), Failure::Paused { .. }), "{error}");
        let left = error.retry_after().unwrap();
        assert!(left <= minute && left > minute / 2, "{left:?}");
        client.vaults().await.unwrap();
        client.items(VAULT).await.unwrap();
    }
    assert_eq!(asked(), 1);
    let states = client.hosts();
    assert_eq!((states[0].breaker, states[0].paused_until), (BreakerState::Closed, None));
}

#[tokio::test]
async fn a_call_to_the_only_host_fails_at_once_during_its_pause_and_says_how_long() {
    let server = Server::start(http("429 X", PAUSED, CANARY)).await;
    let client = client(config(&server.origin));
    let error = client.vaults().await.unwrap_err();
    let minute = Duration::from_secs(60);
    assert_eq!(error.failure(), Failure::Status { code: 429, retry_after: Some(minute) });
    let error = client.items(VAULT).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::Paused { .. }), "{error}");
    assert_eq!((error.class(), error.reason()), (Class::Unavailable, Reason::ConnectUnavailable));
    let left = error.retry_after().unwrap();
    assert!(left <= minute && left > minute / 2, "{left:?}");
    assert!(error.to_string().contains("left alone until 20"), "{error}");
    assert_silent(&error);
    assert_eq!(server.heads().len(), 1);
    assert_eq!(client.hosts()[0].breaker, BreakerState::Closed);
}

#[tokio::test]
async fn a_pause_ends() {
    let server = Server::answering(|_, number| match number {
        0 => http("503 X", "retry-after: 1\r\n", ""),
        _ => good(),
    })
    .await;
    let client = client(config(&server.origin));
    client.vaults().await.unwrap_err();
    assert!(matches!(client.vaults().await.unwrap_err().failure(), Failure::Paused { .. }));
    until(|| client.hosts()[0].paused_until.is_none()).await;
    client.vaults().await.unwrap();
}

#[tokio::test]
async fn a_host_that_is_named_twice_is_asked_once() {
    let server = Server::start(json("500 X", "")).await;
    let mut config = config_of([&server, &server]);
    config.hosts.push(format!("{}/", server.origin.to_uppercase()));
    let client = client(config);
    client.vaults().await.unwrap_err();
    assert_eq!((client.hosts().len(), server.heads().len()), (1, 1));
}
