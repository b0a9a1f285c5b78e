//! `portcullis plan`: what would be decided on a request, against a cluster or wholly from files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;

use super::files::{self, FileError};
use super::print::{DENIED, Output, came_to, failed, print};
use crate::api::{ConnectServer, ConnectServerSpec, CredentialPolicy, CredentialRequest, Occasion};
use crate::audit::text::terminal;
use crate::behavior::History;
use crate::plan::{Fetch, Given, Plan as Planned, PlanError, plan};
use crate::policy::{
    Circumstances, PolicySet, PolicyState, Requester, ServiceFacts, Transient, Verdict,
};

/// Say what would be decided on a request, and what it would get. Nothing is changed, and 1Password is not asked:
/// vaults and items are taken to be what the request calls them. Exits with 0 when it would be allowed, with 2 when
/// not, with 3 when that cannot be told.
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// The file with the CredentialRequest.
    #[arg(short = 'f', long = "file")]
    file: PathBuf,
    /// The request's namespace, where the file does not say; of the kubeconfig's context when absent.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Files with CredentialPolicies, in place of those of the cluster. With them the cluster is not asked at all.
    #[arg(long = "policies")]
    policies: Vec<PathBuf>,
    /// A file with the ConnectServer, beside --policies. Without it every vault may be read.
    #[arg(long, requires = "policies")]
    server: Option<PathBuf>,
    /// A label of the namespace, KEY=VALUE, beside --policies.
    #[arg(long = "label", requires = "policies", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Weigh it as a refresh of what was granted before.
    #[arg(long)]
    refresh: bool,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, thiserror::Error)]
enum PlanFailed {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("no Kubernetes to ask: no kubeconfig was found; --policies plans without one")]
    Config(#[from] kube::config::InferConfigError),
    #[error("the cluster cannot be asked for {0}: {1}")]
    Cluster(&'static str, Box<kube::Error>),
    #[error("there is no ConnectServer {0}")]
    NoServer(String),
    #[error("the answer cannot be printed: {0}")]
    Print(#[from] std::io::Error),
    #[error("there is nothing to run it with: {0}")]
    Runtime(std::io::Error),
}

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    request: String,
    outcome: &'static str,
    reason: &'static str,
    risk_score: i32,
    message: String,
    factors: Vec<ShownFactor>,
    recommendations: Vec<String>,
    policies: Vec<ShownPolicy>,
    fetches: Vec<Fetch>,
    secret: String,
}

#[derive(Serialize)]
struct ShownFactor {
    policy: String,
    rule: String,
    score: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<crate::api::Effect>,
    message: String,
}

#[derive(Serialize)]
struct ShownPolicy {
    policy: String,
    mode: crate::api::PolicyMode,
    outcome: &'static str,
    score: i32,
}

/// What is asked of a cluster, or read from files in its place.
struct Surroundings {
    labels: BTreeMap<String, String>,
    server: Option<ConnectServerSpec>,
    policies: PolicySet,
    namespace: String,
}

/// Reads KEY=VALUE.
fn label(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Plan {
    pub(super) fn run(self) -> ExitCode {
        match self.plan() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(DENIED),
            Err(error) => failed(&error),
        }
    }

    /// Plans each request of the file; whether all would be allowed.
    fn plan(&self) -> Result<bool, PlanFailed> {
        let mut shown = Vec::new();
        for request in files::requests(&self.file)? {
            let around = if self.policies.is_empty() {
                let runtime = tokio::runtime::Runtime::new().map_err(PlanFailed::Runtime)?;
                runtime.block_on(self.of_cluster(&request))?
            } else {
                self.of_files(&request)?
            };
            let planned = self.decide(&request, around)?;
            shown.push(planned);
        }
        let all = shown.iter().all(|s| matches!(s.outcome, "Allowed" | "Alerted"));
        match shown.as_slice() {
            [one] => print(self.output, one, text)?,
            _ => print(self.output, &shown, |all| all.iter().map(text).collect())?,
        }
        Ok(all)
    }

    fn decide(
        &self,
        request: &CredentialRequest,
        around: Surroundings,
    ) -> Result<Shown, PlanFailed> {
        let name = request.metadata.name.clone().unwrap_or_default();
        let annotations = request.metadata.annotations.as_ref();
        let requester = annotations.and_then(|a| a.get(crate::api::REQUESTED_BY_ANNOTATION));
        let transient = Transient {
            now: Utc::now(),
            anomalies: Vec::new(),
            history: History::default(),
            service: ServiceFacts { reachable: true, seconds_since_answer: 0 },
        };
        let given = Given {
            namespace: around.namespace.clone(),
            name: name.clone(),
            spec: request.spec.clone(),
            labels: around.labels,
            server: around.server,
            types: BTreeMap::new(),
            // Nobody vouched for what a file says.
            requester: requester.map(|name| Requester { name: name.clone(), verified: false }),
            circumstances: Circumstances {
                occasion: if self.refresh { Occasion::Refresh } else { Occasion::Grant },
                transient: Some(transient),
            },
        };
        let planned = plan(given, &around.policies)?;
        Ok(Shown::new(format!("{}/{name}", around.namespace), &planned))
    }

    fn of_files(&self, request: &CredentialRequest) -> Result<Surroundings, PlanFailed> {
        let server = match &self.server {
            Some(file) => Some(files::server(file)?.spec),
            None => None,
        };
        Ok(Surroundings {
            labels: self.labels.iter().cloned().collect(),
            server,
            policies: files::policies(self.policies.iter().map(PathBuf::as_path))?,
            namespace: self.namespace_of(request).unwrap_or_else(|| "default".to_owned()),
        })
    }

    async fn of_cluster(&self, request: &CredentialRequest) -> Result<Surroundings, PlanFailed> {
        let config = kube::Config::infer().await?;
        let namespace =
            self.namespace_of(request).unwrap_or_else(|| config.default_namespace.clone());
        let cluster = |what| move |error: kube::Error| PlanFailed::Cluster(what, Box::new(error));
        let client = Client::try_from(config).map_err(cluster("anything"))?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let labels = namespaces
            .get_metadata(&namespace)
            .await
            .map_err(cluster("the namespace's labels"))?
            .metadata
            .labels;
        let servers: Api<ConnectServer> = Api::all(client.clone());
        let name = request.spec.server_name();
        let server = servers.get_opt(name).await.map_err(cluster("the ConnectServer"))?;
        let server = server.ok_or_else(|| PlanFailed::NoServer(name.to_owned()))?.spec;
        let class = server.controller_class.clone().unwrap_or_default();
        let all: Api<CredentialPolicy> = Api::all(client);
        let policies = all.list(&ListParams::default()).await.map_err(cluster("the policies"))?;
        let of_class = policies
            .items
            .into_iter()
            .filter(|p| p.spec.controller_class.as_deref().unwrap_or_default() == class);
        let states = of_class.map(|policy| {
            let name = policy.metadata.name.unwrap_or_default();
            Arc::new(PolicyState::compile(&name, &policy.spec))
        });
        Ok(Surroundings {
            labels: labels.unwrap_or_default(),
            server: Some(server),
            policies: PolicySet::new(states.collect()),
            namespace,
        })
    }

    fn namespace_of(&self, request: &CredentialRequest) -> Option<String> {
        request.metadata.namespace.clone().or_else(|| self.namespace.clone())
    }
}

impl Shown {
    fn new(request: String, planned: &Planned) -> Self {
        let decision = planned.decision();
        let message = match &planned.verdict {
            Verdict::Held(hold) => &hold.why,
            Verdict::Granted(_) | Verdict::Refused(_) => &decision.message,
        };
        let is_granted = matches!(planned.verdict, Verdict::Granted(_));
        Self {
            request,
            outcome: came_to(&planned.verdict),
            reason: decision.reason.as_str(),
            risk_score: decision.risk_score,
            message: message.clone(),
            factors: decision
                .factors
                .iter()
                .map(|f| ShownFactor {
                    policy: f.policy.clone(),
                    rule: f.rule.clone(),
                    score: f.score,
                    effect: f.effect,
                    message: f.message.clone(),
                })
                .collect(),
            recommendations: decision.recommendations.clone(),
            policies: decision
                .policies
                .iter()
                .map(|p| ShownPolicy {
                    policy: p.policy.clone(),
                    mode: p.mode,
                    outcome: p.outcome.as_str(),
                    score: p.score,
                })
                .collect(),
            fetches: if is_granted { planned.fetches.clone() } else { Vec::new() },
            secret: planned.secret.clone(),
        }
    }
}

fn text(shown: &Shown) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{}: {} ({})",
        terminal(&shown.request),
        shown.outcome,
        terminal(&shown.message)
    );
    for factor in &shown.factors {
        let weight = match factor.effect {
            Some(effect) => format!("{effect:?}"),
            None => format!("+{}", factor.score),
        };
        let (policy, rule) = (terminal(&factor.policy), terminal(&factor.rule));
        let _ = writeln!(text, "  {weight:>6}  {policy}/{rule}: {}", terminal(&factor.message));
    }
    for policy in &shown.policies {
        let on_trial = match policy.mode {
            crate::api::PolicyMode::Enforce => "",
            crate::api::PolicyMode::Audit => ", on trial",
        };
        let name = terminal(&policy.policy);
        let _ =
            writeln!(text, "  policy {name}: {} with {}{on_trial}", policy.outcome, policy.score);
    }
    for recommendation in &shown.recommendations {
        let _ = writeln!(text, "  recommended: {}", terminal(recommendation));
    }
    if !shown.fetches.is_empty() {
        let _ = writeln!(text, "  Secret {} would hold:", terminal(&shown.secret));
        for fetch in &shown.fetches {
            let (vault, item, field) =
                (terminal(&fetch.vault), terminal(&fetch.item), terminal(&fetch.field));
            let _ = writeln!(
                text,
                "    {} from field {field} of item {item} of vault {vault}",
                terminal(&fetch.key)
            );
        }
    }
    text
}
