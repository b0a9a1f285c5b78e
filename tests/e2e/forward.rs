//! A way into a pod, as `kubectl port-forward` makes one.

use std::process::Stdio;

use portcullis_test_support::Cluster;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A port of this machine that leads to one of a pod. Ends when dropped.
pub struct Forward {
    port: u16,
    _kubectl: Child,
    // kubectl tells of each connection, and ends if nobody could hear it.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Forward {
    /// Opens a way to a port of what the target names, such as `deployment/connect`.
    pub async fn to(cluster: &Cluster, namespace: &str, target: &str, port: u16) -> Self {
        let mut kubectl = Command::new(cluster.kubectl())
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig_path())
            .args(["--namespace", namespace, "port-forward", "--address=127.0.0.1"])
            .args([target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let stdout = kubectl.stdout.take().expect("stdout is a pipe");
        // Forwarding from 127.0.0.1:40123 -> 8081
        let mut said = BufReader::new(stdout).lines();
        let line = said.next_line().await.expect("a line is readable");
        let port = line.as_deref().and_then(|line| {
            line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse().ok()
        });
        let port = port.unwrap_or_else(|| panic!("no way to {target}: kubectl said {line:?}"));
        Self { port, _kubectl: kubectl, _said: said }
    }

    /// Its beginning.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
