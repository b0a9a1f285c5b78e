//! The watches of an operator: each folds what it is told of, and queues the requests that it concerns.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::profiles::Profiles;
use super::queue::{Lane, ParkKey, Queue};
use super::reconcile::Reconciler;
use super::servers::{self, Message, OnNews, ServerTask, ServerTaskConfig};
use super::watch::{Gate, follow};
use crate::api::{AccessProfile, ConnectServer, CredentialPolicy, MANAGED_LABEL};
use crate::index::{Change, Index, ObjectKey, Raw, RequestEntry, RequestView};
use crate::kube_io::KubeIo;
use crate::vaults::News;

/// The parts of an operator while its tasks are being started.
pub(super) struct Starting {
    pub(super) client: Client,
    pub(super) index: Index,
    pub(super) queue: Queue<ObjectKey>,
    pub(super) gate: Gate,
    pub(super) tasks: JoinSet<()>,
    pub(super) reconciler: Arc<Reconciler>,
}

impl Starting {
    /// The request watch and the Secret watch of each namespace, or of all.
    pub(super) fn watch_requests(&mut self, namespaces: &[String]) {
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        for scope in scopes {
            let (requests, secrets): (Api<RequestView>, Api<PartialObjectMeta<Secret>>) =
                match &scope {
                    Some(namespace) => (
                        Api::namespaced(self.client.clone(), namespace),
                        Api::namespaced(self.client.clone(), namespace),
                    ),
                    None => (Api::all(self.client.clone()), Api::all(self.client.clone())),
                };
            let (index, queue, gate, scoped) =
                (self.index.clone(), self.queue.clone(), self.gate.clone(), scope.clone());
            self.tasks.spawn(follow(requests, None, self.gate.add(), move |event| {
                for (key, change) in index.fold_request(scoped.as_deref(), event) {
                    if let Some(lane) = lane_of(&change, gate.is_open()) {
                        queue.add(key, lane);
                    }
                }
            }));
            let (index, queue) = (self.index.clone(), self.queue.clone());
            let selector = format!("{MANAGED_LABEL}=true");
            let latch = self.gate.add();
            self.tasks.spawn(async move {
                follow(secrets, Some(&selector), latch, move |event| {
                    for (secret, _) in index.fold_secret(scope.as_deref(), event) {
                        for request in index.requests_of_secret(&secret) {
                            queue.add(request, Lane::Interactive);
                        }
                    }
                })
                .await;
            });
        }
    }

    pub(super) fn watch_namespaces(&mut self) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let (index, queue) = (self.index.clone(), self.queue.clone());
        self.tasks.spawn(follow(api, None, self.gate.add(), move |event| {
            for (namespace, change) in index.fold_namespace(event) {
                let relabelled = matches!(&change, Change::Updated(before, after) if before.labels != after.labels);
                if relabelled || matches!(change, Change::Added(_)) {
                    for request in index.requests_in_namespace(&namespace) {
                        queue.add(request, Lane::Changed);
                    }
                }
            }
        }));
    }

    pub(super) fn watch_profiles(&mut self, namespace: &str, profiles: &Arc<Profiles>) {
        let api: Api<Raw<AccessProfile>> = Api::namespaced(self.client.clone(), namespace);
        let profiles = profiles.clone();
        self.tasks.spawn(follow(api, None, self.gate.add(), move |event| profiles.fold(event)));
    }

    pub(super) fn watch_policies(&mut self, io: KubeIo) {
        let api: Api<Raw<CredentialPolicy>> = Api::all(self.client.clone());
        let (reconciler, index, queue) =
            (self.reconciler.clone(), self.index.clone(), self.queue.clone());
        let (news, mut inbox) = mpsc::unbounded_channel();
        let (folding, writing, again) = (reconciler.clone(), reconciler.clone(), news.clone());
        let wake = Arc::new(tokio::sync::Notify::new());
        let woken = wake.clone();
        self.tasks.spawn(follow(api, None, self.gate.add(), move |event| {
            let (changed, verdict) = folding.knowledge.policies.fold(event);
            if changed {
                requeue_all(&index, &queue);
            }
            if let Some(verdict) = verdict {
                // The other end is a task beside this one.
                let _ = news.send(verdict);
            }
            woken.notify_one();
        }));
        self.tasks.spawn(async move {
            while let Some(verdict) = inbox.recv().await {
                if !writing.knowledge.policies.is_current(&verdict) {
                    continue;
                }
                if let Err(error) = verdict.write(&io).await {
                    tracing::warn!(policy = verdict.name(), %error, "the status of a policy was not written; trying again");
                    let (again, pause) = (again.clone(), writing.knowledge.settings.retry_first);
                    tokio::spawn(async move {
                        tokio::time::sleep(pause).await;
                        let _ = again.send(verdict);
                    });
                }
            }
        });
        let (index, queue) = (self.index.clone(), self.queue.clone());
        self.tasks.spawn(async move {
            loop {
                match reconciler.knowledge.policies.next_expiry() {
                    Some(at) => tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = wake.notified() => {}
                    },
                    None => wake.notified().await,
                }
                if reconciler.knowledge.policies.expire() {
                    requeue_all(&index, &queue);
                }
            }
        });
    }

    pub(super) fn watch_servers(&mut self, config: ServerTaskConfig) {
        let namespace = config.namespace.clone();
        let (mailbox, mut inbox) = mpsc::unbounded_channel();
        let secrets: Api<PartialObjectMeta<Secret>> =
            Api::namespaced(self.client.clone(), &namespace);
        let config_maps: Api<PartialObjectMeta<ConfigMap>> =
            Api::namespaced(self.client.clone(), &namespace);
        let servers: Api<Raw<ConnectServer>> = Api::all(self.client.clone());
        let send = mailbox.clone();
        self.tasks.spawn(follow(secrets, None, self.gate.add(), move |event| {
            if let Some(message) = servers::secret_message(event) {
                let _ = send.send(message);
            }
        }));
        let send = mailbox.clone();
        self.tasks.spawn(follow(config_maps, None, self.gate.add(), move |event| {
            if let Some(message) = servers::config_map_message(event) {
                let _ = send.send(message);
            }
        }));
        let send = mailbox.clone();
        self.tasks.spawn(follow(servers, None, self.gate.add(), move |event| {
            let _ = send.send(Message::Server(Box::new(event)));
        }));
        let (index, queue) = (self.index.clone(), self.queue.clone());
        let on_news: OnNews = Arc::new(move |server, news| {
            let requests = match news {
                News::Vault(vault) => index.requests_of_vault(&(server.into(), vault)),
                News::Vaults | News::Health => index.requests_of_server(server),
                News::Connect => return,
            };
            for request in requests {
                queue.add(request, Lane::Changed);
            }
            queue.unpark_all(&ParkKey::new(server));
        });
        let mut task = ServerTask::new(config, mailbox, on_news, self.gate.add());
        self.tasks.spawn(async move {
            while let Some(message) = inbox.recv().await {
                task.handle(message).await;
            }
        });
    }
}

pub(super) fn requeue_all(index: &Index, queue: &Queue<ObjectKey>) {
    for request in index.requests() {
        queue.add(request, Lane::Changed);
    }
}

/// How urgent a change of a request is; none when only its status or its labels changed.
fn lane_of(change: &Change<RequestEntry>, is_started: bool) -> Option<Lane> {
    match change {
        Change::Added(_) if is_started => Some(Lane::Interactive),
        Change::Added(_) => Some(Lane::Sweep),
        Change::Updated(before, after) => {
            let same = before.generation == after.generation
                && before.uid == after.uid
                && before.refresh_requested == after.refresh_requested
                && before.is_deleting == after.is_deleting;
            (!same).then_some(Lane::Interactive)
        }
        Change::Removed(_) => Some(Lane::Interactive),
    }
}
