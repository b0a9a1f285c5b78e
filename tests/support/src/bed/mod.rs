//! Everything that one test needs, apart from every other test's: a [`Bed`].

mod objects;
mod observe;
mod requests;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use connect_dev::{ConnectDev, FieldSpec, ItemSpec, StateSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Config};
use portcullis::api::{
    ALLOWED_HOSTS_ANNOTATION, ConnectServer, CredentialPolicy, CredentialRequest,
    PURPOSE_CONNECT_TOKEN, PURPOSE_LABEL,
};
use serde_json::{Value, json};

pub use observe::{SecretHistory, Seen};
pub use requests::condition;

use crate::{Access, Cluster, manifests, wait};

/// The name of the operator's ServiceAccount, Role and so on in `deploy/`.
const OPERATOR: &str = "portcullis";
/// The Secret with the token in the operator's namespace.
pub const TOKEN_SECRET: &str = "connect-token";
/// The vault that the tenant may read.
pub const VAULT: &str = "services";
/// A vault that the token opens and the tenant may not read.
pub const FORBIDDEN_VAULT: &str = "infra";

/// A tenant, an operator's place and rights, a Connect server, and a ConnectServer and a CredentialPolicy for them.
///
/// The names are the bed's alone, and so is the controller class; an operator of that class sees nothing of other
/// beds. Every value in 1Password, and the token, contains [`Bed::canary`]. The vault `services` has the items
/// `orders-db` and `orders-api`, `infra` has `root`; each with the fields `username`, `password` and `url`.
pub struct Bed {
    /// The cluster it stands in.
    pub cluster: Access,
    /// A client of the administrator.
    pub client: Client,
    /// The tenant's namespace.
    pub namespace: String,
    /// The operator's namespace.
    pub operator_namespace: String,
    /// The controller class of everything in the bed.
    pub class: String,
    /// The ConnectServer.
    pub server: String,
    /// The CredentialPolicy, which matches everything and has no rules.
    pub policy: String,
    /// 1Password Connect.
    pub connect: ConnectDev,
    /// The token in the token Secret, which opens every vault.
    pub token: String,
    canary: String,
}

impl Bed {
    /// A bed in the shared cluster.
    ///
    /// # Panics
    /// When there is no cluster, or it refuses something.
    pub async fn new(name: &str) -> Self {
        Self::on(Cluster::shared().await, name).await
    }

    /// A bed in another cluster.
    ///
    /// # Panics
    /// When the cluster refuses something.
    pub async fn on(cluster: &Access, name: &str) -> Self {
        assert!(name.len() <= 40, "{name} is too long for the name of a bed");
        let random = format!("{:06x}", RandomState::new().hash_one(name) & 0xff_ffff);
        let class = format!("{name}-{random}");
        let canary = format!("canary-{random}");
        let token = format!("{canary}-token");
        let connect = ConnectDev::start(state(&canary, &token)).expect("the Connect server starts");
        let bed = Self {
            cluster: cluster.clone(),
            client: cluster.admin(),
            namespace: format!("t-{class}"),
            operator_namespace: format!("op-{class}"),
            server: class.clone(),
            policy: class.clone(),
            class,
            connect,
            token,
            canary,
        };
        bed.furnish().await;
        bed
    }

    async fn furnish(&self) {
        self.create_namespace(&self.namespace, &[]).await;
        self.create_namespace(&self.operator_namespace, &[]).await;
        for object in self.operator_objects() {
            self.apply(object).await;
        }
        self.apply_token(&self.token).await;
        self.apply(json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialPolicy",
            "metadata": {"name": self.policy},
            "spec": {"controllerClass": self.class},
        }))
        .await;
        self.apply(self.server_manifest()).await;
        self.wait_rights().await;
    }

    /// The bed's ConnectServer as it was applied.
    #[must_use]
    pub fn server_manifest(&self) -> Value {
        json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "ConnectServer",
            "metadata": {"name": self.server},
            "spec": {
                "controllerClass": self.class,
                "hosts": [{"url": self.connect.url()}],
                "allowInsecure": true,
                "tokenSecretRef": {"name": TOKEN_SECRET},
                "access": [{"name": "tenant", "namespaces": {"names": [self.namespace]}, "vaults": [{"name": VAULT}]}],
                "pollInterval": "1s",
            },
        })
    }

    /// The rights that `deploy/install.yaml` gives the operator, for this bed's namespace.
    fn operator_objects(&self) -> Vec<Value> {
        let mut objects = manifests::operator_rights().expect("deploy/install.yaml is readable");
        // The shared cluster has it, and it names no namespace.
        objects.retain(|object| object["kind"] != "ClusterRole");
        for object in &mut objects {
            if object["kind"] == "ClusterRoleBinding" {
                object["metadata"]["name"] = json!(format!("{OPERATOR}-{}", self.class));
            } else {
                object["metadata"]["namespace"] = json!(self.operator_namespace);
            }
            for subject in
                object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten()
            {
                subject["namespace"] = json!(self.operator_namespace);
            }
        }
        objects
    }

    /// Waits until the API server has heard of the operator's rights.
    async fn wait_rights(&self) {
        let client = self.service_account_client().await;
        let requests: Api<CredentialRequest> = Api::all(client.clone());
        let config_maps: Api<ConfigMap> = Api::namespaced(client, &self.operator_namespace);
        let one = ListParams::default().limit(1);
        wait::until("the operator's rights", wait::WAIT, async || {
            requests.list(&one).await.map_err(|e| e.to_string())?;
            config_maps.list(&one).await.map_err(|e| e.to_string())
        })
        .await;
    }

    /// Writes the token Secret, with its label and the server's origin as an allowed host.
    pub async fn apply_token(&self, token: &str) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": TOKEN_SECRET, "namespace": self.operator_namespace,
                "labels": {PURPOSE_LABEL: PURPOSE_CONNECT_TOKEN},
                "annotations": {ALLOWED_HOSTS_ANNOTATION: self.connect.url()},
            },
            "stringData": {"token": token},
        }))
        .await;
    }

    /// How the operator reaches the cluster: as its ServiceAccount, with the rights of `deploy/`.
    pub async fn service_account_config(&self) -> Config {
        let config = self.cluster.service_account_config(&self.operator_namespace, OPERATOR);
        config.await.expect("the ServiceAccount exists")
    }

    /// A client of the operator's ServiceAccount.
    pub async fn service_account_client(&self) -> Client {
        let client = self.cluster.service_account_client(&self.operator_namespace, OPERATOR);
        client.await.expect("the ServiceAccount exists")
    }

    /// A kubeconfig of the operator's ServiceAccount, for a process.
    pub async fn service_account_kubeconfig(&self) -> String {
        let text = self.cluster.service_account_kubeconfig(&self.operator_namespace, OPERATOR);
        text.await.expect("the ServiceAccount exists")
    }

    /// What every value in 1Password and the token contain, and no name does: it must be found in Secrets only.
    #[must_use]
    pub fn canary(&self) -> &str {
        &self.canary
    }

    /// The value that a field of an item has at the start.
    #[must_use]
    pub fn value(&self, item: &str, field: &str) -> String {
        value(&self.canary, item, field)
    }

    /// The id of an item of the tenant's vault.
    #[must_use]
    pub fn item_id(&self, item: &str) -> String {
        self.connect.item_id(VAULT, item).expect("the item exists")
    }

    /// Another namespace, named after the bed. The access row does not name it.
    pub async fn tenant(&self, suffix: &str, labels: &[(&str, &str)]) -> String {
        let name = format!("{}-{suffix}", self.namespace);
        self.create_namespace(&name, labels).await;
        name
    }

    async fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})).await;
    }

    /// Applies any object, strictly.
    pub async fn apply(&self, object: Value) {
        manifests::apply(&self.client, &object).await.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Removes what is cluster-wide and starts the end of the namespaces, for a cluster that outlives the test.
    pub async fn finish(self) {
        let all = DeleteParams::background();
        let servers: Api<ConnectServer> = Api::all(self.client.clone());
        let policies: Api<CredentialPolicy> = Api::all(self.client.clone());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        // What a test deleted itself is gone as well.
        let _ = servers.delete(&self.server, &all).await;
        for policy in
            policies.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default()
        {
            if policy.spec.controller_class.as_ref() == Some(&self.class) {
                let _ = policies.delete(&policy.metadata.name.unwrap_or_default(), &all).await;
            }
        }
        let _ = namespaces.delete(&self.namespace, &all).await;
        let _ = namespaces.delete(&self.operator_namespace, &all).await;
    }
}

fn value(canary: &str, item: &str, field: &str) -> String {
    let value = format!("{canary}-{item}-{field}");
    if field == "url" { format!("postgres://{value}.internal:5432/app") } else { value }
}

fn state(canary: &str, token: &str) -> StateSpec {
    let item = |title: &str| {
        let with = |item: ItemSpec, field: &str| item.field(field, &value(canary, title, field));
        let former = FieldSpec {
            history: Some(vec![format!("{canary}-{title}-former")]),
            ..FieldSpec::new("password", &value(canary, title, "password"))
        };
        with(with(ItemSpec::new(title), "username").with(former), "url")
    };
    StateSpec::default()
        .token(token, &["*"])
        .vault(VAULT, vec![item("orders-db"), item("orders-api")])
        .vault(FORBIDDEN_VAULT, vec![item("root")])
}
