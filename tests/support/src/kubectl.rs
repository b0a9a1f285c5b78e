use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::Access;

impl Access {
    /// Runs kubectl as the administrator, with this input; `namespace` is meant unless the arguments say otherwise.
    pub async fn run_kubectl(&self, namespace: &str, args: &[&str], input: &str) -> Kubectl {
        Kubectl::run(self, namespace, args, input).await
    }
}

/// What kubectl said.
#[derive(Clone, Debug)]
pub struct Kubectl {
    /// Whether it ended well.
    pub success: bool,
    /// Its output.
    pub stdout: String,
    /// Its errors and warnings.
    pub stderr: String,
}

impl Kubectl {
    /// The output of a call that ended well.
    ///
    /// # Panics
    /// With the errors of one that did not.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "kubectl failed: {}", self.stderr);
        self.stdout
    }

    /// The errors of a call that failed.
    ///
    /// # Panics
    /// With the output of one that did not.
    #[must_use]
    #[track_caller]
    pub fn err(self) -> String {
        assert!(!self.success, "kubectl did not fail: {}", self.stdout);
        self.stderr
    }

    async fn run(access: &Access, namespace: &str, args: &[&str], input: &str) -> Self {
        let mut command = Command::new(access.kubectl());
        command.arg("--kubeconfig").arg(access.kubeconfig_path());
        command.args(["--namespace", namespace]).args(args);
        // Discovery is cached by address, and a port may have been another cluster's.
        if let Some(dir) = access.dir() {
            command.env("KUBECACHEDIR", dir.join("kubectl-cache"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.kill_on_drop(true).spawn().expect("kubectl starts; run `make cluster`");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // One that does not read its input closes it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("kubectl ends");
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
