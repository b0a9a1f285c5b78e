//! `portcullis plan`: what would be decided on a request, against a cluster or wholly from files.

mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::api::{
    AccessProfile, ConnectServer, ConnectServerSpec, CredentialPolicy, CredentialRequest,
    DataEntry, Occasion,
};
use crate::behavior::{History, Profile, Profiles};
use crate::cli::files::{self, Class, FileError};
use crate::cli::print::{DENIED, Output, failed, print};
use crate::plan::{Given, Past, PlanError, plan};
use crate::policy::{Circumstances, PolicySet, PolicyState, Requester, ServiceFacts, Transient};
use crate::reference::{Reference, is_id};
use crate::settings::Settings;
use shown::{Shown, text};

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
    /// Files with AccessProfiles, beside --policies. Without them nothing is usual and nothing is unusual.
    #[arg(long, requires = "policies")]
    profiles: Vec<PathBuf>,
    /// The operator's namespace, where the AccessProfiles of a cluster are.
    #[arg(long, env = "PORTCULLIS_OPERATOR_NAMESPACE", default_value = "portcullis")]
    operator_namespace: String,
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

/// What is asked of a cluster, or read from files in its place.
struct Surroundings {
    labels: BTreeMap<String, String>,
    server: Option<ConnectServerSpec>,
    policies: PolicySet,
    namespace: String,
    /// What is known of the past, or why it is not.
    past: Result<Past, String>,
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
            lasts: Transient::LASTS,
        };
        let (past, notes) = match around.past {
            Ok(past) => (Some(past), by_title(request)),
            Err(why) => (None, vec![format!("what is usual was not weighed: {why}")]),
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
            past,
        };
        let planned = plan(given, &around.policies)?;
        Ok(Shown::new(format!("{}/{name}", around.namespace), &planned, notes))
    }

    fn of_files(&self, request: &CredentialRequest) -> Result<Surroundings, PlanFailed> {
        let server = match &self.server {
            Some(file) => Some(files::server(file)?.spec),
            None => None,
        };
        let class = server.as_ref().map(|s| s.controller_class.clone().unwrap_or_default());
        let of = class.as_deref().map_or(Class::Any, Class::Of);
        let past = if self.profiles.is_empty() {
            Err("--profiles names files with AccessProfiles".to_owned())
        } else {
            let profiles = files::profiles(self.profiles.iter().map(PathBuf::as_path))?;
            Ok(past(profiles, class.as_deref().unwrap_or_default(), None))
        };
        Ok(Surroundings {
            labels: self.labels.iter().cloned().collect(),
            server,
            past,
            policies: files::policies(self.policies.iter().map(PathBuf::as_path), of)?,
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
        let metadata = namespaces.get_metadata(&namespace).await;
        let metadata = metadata.map_err(cluster("the namespace's labels"))?.metadata;
        let (labels, created) = (metadata.labels, metadata.creation_timestamp);
        let servers: Api<ConnectServer> = Api::all(client.clone());
        let name = request.spec.server_name();
        let server = servers.get_opt(name).await.map_err(cluster("the ConnectServer"))?;
        let server = server.ok_or_else(|| PlanFailed::NoServer(name.to_owned()))?.spec;
        let class = server.controller_class.clone().unwrap_or_default();
        let profiles: Api<AccessProfile> =
            Api::namespaced(client.clone(), &self.operator_namespace);
        let past = match profiles.list(&ListParams::default()).await {
            Ok(list) => {
                Ok(past(list.items, &class, created.map(|at| SystemTime::from(at.0).into())))
            }
            Err(error) => Err(format!(
                "the AccessProfiles of namespace {} cannot be read: {error}",
                self.operator_namespace
            )),
        };
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
            past,
        })
    }

    fn namespace_of(&self, request: &CredentialRequest) -> Option<String> {
        request.metadata.namespace.clone().or_else(|| self.namespace.clone())
    }
}

/// What profiles of a class tell of the past. Who wrote them is not proven: that takes the operator's key.
fn past(
    profiles: Vec<AccessProfile>,
    class: &str,
    namespace_created: Option<DateTime<Utc>>,
) -> Past {
    let mut known = Profiles::default();
    for profile in profiles {
        let name = profile.metadata.name.unwrap_or_default();
        let Some(namespace) = Profiles::namespace_of(&name, class) else { continue };
        if let Ok(opened) = Profile::open(namespace, &profile.spec, |_, _| true) {
            known.load(namespace, opened);
        }
    }
    let settings = Settings::default();
    let (learning, limits) = (settings.learning, settings.behavior);
    Past { profiles: known, namespace_created, learning, limits }
}

/// That items by their titles are taken for new ones, where there are any.
fn by_title(request: &CredentialRequest) -> Vec<String> {
    let is_by_title = |entry: &DataEntry| {
        let item = match (&entry.reference, &entry.from) {
            (Some(text), _) => text.parse::<Reference>().ok().map(|reference| reference.item),
            (None, from) => from.as_ref().map(|from| from.item.clone()),
        };
        item.is_some_and(|item| !is_id(&item))
    };
    if request.spec.data.iter().any(is_by_title) {
        let note = "items that are named by title count as new to the namespace: only 1Password knows their ids";
        vec![note.to_owned()]
    } else {
        Vec::new()
    }
}
