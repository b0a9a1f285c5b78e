//! The one client that writes to the API server: every write has a place in a limited number of
//! writes in flight, a timeout, and a metric, and passes the fence of the leader. Errors say what happened in our own words.

mod admission;
mod profiles;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use json_patch::Patch as Operations;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::runtime::events::{Event, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::api::FIELD_MANAGER;
use crate::index::{ObjectKey, RequestView};
use crate::leader::Fence;
use crate::telemetry::Metrics;

/// The name under which Events are reported.
const CONTROLLER: &str = "portcullis.dev/portcullis";

/// Why the API server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// An object of that name exists.
    #[error("an object of that name exists already")]
    AlreadyExists,
    /// The object changed since it was read.
    #[error("the object changed meanwhile")]
    Conflict,
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// The operator may not do that.
    #[error(
        "the API server forbids it ({verb} {kind}): the operator's rights (compare them with docs/operations.md), \
         a quota, an admission policy, or a namespace that is being deleted"
    )]
    Forbidden {
        /// What was tried.
        verb: &'static str,
        /// On what.
        kind: &'static str,
    },
    /// The API server refuses the object.
    #[error("the API server refused it with status {0}")]
    Refused(u16),
    /// No answer in time.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// No connection, or no answer that can be read.
    #[error("the API server cannot be reached")]
    Unreachable,
    /// It was not sent: another replica may work already, or may before the write has ended.
    #[error("this replica does not hold the Lease any more, or has not renewed it for too long")]
    NotLeader,
}

impl ApiError {
    /// Whether it is known that nothing was done: an answer that did not come says neither, nor does one of a server
    /// that failed or ran out of time with it.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::TimedOut | Self::Unreachable | Self::Refused(500..))
    }
}

/// Writes objects. Cheap to clone.
#[derive(Clone)]
pub struct KubeIo {
    client: Client,
    permits: Arc<Semaphore>,
    timeout: Duration,
    fence: Fence,
    metrics: Arc<Metrics>,
}

impl KubeIo {
    /// A writer with at most `concurrency` writes in flight, each of which may take `timeout` and is sent only where `fence`
    /// lets it through.
    #[must_use]
    pub fn new(
        client: Client,
        concurrency: usize,
        timeout: Duration,
        fence: Fence,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, permits: Arc::new(Semaphore::new(concurrency)), timeout, fence, metrics }
    }

    /// Reads a Secret, if there is one.
    ///
    /// # Errors
    /// When the API server does not answer as it should.
    pub async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, ApiError> {
        let api: Api<Secret> = self.namespaced(key);
        self.send("Secret", "get", api.get_opt(&key.name)).await
    }

    /// The metadata of a Secret, if there is one. Its data is not asked for: a list of the one name, so that
    /// the API server's audit log tells it from a read.
    ///
    /// # Errors
    /// When the API server does not answer as it should.
    pub async fn secret_metadata(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, ApiError> {
        let api: Api<Secret> = self.namespaced(key);
        let params = ListParams::default().fields(&format!("metadata.name={}", key.name)).limit(1);
        let found = self.send("Secret", "get", api.list_metadata(&params)).await?;
        Ok(found.items.into_iter().next().map(|secret| secret.metadata))
    }

    /// Creates a Secret.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`] when there is one of that name, ours or not.
    pub async fn create_secret(
        &self,
        key: &ObjectKey,
        secret: &Secret,
    ) -> Result<Secret, ApiError> {
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api: Api<Secret> = self.namespaced(key);
        self.send("Secret", "create", api.create(&params, secret)).await
    }

    /// Patches the Secret of a UID and resourceVersion; any other is left alone.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the Secret is not the one that was read.
    pub async fn patch_secret(
        &self,
        key: &ObjectKey,
        expected: &Expected,
        operations: Vec<serde_json::Value>,
    ) -> Result<Secret, ApiError> {
        let (params, patch) = (params(), Patch::Json::<()>(guarded(expected, operations)?));
        let api: Api<Secret> = self.namespaced(key);
        self.send("Secret", "patch", api.patch(&key.name, &params, &patch)).await
    }

    /// Deletes the Secret of a UID and resourceVersion; any other is left alone.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the Secret is not the one that was written.
    pub async fn delete_secret(
        &self,
        key: &ObjectKey,
        expected: &Expected,
    ) -> Result<(), ApiError> {
        let params = only(expected);
        let api: Api<Secret> = self.namespaced(key);
        self.send("Secret", "delete", api.delete(&key.name, &params)).await.map(|_| ())
    }

    /// Reads a ConfigMap, if there is one.
    ///
    /// # Errors
    /// When the API server does not answer as it should.
    pub async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, ApiError> {
        let api: Api<ConfigMap> = self.namespaced(key);
        self.send("ConfigMap", "get", api.get_opt(&key.name)).await
    }

    /// Creates a ConfigMap.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`] when there is one of that name.
    pub async fn create_config_map(
        &self,
        key: &ObjectKey,
        config_map: &ConfigMap,
    ) -> Result<(), ApiError> {
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api: Api<ConfigMap> = self.namespaced(key);
        self.send("ConfigMap", "create", api.create(&params, config_map)).await.map(|_| ())
    }

    /// Replaces the data of the ConfigMap of a UID and resourceVersion.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it is not the one that was read.
    pub async fn patch_config_map(
        &self,
        key: &ObjectKey,
        expected: &Expected,
        data: BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let operations = vec![json!({"op": "add", "path": "/data", "value": data})];
        let (params, patch) = (params(), Patch::Json::<()>(guarded(expected, operations)?));
        let api: Api<ConfigMap> = self.namespaced(key);
        self.send("ConfigMap", "patch", api.patch(&key.name, &params, &patch)).await.map(|_| ())
    }

    /// Reads a request, if there is one.
    ///
    /// # Errors
    /// When the API server does not answer as it should.
    pub async fn request(&self, key: &ObjectKey) -> Result<Option<RequestView>, ApiError> {
        let api: Api<RequestView> = self.namespaced(key);
        self.send("CredentialRequest", "get", api.get_opt(&key.name)).await
    }

    /// Patches the status of the request of a UID and resourceVersion.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the request changed since it was read.
    pub async fn patch_request_status(
        &self,
        key: &ObjectKey,
        expected: &Expected,
        operations: Vec<serde_json::Value>,
    ) -> Result<RequestView, ApiError> {
        let (params, patch) = (params(), Patch::Json::<()>(guarded(expected, operations)?));
        let api: Api<RequestView> = self.namespaced(key);
        self.send("CredentialRequest", "patch", api.patch_status(&key.name, &params, &patch)).await
    }

    /// Publishes an Event.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn publish(
        &self,
        recorder: &Recorder,
        event: &Event,
        reference: &ObjectReference,
    ) -> Result<(), ApiError> {
        self.send("Event", "create", recorder.publish(event, reference)).await
    }

    /// A recorder of Events for [`KubeIo::publish`].
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: None };
        Recorder::new(self.client.clone(), reporter)
    }

    /// Replaces fields of the status of a cluster-wide object.
    ///
    /// # Errors
    /// When the API server does not do it.
    pub async fn merge_status<K, S>(
        &self,
        kind: &'static str,
        name: &str,
        status: &S,
    ) -> Result<(), ApiError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        S: Serialize,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let (params, patch) = (params(), Patch::Merge(json!({ "status": status })));
        self.send(kind, "patch", api.patch_status(name, &params, &patch)).await.map(|_| ())
    }

    fn namespaced<K>(&self, key: &ObjectKey) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn send<T>(
        &self,
        kind: &'static str,
        verb: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        let permit = self.permits.acquire().await.map_err(|_| ApiError::Unreachable)?;
        let writes = verb != "get";
        let result = if writes && !self.fence.lets_through(self.timeout) {
            Err(ApiError::NotLeader)
        } else {
            match tokio::time::timeout(self.timeout, call).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(classify(&error, kind, verb)),
                Err(_) => Err(ApiError::TimedOut),
            }
        };
        drop(permit);
        if writes {
            self.metrics.wrote(kind, verb, result.as_ref().map_or_else(ApiError::label, |_| "ok"));
        }
        result
    }
}

/// The object that a write is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

impl ApiError {
    fn label(&self) -> &'static str {
        match self {
            Self::AlreadyExists => "exists",
            Self::Conflict => "conflict",
            Self::NotFound => "notfound",
            Self::Forbidden { .. } => "forbidden",
            Self::Refused(_) => "refused",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::NotLeader => "notleader",
        }
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// A deletion of this object alone.
fn only(expected: &Expected) -> DeleteParams {
    let uid = Some(expected.uid.clone());
    let resource_version = Some(expected.resource_version.clone());
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version }),
        ..DeleteParams::default()
    }
}

fn guarded(
    expected: &Expected,
    operations: Vec<serde_json::Value>,
) -> Result<Operations, ApiError> {
    let mut all = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": expected.uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": expected.resource_version}),
    ];
    all.extend(operations);
    serde_json::from_value(serde_json::Value::Array(all)).map_err(|_| ApiError::Refused(0))
}

fn classify(error: &kube::Error, kind: &'static str, verb: &'static str) -> ApiError {
    let kube::Error::Api(status) = error else {
        return ApiError::Unreachable;
    };
    if status.is_already_exists() {
        ApiError::AlreadyExists
    } else if status.is_conflict() {
        ApiError::Conflict
    } else if status.is_not_found() {
        ApiError::NotFound
    } else if status.is_forbidden() {
        ApiError::Forbidden { verb, kind }
    } else if status.code == 422
        && status.message.contains("the server rejected our request due to an error in our request")
    {
        // What the API server says when a `test` of a JSON patch fails.
        ApiError::Conflict
    } else {
        ApiError::Refused(status.code)
    }
}
