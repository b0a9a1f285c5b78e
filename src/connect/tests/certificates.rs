//! Certificates that are not valid, each with its words.

use std::net::{Ipv4Addr, SocketAddr};

use portcullis_test_support::connect_dev::{Certificate, ConnectDev, StateSpec};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;

/// What a client makes of a server with a certificate and its key, by the authority that it trusts.
async fn failure(cert: &str, key: &str, trusted: &str) -> (Failure, String) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server =
        ConnectDev::start_tls_with(address, None, StateSpec::default(), (cert, key)).unwrap();
    let config = ClientConfig { ca_pem: Some(trusted.into()), ..config(&server.url()) };
    let error = client(config).vaults().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    (error.failure(), error.to_string())
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let good = Certificate::new(&["127.0.0.1"]).unwrap();
    let other = Certificate::new(&["connect.invalid"]).unwrap();
    let (old, old_key) = self_signed(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let (authority, authority_key) =
        self_signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    for (cert, key, trusted, flaw, words) in [
        (&good.cert, &good.key, &other.ca, Flaw::UnknownAuthority, "no authority that is trusted"),
        (&other.cert, &other.key, &other.ca, Flaw::OtherName, "for another name"),
        (&old, &old_key, &old, Flaw::Expired, "has expired"),
        (&authority, &authority_key, &authority, Flaw::OfAuthority, "of an authority as its own"),
    ] {
        let (failure, said) = failure(cert, key, trusted).await;
        assert_eq!(failure, Failure::NoAnswer(Cause::Certificate(flaw)), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
