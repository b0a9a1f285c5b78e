//! Two servers of one account, one of which lags behind.

use std::net::TcpStream;

use connect_dev::{FaultKind, FaultSpec, Health};

use super::{get, server};

#[test]
fn a_replica_shows_the_state_as_it_was_until_it_catches_up() {
    let server = server();
    let replica = server.replica().expect("a replica");
    assert_ne!(server.address(), replica.address());
    let vault = server.vault_id("services").expect("an id");
    let item = server.item_id("services", "orders-db").expect("an id");
    let path = format!("/v1/vaults/{vault}/items/{item}");
    assert_eq!(get(&replica, &path).json(), get(&server, &path).json());

    server.set_field("services", "orders-db", "password", "n3w").expect("a change");
    let (new, old) = (get(&server, &path).json(), get(&replica, &path).json());
    assert_eq!((new["version"].as_u64(), old["version"].as_u64()), (Some(2), Some(1)));
    assert_eq!(old["fields"][1]["value"], "s3cret");

    server.add_token("later", &["*"]);
    assert!(!replica.revoke_token("later"), "a token of later is not there yet");
    replica.sync_from(&server);
    assert_eq!(get(&replica, &path).json(), new);
    assert!(replica.revoke_token("later"));

    replica.set_field("services", "orders-db", "password", "astray").expect("a change");
    assert_eq!(get(&server, &path).json(), new, "a replica's change stays its own");
    replica.sync_from(&server);
    assert_eq!(get(&replica, &path).json(), new);
}

#[test]
fn a_replica_has_requests_and_faults_of_its_own() {
    let server = server();
    server.set_version("1.7.1");
    server.set_health(Health::none());
    server.fault(FaultSpec::new(FaultKind::Html { code: 502 }));
    let replica = server.replica().expect("a replica");
    assert_eq!((get(&replica, "/v1/vaults").status, get(&server, "/v1/vaults").status), (200, 502));
    assert_eq!((replica.requests().total, server.requests().total), (1, 1));
    assert_eq!(get(&replica, "/health").json()["version"], "1.7.1");
    server.clear_faults();
    replica.fault(FaultSpec::new(FaultKind::Drop));
    assert_eq!(get(&server, "/v1/vaults").status, 200);
}

#[test]
fn one_of_two_stops_and_comes_back() {
    let server = server();
    let replica = server.replica().expect("a replica");
    server.stop();
    assert!(TcpStream::connect(server.address()).is_err(), "nobody listens");
    assert_eq!(get(&replica, "/v1/vaults").status, 200);
    server.restart().expect("the same port");
    replica.stop();
    assert_eq!(get(&server, "/v1/vaults").status, 200);
    assert!(TcpStream::connect(replica.address()).is_err(), "nobody listens");
    replica.restart().expect("the same port");
    drop(server);
    assert_eq!(get(&replica, "/v1/vaults").status, 200);
}
