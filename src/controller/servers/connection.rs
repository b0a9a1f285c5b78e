//! What it takes to talk to a server: a token that may be sent to its hosts, and an authority.

use std::num::NonZeroU32;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::observed::Observed;
use super::{Broken, ServerTask};
use crate::api::{
    ALLOWED_HOSTS_ANNOTATION, ConnectServerSpec, PURPOSE_CONNECT_TOKEN, PURPOSE_LABEL, Persistence,
    Reason, normalized_origin,
};
use crate::connect::{BuildError, Client, ClientConfig, CoolDown, ListLimits, Retries};
use crate::index::ObjectKey;
use crate::kube_io::ApiError;

impl ServerTask {
    pub(super) async fn connection(
        &self,
        server: &str,
        spec: &ConnectServerSpec,
    ) -> Result<ClientConfig, Failure> {
        let token = self.token(spec).await?;
        let ca_pem = self.authority(spec).await?;
        let limit =
            spec.limits.as_ref().and_then(|l| l.concurrency).and_then(|c| usize::try_from(c).ok());
        let settings = &self.config.settings;
        Ok(ClientConfig {
            hosts: spec.origins(),
            token,
            ca_pem,
            proxy: self.config.proxy,
            observer: Arc::new(Observed {
                server: server.to_owned(),
                metrics: self.config.metrics.clone(),
            }),
            connect_timeout: settings.connect_timeout,
            call_timeout: settings.call_timeout,
            retries: Retries {
                rounds: settings.connect_retries,
                first: settings.connect_retry_first,
                max: settings.connect_retry_max,
            },
            cool_down: CoolDown { first: settings.cool_down_first, max: settings.cool_down_max },
            item_body_limit: settings.item_body_limit,
            file_body_limit: settings.file_body_limit,
            list_limits: ListLimits {
                body: settings.list_body_limit,
                entry: settings.list_entry_limit,
                entries: settings.list_entries,
            },
            concurrency: limit.unwrap_or(settings.server_concurrency),
            requests_per_second: spec
                .limits
                .as_ref()
                .and_then(|l| l.requests_per_second)
                .and_then(|r| u32::try_from(r).ok())
                .and_then(NonZeroU32::new),
        })
    }

    /// Reads the token, after its Secret's metadata said that it is one and may be sent to the hosts.
    async fn token(&self, spec: &ConnectServerSpec) -> Result<SecretString, Failure> {
        let (reference, namespace) = (&spec.token_secret_ref, &self.config.namespace);
        let (name, key, origins) = (&reference.name, reference.key(), spec.origins().join(","));
        let Some(metadata) = self.secrets.get(name) else {
            return Err(Failure::broken(
                Reason::TokenNotFound,
                format!(
                    "there is no Secret {name} in namespace {namespace}; make it: kubectl --namespace {namespace} \
                     create secret generic {name} --from-file={key}=<file> && kubectl --namespace {namespace} \
                     label secret {name} {PURPOSE_LABEL}={PURPOSE_CONNECT_TOKEN} && kubectl --namespace \
                     {namespace} annotate secret {name} {ALLOWED_HOSTS_ANNOTATION}={origins}"
                ),
            ));
        };
        self.check_token(spec, metadata)?;
        let secret = self.config.io.secret(&ObjectKey::new(namespace, name)).await?;
        // What was read may be another Secret than the one that was told of.
        if let Some(secret) = &secret {
            self.check_token(spec, &secret.metadata)?;
        }
        let bytes = secret.and_then(|s| s.data).and_then(|mut data| data.remove(key));
        let text = bytes.and_then(|b| String::from_utf8(b.0).ok()).map(|t| t.trim().to_owned());
        match text {
            Some(token) if !token.is_empty() => Ok(SecretString::from(token)),
            Some(_) | None => Err(Failure::broken(
                Reason::TokenNotFound,
                format!(
                    "Secret {name} of namespace {namespace} has no key {key} with a token; set it: kubectl \
                     --namespace {namespace} patch secret {name} --patch '{{\"stringData\":{{\"{key}\":\"<token>\"}}}}'"
                ),
            )),
        }
    }

    /// Whether a Secret is marked as a token and may be sent to each of the server's hosts.
    fn check_token(&self, spec: &ConnectServerSpec, metadata: &ObjectMeta) -> Result<(), Failure> {
        let (name, namespace) = (&spec.token_secret_ref.name, &self.config.namespace);
        let labelled =
            metadata.labels.as_ref().and_then(|l| l.get(PURPOSE_LABEL)).map(String::as_str);
        if labelled != Some(PURPOSE_CONNECT_TOKEN) {
            return Err(Failure::broken(
                Reason::TokenNotForHost,
                format!(
                    "Secret {name} is not marked as a Connect token, and is not read; if it is one: \
                     kubectl --namespace {namespace} label --overwrite secret {name} \
                     {PURPOSE_LABEL}={PURPOSE_CONNECT_TOKEN}"
                ),
            ));
        }
        let allowed = metadata.annotations.as_ref().and_then(|a| a.get(ALLOWED_HOSTS_ANNOTATION));
        let allowed = allowed.map(String::as_str).unwrap_or_default();
        if let Some(Lacking { missing, all }) = lacking(&spec.origins(), allowed) {
            return Err(Failure::broken(
                Reason::TokenNotForHost,
                format!(
                    "Secret {name} does not allow its token to be sent to {missing}; to allow it: kubectl \
                     --namespace {namespace} annotate --overwrite secret {name} {ALLOWED_HOSTS_ANNOTATION}={all}"
                ),
            ));
        }
        Ok(())
    }

    async fn authority(&self, spec: &ConnectServerSpec) -> Result<Option<Vec<u8>>, Failure> {
        let Some(ca) = &spec.ca else { return Ok(None) };
        let missing = |kind: &str, name: &str, key: &str| {
            Failure::broken(
                Reason::CaInvalid,
                format!(
                    "spec.ca: there is no key {key} in {kind} {name} of namespace {}",
                    self.config.namespace
                ),
            )
        };
        if let Some(reference) = &ca.secret_ref {
            let secret = self
                .config
                .io
                .secret(&ObjectKey::new(&self.config.namespace, &reference.name))
                .await?;
            let pem = secret.and_then(|s| s.data).and_then(|mut data| data.remove(reference.key()));
            return pem
                .map(|p| Some(p.0))
                .ok_or_else(|| missing("Secret", &reference.name, reference.key()));
        }
        if let Some(reference) = &ca.config_map_ref {
            let api: Api<ConfigMap> =
                Api::namespaced(self.config.client.clone(), &self.config.namespace);
            let read = tokio::time::timeout(
                self.config.settings.write_timeout,
                api.get_opt(&reference.name),
            )
            .await;
            let map = read.map_err(|_| ApiError::TimedOut)?.map_err(|_| ApiError::Unreachable)?;
            let pem = map.and_then(|m| m.data).and_then(|mut data| data.remove(reference.key()));
            return pem
                .map(|p| Some(p.into_bytes()))
                .ok_or_else(|| missing("ConfigMap", &reference.name, reference.key()));
        }
        Ok(ca.inline.clone().map(String::into_bytes))
    }
}

/// What an annotation of allowed hosts lacks.
#[derive(Debug, PartialEq, Eq)]
struct Lacking {
    /// The origins that it lacks, as a sentence has them.
    missing: String,
    /// What it has to be: in one word, whatever somebody wrote into it, since the command is for a shell.
    all: String,
}

/// Holds an annotation of allowed hosts against the origins of a server.
fn lacking(origins: &[String], annotation: &str) -> Option<Lacking> {
    let allowed: Vec<String> = annotation.split(',').map(normalized_origin).collect();
    let missing: Vec<&str> =
        origins.iter().filter(|o| !allowed.contains(o)).map(String::as_str).collect();
    if missing.is_empty() {
        return None;
    }
    let known = allowed.iter().map(String::as_str);
    let all: Vec<&str> = known
        .filter(|host| !host.is_empty() && host.chars().all(is_of_origin))
        .chain(missing.iter().copied())
        .collect();
    Some(Lacking { missing: missing.join(" and "), all: all.join(",") })
}

/// Whether an origin can have the character. None of them but the brackets of an IPv6 address, which a shell
/// leaves as they are where no file has such a name, means anything to a shell.
fn is_of_origin(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:[]-/".contains(c)
}

/// Why there is no connection.
pub(super) enum Failure {
    /// Something has to be mended.
    Broken(Broken),
    /// The API server did not answer; worth another try.
    Api(ApiError),
}

impl Failure {
    fn broken(reason: Reason, message: String) -> Self {
        Self::Broken(Broken { reason, message })
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

pub(super) fn unbuilt(error: BuildError, spec: &ConnectServerSpec) -> Broken {
    let reason = match error {
        BuildError::Token => Reason::TokenNotFound,
        BuildError::Ca | BuildError::Tls => Reason::CaInvalid,
        BuildError::Host => Reason::ConnectUnavailable,
    };
    Broken { reason, message: format!("no client for {}: {error}", spec.origins().join(", ")) }
}

/// What cached values are bound to, besides the server's name: the token and the hosts that gave them, and the
/// authority that vouched for these.
pub(super) fn connection_digest(client: &Client, ca_pem: Option<&[u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"portcullis connection");
    hash.update(client.token_identity());
    hash.update(Sha256::digest(ca_pem.unwrap_or_default()));
    for host in client.hosts() {
        hash.update((host.origin.len() as u64).to_be_bytes());
        hash.update(host.origin.as_bytes());
    }
    hash.finalize().into()
}

/// What makes a connection another one. Not kept in clear: it covers the token.
pub(super) fn fingerprint(spec: &ConnectServerSpec, config: &ClientConfig) -> [u8; 32] {
    let mut hash = Sha256::new();
    let interval = spec.poll_interval().map(|i| i.as_millis()).unwrap_or_default();
    let hosts = config.hosts.join(",");
    let persists = spec.persistence() == Persistence::Secret;
    for part in [
        hosts.as_bytes(),
        config.token.expose_secret().as_bytes(),
        config.ca_pem.as_deref().unwrap_or_default(),
        &config.concurrency.to_be_bytes(),
        &config.requests_per_second.map_or(0, NonZeroU32::get).to_be_bytes(),
        &interval.to_be_bytes(),
        &[u8::from(persists)],
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "https://a.internal:8443";
    const SECOND: &str = "https://b.internal:8443";

    fn held_against(annotation: &str) -> Option<(String, String)> {
        let origins = [FIRST.to_owned(), SECOND.to_owned()];
        lacking(&origins, annotation).map(|lacking| (lacking.missing, lacking.all))
    }

    #[test]
    fn a_token_goes_to_a_server_only_if_every_host_is_allowed() {
        assert_eq!(held_against(&format!("{SECOND},https://c, HTTPS://A.internal:8443/")), None);
        let both = format!("{FIRST},{SECOND}");
        assert_eq!(held_against(FIRST), Some((SECOND.to_owned(), both.clone())));
        assert_eq!(held_against(""), Some((format!("{FIRST} and {SECOND}"), both)));
    }

    #[test]
    fn the_command_keeps_what_is_allowed_and_nothing_that_a_shell_would_run() {
        let (missing, all) = held_against(&format!("https://c,$(id),{FIRST},a b")).unwrap();
        assert_eq!((missing, all), (SECOND.to_owned(), format!("https://c,{FIRST},{SECOND}")));
    }
}
