//! Requests: making, changing and reading them, and waiting for what becomes of them.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use portcullis::api::{CredentialRequest, CredentialRequestSpec, Reason};
use serde_json::{Value, json};

use super::{Bed, VAULT};
use crate::wait;

/// The condition of a type.
#[must_use]
pub fn condition<'r>(request: &'r CredentialRequest, type_: &str) -> Option<&'r Condition> {
    conditions(request).iter().find(|c| c.type_ == type_)
}

fn conditions(request: &CredentialRequest) -> &[Condition] {
    request.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default()
}

/// Whether status speaks of the spec as it is.
fn is_observed(request: &CredentialRequest) -> bool {
    let observed = request.status.as_ref().and_then(|s| s.observed_generation);
    observed == request.metadata.generation
}

/// What a wait shows of a request that is not as it should be.
fn seen(request: &CredentialRequest) -> String {
    let conditions: Vec<_> = conditions(request)
        .iter()
        .map(|c| format!("{}={} {} ({})", c.type_, c.status, c.reason, c.message))
        .collect();
    format!(
        "generation {:?}, observed {:?}, conditions [{}]",
        request.metadata.generation,
        request.status.as_ref().and_then(|s| s.observed_generation),
        conditions.join("; ")
    )
}

impl Bed {
    /// The API of requests in the tenant's namespace.
    #[must_use]
    pub fn requests(&self) -> Api<CredentialRequest> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A spec that is granted: one key `password`, from the item `orders-db`.
    #[must_use]
    pub fn spec(&self) -> CredentialRequestSpec {
        // By way of JSON, so that a new field of the spec is nothing to write here.
        serde_json::from_value(json!({
            "serverRef": {"name": self.server},
            "purpose": "orders reads its database",
            "data": [{"key": "password", "ref": format!("op://{VAULT}/orders-db/password")}],
        }))
        .expect("the spec is one")
    }

    /// Creates a request of [`Bed::spec`] with a change.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn request(
        &self,
        name: &str,
        change: impl FnOnce(&mut CredentialRequestSpec),
    ) -> CredentialRequest {
        let mut spec = self.spec();
        change(&mut spec);
        let request = CredentialRequest::new(name, spec);
        let created = self.requests().create(&PostParams::default(), &request).await;
        created.unwrap_or_else(|error| panic!("request {name} is refused: {error}"))
    }

    /// Creates a request of [`Bed::spec`] with these keys and references instead of its own.
    pub async fn request_data(&self, name: &str, data: &[(&str, &str)]) -> CredentialRequest {
        let data: Vec<_> =
            data.iter().map(|(key, reference)| json!({"key": key, "ref": reference})).collect();
        let data = serde_json::from_value(json!(data)).expect("the entries are entries");
        self.request(name, |spec| spec.data = data).await
    }

    /// Applies a request given in JSON or, by `kubectl`'s measure, anything else; apiVersion, kind, namespace and
    /// the server are filled in where they are absent.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply_request(
        &self,
        mut request: Value,
    ) -> Result<CredentialRequest, kube::Error> {
        let fill = |at: &mut Value, value: Value| {
            if at.is_null() {
                *at = value;
            }
        };
        fill(&mut request["apiVersion"], json!("portcullis.dev/v1alpha1"));
        fill(&mut request["kind"], json!("CredentialRequest"));
        fill(&mut request["metadata"]["namespace"], json!(self.namespace));
        fill(&mut request["spec"]["serverRef"], json!({"name": self.server}));
        let name = request["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let namespace = request["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let params = PatchParams::apply("bed").force().validation_strict();
        let api: Api<CredentialRequest> = Api::namespaced(self.client.clone(), &namespace);
        api.patch(&name, &params, &Patch::Apply(&request)).await
    }

    /// Merges a patch such as `{"spec": {"suspend": true}}` into a request.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn patch_request(&self, name: &str, patch: Value) -> CredentialRequest {
        let patched =
            self.requests().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.unwrap_or_else(|error| panic!("request {name} cannot be changed: {error}"))
    }

    /// Deletes a request, and waits until it is gone.
    pub async fn delete_request(&self, name: &str) {
        let api = self.requests();
        api.delete(name, &DeleteParams::default()).await.expect("the request can be deleted");
        wait::until(&format!("request {name} to be gone"), wait::WAIT, async || {
            match api.get_opt(name).await.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(request) => Err(format!("finalizers {:?}", request.finalizers())),
            }
        })
        .await;
    }

    /// A request as it is.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn get_request(&self, name: &str) -> CredentialRequest {
        self.requests().get(name).await.expect("the request exists")
    }

    /// Waits for a request to be as `is` says, with a status that speaks of its spec.
    pub async fn wait_request(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&CredentialRequest) -> bool,
    ) -> CredentialRequest {
        let api = self.requests();
        wait::until(&format!("request {name} {what}"), wait::WAIT, async || {
            let request = api.get(name).await.map_err(|e| e.to_string())?;
            if is_observed(&request) && is(&request) { Ok(request) } else { Err(seen(&request)) }
        })
        .await
    }

    /// Waits for `Ready=True`.
    pub async fn wait_ready(&self, name: &str) -> CredentialRequest {
        let ready =
            |r: &CredentialRequest| condition(r, "Ready").is_some_and(|c| c.status == "True");
        self.wait_request(name, "to be ready", ready).await
    }

    /// Waits for any condition to have a reason.
    pub async fn wait_reason(&self, name: &str, reason: Reason) -> CredentialRequest {
        let has = |r: &CredentialRequest| conditions(r).iter().any(|c| c.reason == reason.as_str());
        self.wait_request(name, &format!("to say {reason}"), has).await
    }

    /// Waits for the Secret of a name to be as `is` says.
    pub async fn wait_secret(&self, name: &str, is: impl Fn(&Secret) -> bool) -> Secret {
        wait::until(&format!("Secret {name}"), wait::WAIT, async || {
            match self.secret(name).await {
                Some(secret) if is(&secret) => Ok(secret),
                // Names and sizes: the values are nothing for a log.
                Some(secret) => Err(format!(
                    "resourceVersion {}, keys {:?}",
                    secret.resource_version().unwrap_or_default(),
                    secret
                        .data
                        .unwrap_or_default()
                        .iter()
                        .map(|(k, v)| (k.clone(), v.0.len()))
                        .collect::<Vec<_>>()
                )),
                None => Err("no such Secret".to_owned()),
            }
        })
        .await
    }

    /// Waits for a key of a Secret to have a value.
    pub async fn wait_value(&self, name: &str, key: &str, value: &str) -> Secret {
        let has = |s: &Secret| {
            s.data
                .as_ref()
                .and_then(|d| d.get(key))
                .is_some_and(|found| found.0 == value.as_bytes())
        };
        self.wait_secret(name, has).await
    }

    /// The Events of a request, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events =
            api.list(&ListParams::default()).await.expect("Events can be listed").items;
        events.retain(|event| {
            event.regarding.as_ref().is_some_and(|r| {
                r.kind.as_deref() == Some("CredentialRequest") && r.name.as_deref() == Some(name)
            })
        });
        events.sort_by(|a, b| a.event_time.cmp(&b.event_time));
        events
    }
}
