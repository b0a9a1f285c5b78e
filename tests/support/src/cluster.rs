use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::iter;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Api, Client, Config};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{install_tls, manifests, wait};

/// Names a kubeconfig of a running cluster to use instead of one of our own.
const KUBECONFIG_VARIABLE: &str = "PORTCULLIS_TEST_KUBECONFIG";
/// Tokens of ServiceAccounts outlive any test.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A control plane with the CRDs and the operator's ClusterRole in it. Ends when dropped.
///
/// It speaks as [`Access`] does.
#[derive(Debug)]
pub struct Cluster {
    access: Access,
    // Dropped last: it waits for the end of the processes.
    control_plane: Option<ControlPlane>,
}

/// How to reach a cluster, and as whom. Cheap to clone.
///
/// Clients belong to the runtime that made them, and each test has its own; so every call makes a new client.
#[derive(Clone, Debug)]
pub struct Access {
    config: Config,
    kubeconfig: Kubeconfig,
    path: PathBuf,
    kubectl: PathBuf,
    dir: Option<PathBuf>,
}

/// `up`, which ends its children when its stdin closes.
#[derive(Debug)]
struct ControlPlane(Child);

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The line that `up` prints.
#[derive(Deserialize)]
struct Announcement {
    kubeconfig: PathBuf,
    dir: PathBuf,
    bin: PathBuf,
}

impl Deref for Cluster {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Cluster {
    /// The cluster that the tests of this binary share; started by the first one that asks.
    ///
    /// # Panics
    /// When it does not start, with what to do.
    pub async fn shared() -> &'static Self {
        // The outcome is kept, so that one failure is not tried again by each test.
        static SHARED: OnceCell<Result<Cluster, String>> = OnceCell::const_new();
        let started = SHARED
            .get_or_init(async || {
                let cluster = match std::env::var_os(KUBECONFIG_VARIABLE) {
                    Some(path) => Self::running(path.into()).await,
                    None => Self::start().await,
                };
                cluster.map_err(|error| format!("{error:#}"))
            })
            .await;
        match started {
            Ok(cluster) => cluster,
            Err(error) => panic!("no control plane: {error}"),
        }
    }

    /// A cluster of one's own, for what disturbs a whole cluster.
    ///
    /// # Errors
    /// When it is not built or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::bare().await?.prepared().await
    }

    /// A cluster of one's own that has never heard of Portcullis.
    ///
    /// # Errors
    /// When it is not built or does not start.
    pub async fn bare() -> anyhow::Result<Self> {
        Self::up(Vec::new()).await
    }

    /// The same with a node that pods run on, which has these images: OCI archives. Needs root.
    ///
    /// # Errors
    /// When it is not built or does not start.
    pub async fn with_node(images: &[PathBuf]) -> anyhow::Result<Self> {
        let images = images.iter().flat_map(|image| ["--image".into(), image.into()]);
        Self::up(iter::once("--node".into()).chain(images).collect()).await
    }

    async fn up(args: Vec<OsString>) -> anyhow::Result<Self> {
        let start = move || start_control_plane(&args);
        let (control_plane, ready) = tokio::task::spawn_blocking(start).await??;
        let kubectl = ready.bin.join("kubectl");
        let access = Access::new(ready.kubeconfig, kubectl, Some(ready.dir)).await?;
        Ok(Self { access, control_plane: Some(control_plane) })
    }

    /// The process that ends all others of a cluster of ours with itself.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.control_plane.as_ref().map(|up| up.0.id())
    }

    async fn running(path: PathBuf) -> anyhow::Result<Self> {
        let access = Access::new(path, "kubectl".into(), None).await?;
        Self { access, control_plane: None }.prepared().await
    }

    async fn prepared(self) -> anyhow::Result<Self> {
        let client = self.admin();
        // First of all: the garbage collector looks for new kinds only each 30 seconds.
        let crds = manifests::crds()?;
        for crd in &crds {
            manifests::apply(&client, crd).await?;
        }
        for object in manifests::operator_rights()? {
            if object["kind"] == "ClusterRole" {
                manifests::apply(&client, &object).await?;
            }
        }
        for crd in crds {
            wait_served(&client, crd).await?;
        }
        Ok(self)
    }
}

impl Access {
    async fn new(path: PathBuf, kubectl: PathBuf, dir: Option<PathBuf>) -> anyhow::Result<Self> {
        install_tls();
        let kubeconfig = Kubeconfig::read_from(&path)?;
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default())
                .await?;
        // A test wants to see an error, not wait for its end.
        config.default_retry = false;
        Ok(Self { config, kubeconfig, path, kubectl, dir })
    }

    /// How to reach the cluster as its administrator.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A client of the administrator.
    #[must_use]
    pub fn admin(&self) -> Client {
        client(self.config())
    }

    /// A client of a user in groups, by impersonation.
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        let mut config = self.config();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&g| g.to_owned()).collect());
        client(config)
    }

    /// How to reach the cluster as a ServiceAccount, by a token as a pod would have it.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_config(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Config> {
        let mut config = self.config();
        config.auth_info = self.service_account(namespace, name).await?;
        Ok(config)
    }

    /// A client of a ServiceAccount.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_client(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Client> {
        Ok(client(self.service_account_config(namespace, name).await?))
    }

    /// The text of a kubeconfig of a ServiceAccount, for a process.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<String> {
        let auth_info = self.service_account(namespace, name).await?;
        let mut kubeconfig = self.kubeconfig.clone();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(auth_info.clone());
        }
        for context in kubeconfig.contexts.iter_mut().filter_map(|c| c.context.as_mut()) {
            context.namespace = Some(namespace.to_owned());
        }
        // JSON is YAML.
        Ok(serde_json::to_string_pretty(&kubeconfig)?)
    }

    async fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<AuthInfo> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let token = answer
            .with_context(|| format!("no token for ServiceAccount {namespace}/{name}"))?
            .status
            .context("a TokenRequest without an answer")?
            .token;
        Ok(AuthInfo { token: Some(token.into()), ..AuthInfo::default() })
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.path
    }

    /// The kubectl of the cluster's version.
    #[must_use]
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// The control plane's data and logs, if it is one of ours.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// The API server's audit log, one JSON object a line and request, if the cluster is one of ours.
    #[must_use]
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join("audit.log"))
    }
}

fn client(config: Config) -> Client {
    Client::try_from(config).expect("the kubeconfig was read, so a client can be made")
}

/// Starts `up` and waits for its line. Blocks.
fn start_control_plane(args: &[OsString]) -> anyhow::Result<(ControlPlane, Announcement)> {
    let mut child = Command::new(up_program()?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start it; run `make cluster`")?;
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    let control_plane = ControlPlane(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        bail!("it ended before it was ready; its last words are on stderr");
    }
    let ready = serde_json::from_str(&line).context("it said something other than where it is")?;
    Ok((control_plane, ready))
}

/// The program that starts control planes.
///
/// # Errors
/// When it is not built.
pub fn up_program() -> anyhow::Result<PathBuf> {
    let script = manifests::repository().join("tests/cluster/build.sh");
    let output = Command::new("sh").arg(script).arg("--path").output()?;
    if !output.status.success() {
        bail!("build.sh --path failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let up = Path::new(String::from_utf8(output.stdout)?.trim()).join("up");
    if !up.exists() {
        bail!("it is not built, or not from these sources; run `make cluster`");
    }
    Ok(up)
}

/// Waits until the kind of a CRD is established and answers.
async fn wait_served(client: &Client, crd: Value) -> anyhow::Result<()> {
    let crd: CustomResourceDefinition = serde_json::from_value(crd)?;
    let name = crd.metadata.name.context("a CRD without a name")?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    wait::until(&format!("CRD {name} to be established"), wait::WAIT, async || {
        let found = api.get(&name).await.map_err(|e| e.to_string())?;
        let conditions = found.status.and_then(|s| s.conditions).unwrap_or_default();
        let established = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
        established.then_some(()).ok_or_else(|| format!("{conditions:?}"))
    })
    .await;

    let version = &crd.spec.versions.first().context("a CRD without a version")?.name;
    let resource = ApiResource {
        group: crd.spec.group.clone(),
        version: version.clone(),
        api_version: format!("{}/{version}", crd.spec.group),
        kind: crd.spec.names.kind.clone(),
        plural: crd.spec.names.plural.clone(),
    };
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    wait::until(&format!("{name} to be served"), wait::WAIT, async || {
        objects.list(&ListParams::default().limit(1)).await.map(|_| ()).map_err(|e| e.to_string())
    })
    .await;
    Ok(())
}
