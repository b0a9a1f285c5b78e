//! Hosts that are down, and hosts of which one item is.

use super::*;

/// Whether a server works, from the outside.
#[derive(Clone, Default)]
struct Switch(Arc<std::sync::atomic::AtomicBool>);

impl Switch {
    fn turn_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A server that answers nothing but 500 until it is switched on.
async fn broken() -> (Server, Switch) {
    let switch = Switch::default();
    let on = switch.clone();
    let server = Server::answering(move |path, _| match path {
        _ if !on.is_on() => json("500 X", ""),
        "/heartbeat" => http("200 OK", "content-type: text/plain\r\n", "."),
        _ => json("200 OK", "[]"),
    })
    .await;
    (server, switch)
}

/// Fails calls about three subjects.
async fn trip(client: &Client) {
    client.vaults().await.unwrap_err();
    client.items(VAULT).await.unwrap_err();
    client.items(OTHER).await.unwrap_err();
}

fn breakers(client: &Client) -> Vec<BreakerState> {
    client.hosts().iter().map(|host| host.breaker).collect()
}

/// Remembers how breakers moved.
#[derive(Default)]
struct Moves(Mutex<Vec<BreakerState>>);

impl Observer for Moves {
    fn called(&self, _call: &Call<'_>) {}

    fn breaker_moved(&self, _host: &str, state: BreakerState) {
        self.0.lock().unwrap().push(state);
    }
}

#[tokio::test]
async fn an_item_that_fails_for_ever_does_not_take_its_host_along() {
    let server = Server::answering(|path, _| match path {
        path if path.ends_with(ITEM) => json("500 X", ""),
        _ => json("200 OK", "[]"),
    })
    .await;
    let client = client(config(&server.origin));
    for _ in 0..20 {
        let error = client.fetch_item(&identity("orders")).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Status { code: 500, retry_after: None });
    }
    let file = client.fetch_file(&identity("orders"), "file").await.unwrap_err();
    assert_eq!(file.class(), Class::Unavailable);
    client.vaults().await.unwrap();
    assert!(!server.paths().contains(&"/heartbeat".to_owned()));
}

#[tokio::test]
async fn a_host_whose_heart_beats_is_asked_on() {
    let server = Server::answering(|path, _| match path {
        "/heartbeat" => http("200 OK", "content-type: text/plain\r\n", "."),
        _ => json("500 X", ""),
    })
    .await;
    let client = client(config(&server.origin));
    trip(&client).await;
    trip(&client).await;
    assert_eq!(breakers(&client), [BreakerState::Closed]);
    let beats = server.paths().iter().filter(|path| *path == "/heartbeat").count();
    assert_eq!((beats, server.paths().len()), (2, 8));
}

#[tokio::test]
async fn a_heartbeat_that_nobody_serves_opens_no_breaker() {
    let server = Server::answering(|path, _| match path {
        "/heartbeat" => html("404 Not Found"),
        _ => json("500 X", ""),
    })
    .await;
    let client = client(config(&server.origin));
    trip(&client).await;
    assert_eq!(breakers(&client), [BreakerState::Closed]);
}

#[tokio::test]
async fn a_host_that_is_down_is_left_alone_and_the_error_says_since_when() {
    let (server, _switch) = broken().await;
    let client = client(config(&server.origin));
    trip(&client).await;
    assert_eq!(breakers(&client), [BreakerState::Open]);
    let sent = server.heads().len();
    let first = client.vaults().await.unwrap_err();
    let Failure::Open { since } = first.failure() else { panic!("{first}") };
    let second = client.items(VAULT).await.unwrap_err();
    assert_eq!(second.failure(), Failure::Open { since });
    assert_eq!((first.class(), first.reason()), (Class::Unavailable, Reason::ConnectUnavailable));
    assert!(first.to_string().starts_with(&server.origin), "{first}");
    assert!(first.to_string().contains(&since.format("%FT%H:%M:%SZ").to_string()), "{first}");
    assert_eq!(first.retry_after(), None);
    assert_silent(&first);
    assert_eq!(server.heads().len(), sent);
}

#[tokio::test]
async fn a_host_that_is_down_is_passed_over_and_returned_to() {
    let (first, switch) = broken().await;
    let second = Server::start(json("200 OK", "[]")).await;
    let moves = Arc::new(Moves::default());
    let mut config = config_of([&first, &second]);
    config.observer = moves.clone();
    let pause = Duration::from_millis(100);
    config.cool_down = CoolDown { first: pause, max: pause };
    let client = client(config);
    for vault in [VAULT, OTHER, ITEM] {
        client.items(vault).await.unwrap();
    }
    assert_eq!(breakers(&client), [BreakerState::Open, BreakerState::Closed]);
    assert_eq!(client.active_host(), second.origin);
    // While it stays down, it gets heartbeats and nothing else.
    let (sent, beats) =
        (first.heads().len(), || first.paths().iter().filter(|path| *path == "/heartbeat").count());
    while beats() < 3 {
        client.vaults().await.unwrap();
    }
    assert_eq!(first.heads().len(), sent + 2);
    switch.turn_on();
    while client.active_host() != first.origin {
        client.vaults().await.unwrap();
    }
    let (sent, others) = (first.heads().len(), second.heads().len());
    client.vaults().await.unwrap();
    assert_eq!((first.heads().len(), second.heads().len()), (sent + 1, others));
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(
        *moves.0.lock().unwrap(),
        [Closed, Closed, Open, HalfOpen, Open, HalfOpen, Open, HalfOpen, Closed]
    );
}

#[tokio::test]
async fn a_refusal_is_a_sign_of_life() {
    let server = Server::answering(|path, _| match path {
        "/v1/vaults" => json("403 X", &error_body(403)),
        _ => json("500 X", ""),
    })
    .await;
    let client = client(config(&server.origin));
    for _ in 0..3 {
        trip(&client).await;
    }
    assert_eq!(breakers(&client), [BreakerState::Closed]);
    assert!(!server.paths().contains(&"/heartbeat".to_owned()));
}

#[tokio::test]
async fn a_call_that_is_dropped_during_a_heartbeat_does_not_keep_the_breaker_half_open() {
    let server = Server::answering(|path, number| match (path, number) {
        // The first heartbeat fails, the second hangs, later ones are answered.
        ("/heartbeat", 3) => json("500 X", ""),
        ("/heartbeat", 4) => Reply::Stall(""),
        ("/heartbeat", _) => http("200 OK", "", "."),
        (_, 0..3) => json("500 X", ""),
        _ => json("200 OK", "[]"),
    })
    .await;
    let mut config = config(&server.origin);
    config.connect_timeout = Duration::from_millis(50);
    config.cool_down = CoolDown { first: Duration::ZERO, max: Duration::ZERO };
    let client = client(config);
    trip(&client).await;
    tokio::select! {
        biased;
        _ = client.vaults() => panic!("a hung heartbeat ended"),
        () = until(|| server.heads().len() == 5) => {}
    }
    assert_eq!(breakers(&client), [BreakerState::HalfOpen]);
    let look = async { while client.vaults().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(5), look).await.expect("it stays half open");
    assert_eq!(breakers(&client), [BreakerState::Closed]);
}
