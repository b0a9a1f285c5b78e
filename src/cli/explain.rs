//! `portcullis explain`: the decision on a request, in words; and `portcullis refresh`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::print::failed;
use crate::api::{CredentialRequest, CredentialRequestStatus, Outcome, REFRESH_ANNOTATION};
use crate::audit::text::terminal;

/// Say in words what was decided on a request, why, and what came of it.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    request: Named,
}

/// Have 1Password asked anew for what a request needs.
#[derive(Debug, Args)]
pub(super) struct Refresh {
    #[command(flatten)]
    request: Named,
}

/// A request of a cluster.
#[derive(Debug, Args)]
struct Named {
    /// The request's name.
    name: String,
    /// Its namespace; of the kubeconfig's context when absent.
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error("no Kubernetes to ask: no kubeconfig was found")]
    Config(#[from] kube::config::InferConfigError),
    #[error("there is no CredentialRequest {0} in namespace {1}")]
    NotFound(String, String),
    #[error("the cluster does not do it: {0}")]
    Cluster(#[from] kube::Error),
    #[error("there is nothing to run it with, or nothing to print to: {0}")]
    Io(#[from] std::io::Error),
}

impl Named {
    async fn api(&self) -> Result<(Api<CredentialRequest>, String), ClusterError> {
        let config = kube::Config::infer().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)?;
        Ok((Api::namespaced(client, &namespace), namespace))
    }
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        match self.explain() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }

    fn explain(&self) -> Result<(), ClusterError> {
        let runtime = tokio::runtime::Runtime::new()?;
        let request = runtime.block_on(async {
            let (api, namespace) = self.request.api().await?;
            let name = &self.request.name;
            let found = api.get_opt(name).await?;
            found.ok_or_else(|| ClusterError::NotFound(name.clone(), namespace))
        })?;
        std::io::stdout().lock().write_all(words(&request).as_bytes())?;
        Ok(())
    }
}

impl Refresh {
    pub(super) fn run(self) -> ExitCode {
        match self.refresh() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }

    fn refresh(&self) -> Result<(), ClusterError> {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let (api, namespace) = self.request.api().await?;
            let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            let patch = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: now}}});
            let name = &self.request.name;
            match api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    Err(ClusterError::NotFound(name.clone(), namespace))
                }
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// What a request's status says, as sentences.
fn words(request: &CredentialRequest) -> String {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    let mut text =
        format!("Request {name} of namespace {namespace}: {}\n", terminal(&request.spec.purpose));
    let Some(status) = &request.status else {
        text.push_str("Nobody has looked at it yet: does an operator of its server's class run?\n");
        return text;
    };
    if status.observed_generation != request.metadata.generation {
        text.push_str(
            "What follows is of an earlier spec; the one of now was not looked at yet.\n",
        );
    }
    // Writing to a String does not fail.
    if let Some(decision) = &status.decision {
        let verdict = match decision.outcome {
            Outcome::Allowed => "It was allowed",
            Outcome::Alerted => "It was allowed, with an alert",
            Outcome::Deferred => "It has to wait",
            Outcome::Denied => "It was denied",
        };
        let _ = writeln!(
            text,
            "{verdict} at {}, with risk {} of 100.",
            decision.decided_at.0, decision.risk_score
        );
        for factor in &decision.factors {
            let weight = match factor.effect {
                Some(effect) => format!("{effect:?}"),
                None => format!("{} points", factor.score),
            };
            let (policy, rule) = (terminal(&factor.policy), terminal(&factor.rule));
            let _ = writeln!(
                text,
                "- {weight} by rule {rule} of policy {policy}: {}",
                terminal(&factor.message)
            );
        }
        for anomaly in &decision.anomalies {
            let _ = writeln!(
                text,
                "- unusual ({}): {}",
                terminal(&anomaly.detector),
                terminal(&anomaly.message)
            );
        }
        for recommendation in &decision.recommendations {
            let _ = writeln!(text, "- recommended: {}", terminal(recommendation));
        }
    }
    for type_ in ["Authorized", "Ready"] {
        if let Some(condition) = condition(status, type_) {
            let Condition { status, reason, message, .. } = condition;
            let _ = writeln!(text, "{type_} is {status} ({reason}): {}", terminal(message));
        }
    }
    if let Some(sync) = &status.sync {
        let (secret, keys) = (terminal(&sync.secret_name), sync.keys.len());
        let source = sync.source.as_str();
        let _ = writeln!(
            text,
            "Secret {secret} holds {keys} keys of {} items, from {source}.",
            sync.item_count
        );
        if let Some(since) = &sync.stale_since {
            let _ = writeln!(
                text,
                "1Password could not be asked since {} whether that is current.",
                since.0
            );
        }
    }
    text
}

fn condition<'s>(status: &'s CredentialRequestStatus, type_: &str) -> Option<&'s Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}
