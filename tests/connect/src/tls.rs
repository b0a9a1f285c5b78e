//! Certificates made at run time or given, and what a server needs of them.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate for servers, signed by an authority of its own, whose key is gone once it is made. All in PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The authority's certificate, which is no secret.
    pub ca: String,
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// Makes one for these names and addresses.
    pub fn new(names: &[&str]) -> anyhow::Result<Self> {
        Self::make(names).context("the server's certificate cannot be made")
    }

    fn make(names: &[&str]) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "connect-dev authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "connect-dev");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        Ok(Self { ca: authority.pem(), cert: certificate.pem(), key: key.serialize_pem() })
    }
}

/// What a server serves https with.
#[derive(Clone)]
pub(crate) struct Authority {
    /// The certificate of the authority that signed it, if it was made here.
    pub(crate) pem: Option<String>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// One made now, for 127.0.0.1 and `localhost`.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let made = Certificate::new(&["localhost", "127.0.0.1"])?;
        let signed = Self::of(&made.cert, &made.key)?;
        Ok(Self { pem: Some(made.ca), ..signed })
    }

    /// A certificate, or a chain of them, and its key, in PEM.
    pub(crate) fn of(cert: &str, key: &str) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(cert.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("the certificate is not in PEM")?;
        if chain.is_empty() {
            bail!("there is no certificate in it");
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("the key is not in PEM")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("the certificate and its key do not go together")?;
        Ok(Self { pem: None, config: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}
