//! What was done to a bed from outside of a test's own calls: what the operator asked the API server for, and
//! what became of Secrets meanwhile. And what a person does who reads a message and pastes its command.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::{Bed, OPERATOR};

/// Every version of the Secrets of a namespace since the observation began, and deletions.
pub struct SecretHistory {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// A Secret that was created or changed, or the last of one that was deleted.
#[derive(Clone, Debug)]
pub enum Seen {
    /// It appeared.
    Added(Box<Secret>),
    /// It became another.
    Modified(Box<Secret>),
    /// It went.
    Deleted(Box<Secret>),
}

impl Drop for SecretHistory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SecretHistory {
    /// What has been seen of the Secret of a name.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|seen| seen.secret().metadata.name.as_deref() == Some(name))
            .cloned()
            .collect()
    }

    /// Whether the Secret of a name was ever gone.
    #[must_use]
    pub fn was_deleted(&self, name: &str) -> bool {
        self.of(name).iter().any(|seen| matches!(seen, Seen::Deleted(_)))
    }
}

impl Seen {
    /// The Secret as it was then.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Added(secret) | Self::Modified(secret) | Self::Deleted(secret) => secret,
        }
    }
}

impl Bed {
    /// Starts to write down what becomes of the Secrets of the tenant's namespace.
    ///
    /// # Panics
    /// When Secrets cannot be watched.
    pub async fn observe_secrets(&self) -> SecretHistory {
        let api = self.secrets();
        let list = api.list(&ListParams::default()).await;
        let version = list.expect("Secrets can be listed").metadata.resource_version;
        let events = api.watch(&WatchParams::default(), &version.unwrap_or_default()).await;
        let mut events = events.expect("Secrets can be watched").into_stream().boxed();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let event = match event {
                    WatchEvent::Added(secret) => Seen::Added(Box::new(secret)),
                    WatchEvent::Modified(secret) => Seen::Modified(Box::new(secret)),
                    WatchEvent::Deleted(secret) => Seen::Deleted(Box::new(secret)),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
                };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        SecretHistory { seen, task }
    }

    /// What the bed's operator has asked the API server for until now: the lines of the API server's audit log.
    ///
    /// # Panics
    /// When the cluster is not one of ours and so has no such log.
    pub async fn operator_calls(&self) -> Vec<Value> {
        let log = self.cluster.audit_log().expect("the cluster has an audit log");
        let text = tokio::fs::read(log).await.expect("the audit log is readable");
        let user = format!("system:serviceaccount:{}:{OPERATOR}", self.operator_namespace);
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.contains(&user))
            // The last line may be half written.
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["user"]["username"] == user)
            .collect()
    }

    /// How often the operator did something to the Secret of a name, in whichever namespace, with success.
    pub async fn operator_calls_on_secret(&self, verb: &str, name: &str) -> usize {
        let calls = self.operator_calls().await;
        let concerns = |call: &&Value| {
            call["verb"] == verb
                && call["objectRef"]["resource"] == "secrets"
                && call["objectRef"]["name"] == name
                && call["responseStatus"]["code"].as_u64().is_some_and(|c| c < 300)
        };
        calls.iter().filter(concerns).count()
    }

    /// Does what a message says: everything from its first `kubectl` on, in a shell, with `fill` in the place of
    /// `<token>`, or in the file `<file>`.
    ///
    /// # Panics
    /// When there is no command in it, or the command fails.
    pub async fn do_as_told(&self, message: &str, fill: &str) {
        let start = message.find("kubectl ").expect("the message has a command");
        let file = std::env::temp_dir().join(format!("portcullis-{}", self.class));
        std::fs::write(&file, fill).expect("a file can be written");
        let command = message[start..]
            .replace("<token>", fill)
            .replace("<file>", &file.display().to_string());
        let script = format!(
            "kubectl() {{ {} --kubeconfig {} \"$@\"; }}\n{command}",
            self.cluster.kubectl().display(),
            self.cluster.kubeconfig_path().display(),
        );
        let output = Command::new("sh")
            .arg("-c")
            .arg(script)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("a shell starts");
        std::fs::remove_file(&file).expect("the file is there");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{command}` failed: {errors}");
    }
}
