//! Secrets, the ConnectServer, policies and namespaces of a bed.

use std::collections::BTreeMap;

use connect_dev::ConnectDev;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use portcullis::api::{ALLOWED_HOSTS_ANNOTATION, ConnectServer, CredentialPolicy};
use serde_json::{Value, json};

use super::Bed;
use crate::{Ran, manifests, wait};

impl Bed {
    /// The API of Secrets in the tenant's namespace.
    #[must_use]
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Secret of a name in the tenant's namespace, if there is one.
    pub async fn secret(&self, name: &str) -> Option<Secret> {
        self.secrets().get_opt(name).await.expect("Secrets can be read")
    }

    /// The values of a Secret, as text.
    ///
    /// # Panics
    /// When there is none of that name, or a value is not text.
    pub async fn secret_values(&self, name: &str) -> BTreeMap<String, String> {
        let data = self.secret(name).await.expect("the Secret exists").data.unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the value is text");
        data.into_iter().map(|(key, value)| (key, text(value.0))).collect()
    }

    /// Creates a Secret as somebody other than Portcullis would.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn create_secret(&self, name: &str, values: &[(&str, &str)]) -> Secret {
        let secret = Secret {
            metadata: kube::api::ObjectMeta {
                name: Some(name.to_owned()),
                ..kube::api::ObjectMeta::default()
            },
            string_data: Some(values.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()),
            ..Secret::default()
        };
        self.secrets()
            .create(&PostParams::default(), &secret)
            .await
            .expect("the Secret can be created")
    }

    /// Merges a patch into a Secret, as somebody other than Portcullis would.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn patch_secret(&self, name: &str, patch: Value) -> Secret {
        let patched =
            self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("the Secret can be changed")
    }

    /// Deletes a Secret.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn delete_secret(&self, name: &str) {
        self.secrets()
            .delete(name, &DeleteParams::default())
            .await
            .expect("the Secret can be deleted");
    }

    /// Waits until there is no Secret of a name.
    pub async fn wait_no_secret(&self, name: &str) {
        // Garbage collection learns of new kinds each 30 seconds.
        wait::until(&format!("Secret {name} to be gone"), wait::LONGEST, async || {
            self.secret(name).await.map_or(Ok(()), |_| Err("it is there".to_owned()))
        })
        .await;
    }

    /// The API of ConnectServers.
    #[must_use]
    pub fn servers(&self) -> Api<ConnectServer> {
        Api::all(self.client.clone())
    }

    /// The bed's ConnectServer as it is.
    ///
    /// # Panics
    /// When it was deleted.
    pub async fn get_server(&self) -> ConnectServer {
        self.servers().get(&self.server).await.expect("the ConnectServer exists")
    }

    /// Merges a patch such as `{"spec": {"pollInterval": "2s"}}` into the bed's ConnectServer.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn patch_server(&self, patch: Value) -> ConnectServer {
        let patched = self
            .servers()
            .patch(&self.server, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.expect("the ConnectServer can be changed")
    }

    /// Gives the bed's ConnectServer a second host of the same account as it is now, which may have the token, too.
    ///
    /// # Panics
    /// When there can be none.
    pub async fn second_host(&self) -> ConnectDev {
        let second = self.connect.replica().expect("a replica starts");
        let (one, two) = (self.connect.url(), second.url());
        let tokens: Api<Secret> = Api::namespaced(self.client.clone(), &self.operator_namespace);
        let allowed = json!({"metadata": {"annotations": {ALLOWED_HOSTS_ANNOTATION: format!("{one},{two}")}}});
        let params = PatchParams::default();
        let allowed = tokens.patch("connect-token", &params, &Patch::Merge(allowed)).await;
        allowed.expect("the token's Secret can be changed");
        self.patch_server(json!({"spec": {"hosts": [{"url": one}, {"url": two}]}})).await;
        second
    }

    /// Replaces the access rows of the bed's ConnectServer.
    pub async fn set_access(&self, rows: Value) -> ConnectServer {
        self.patch_server(json!({"spec": {"access": rows}})).await
    }

    /// Deletes the bed's ConnectServer; `apply(server_manifest())` brings it back.
    ///
    /// # Panics
    /// When it was deleted before.
    pub async fn delete_server(&self) {
        self.servers()
            .delete(&self.server, &DeleteParams::default())
            .await
            .expect("it can be deleted");
    }

    /// Waits for a condition of the bed's ConnectServer to have a reason.
    pub async fn wait_server_reason(
        &self,
        type_: &str,
        reason: portcullis::api::Reason,
    ) -> ConnectServer {
        wait::until(
            &format!("{type_} of the ConnectServer to say {reason}"),
            wait::WAIT,
            async || {
                let server = self.servers().get(&self.server).await.map_err(|e| e.to_string())?;
                let conditions =
                    server.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
                if conditions.iter().any(|c| c.type_ == type_ && c.reason == reason.as_str()) {
                    Ok(server)
                } else {
                    Err(format!("{conditions:?}"))
                }
            },
        )
        .await
    }

    /// The API of policies.
    #[must_use]
    pub fn policies(&self) -> Api<CredentialPolicy> {
        Api::all(self.client.clone())
    }

    /// Applies a policy of the bed's class, named after the bed; the name.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn policy(&self, name: &str, mut spec: Value) -> String {
        let name = format!("{}-{name}", self.class);
        spec["controllerClass"] = json!(self.class);
        self.apply(json!({
            "apiVersion": "portcullis.dev/v1alpha1", "kind": "CredentialPolicy",
            "metadata": {"name": name}, "spec": spec,
        }))
        .await;
        name
    }

    /// Deletes a policy by its full name.
    ///
    /// # Panics
    /// When there is none.
    pub async fn delete_policy(&self, name: &str) {
        self.policies()
            .delete(name, &DeleteParams::default())
            .await
            .expect("the policy can be deleted");
    }

    /// Waits for the `Valid` condition of a policy to have a status; the policy.
    pub async fn wait_policy(&self, name: &str, status: &str) -> CredentialPolicy {
        wait::until(&format!("policy {name} to be Valid={status}"), wait::WAIT, async || {
            let policy = self.policies().get(name).await.map_err(|e| e.to_string())?;
            let conditions =
                policy.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
            let generation = policy.metadata.generation;
            let valid = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
                c.type_ == "Valid" && c.status == status && c.observed_generation == generation
            };
            if conditions.iter().any(|c| valid(&c)) {
                Ok(policy)
            } else {
                Err(format!("{conditions:?}"))
            }
        })
        .await
    }

    /// Sets or, with `None`, removes a label of the tenant's namespace.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn label_namespace(&self, label: &str, value: Option<&str>) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let patch = json!({"metadata": {"labels": {label: value}}});
        let patched =
            api.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("the namespace can be labelled");
    }

    /// Asks the API server whether it would take an object, strictly.
    ///
    /// # Errors
    /// When it would not.
    pub async fn dry_run(&self, object: &Value) -> anyhow::Result<()> {
        manifests::dry_run(&self.client, object).await.map(|_| ())
    }

    /// Runs kubectl as the administrator, in the tenant's namespace unless the arguments say otherwise.
    pub async fn kubectl(&self, args: &[&str]) -> Ran {
        self.kubectl_with(args, "").await
    }

    /// The same with an input, for `-f -`.
    pub async fn kubectl_with(&self, args: &[&str], input: &str) -> Ran {
        self.cluster.run_kubectl(&self.namespace, args, input).await
    }
}
