//! The API over https, and an authority that is replaced.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use connect_dev::{Certificate, ConnectDev, StateSpec};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Answer, STATE, request};

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn server() -> ConnectDev {
    ConnectDev::start_tls(StateSpec::from_yaml(STATE).expect("a state")).expect("a server")
}

/// A connection of a client that trusts this authority and no other, with its handshake done.
fn connect(server: &ConnectDev, ca: &str, name: &'static str) -> std::io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let tcp = TcpStream::connect(server.address()).expect("a connection");
    tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(client, tcp);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

fn status(mut stream: Stream) -> Option<u16> {
    let request = request("GET", "/v1/vaults", "all", "");
    stream.write_all(request.as_bytes()).expect("a request");
    Answer::read(&mut stream).map(|answer| answer.status)
}

#[test]
fn a_server_with_tls_is_trusted_through_its_authority_alone() {
    let server = server();
    let ca = server.ca_pem().expect("an authority");
    assert!(server.url().starts_with("https://127.0.0.1:"));
    for name in ["127.0.0.1", "localhost"] {
        assert_eq!(connect(&server, &ca, name).ok().and_then(status), Some(200), "{name}");
    }
    assert!(connect(&server, &ca, "connect.internal").is_err(), "not a name of the certificate");
    let stranger = self::server().ca_pem().expect("an authority");
    assert!(connect(&server, &stranger, "127.0.0.1").is_err());
    let mut plain = TcpStream::connect(server.address()).expect("a connection");
    plain.write_all(request("GET", "/v1/vaults", "all", "").as_bytes()).expect("a request");
    assert!(Answer::read(&mut plain).is_none(), "no answer without TLS");
}

#[test]
fn a_replaced_authority_closes_connections_and_ends_the_trust() {
    let server = server();
    let before = server.ca_pem().expect("an authority");
    let mut open = connect(&server, &before, "127.0.0.1").expect("a connection");
    server.replace_ca().expect("a new authority");
    let mut byte = [0];
    assert!(!matches!(open.read(&mut byte), Ok(1..)), "the connection is closed");
    let after = server.ca_pem().expect("an authority");
    assert_ne!(before, after);
    assert!(connect(&server, &before, "127.0.0.1").is_err(), "the old authority is not it");
    assert_eq!(connect(&server, &after, "127.0.0.1").ok().and_then(status), Some(200));
}

#[test]
fn an_authority_stays_over_a_restart_and_in_a_replica() {
    let server = server();
    let ca = server.ca_pem().expect("an authority");
    server.stop();
    server.restart().expect("the same port");
    assert_eq!(connect(&server, &ca, "127.0.0.1").ok().and_then(status), Some(200));
    let replica = server.replica().expect("a replica");
    assert_eq!(connect(&replica, &ca, "127.0.0.1").ok().and_then(status), Some(200));
    server.stop();
    server.replace_ca().expect("a new authority");
    assert!(TcpStream::connect(server.address()).is_err(), "a stopped server stays so");
    assert_eq!(replica.ca_pem(), Some(ca), "the replica's is its own");
}

#[test]
fn a_server_without_tls_has_no_authority() {
    let server = super::server();
    assert!(server.ca_pem().is_none() && server.replace_ca().is_err());
    assert!(server.url().starts_with("http://"));
}

#[test]
fn a_server_with_a_certificate_of_ones_own_answers_by_its_names() {
    let made = Certificate::new(&["connect.internal"]).expect("a certificate");
    let start = |cert, key| {
        let state = StateSpec::from_yaml(STATE).expect("a state");
        ConnectDev::start_tls_with(
            "127.0.0.1:0".parse().expect("an address"),
            None,
            state,
            (cert, key),
        )
    };
    let server = start(&made.cert, &made.key).expect("a server");
    assert_eq!(connect(&server, &made.ca, "connect.internal").ok().and_then(status), Some(200));
    assert!(connect(&server, &made.ca, "localhost").is_err(), "not a name of the certificate");
    assert_eq!(server.ca_pem(), None, "who signed it is not known here");

    let other = Certificate::new(&["connect.internal"]).expect("a certificate");
    let error = start(&made.cert, &other.key).expect_err("another one's key").to_string();
    assert_eq!(error, "the certificate and its key do not go together");
    assert_eq!(
        start("", &made.key).expect_err("no certificate").to_string(),
        "there is no certificate in it"
    );
}
