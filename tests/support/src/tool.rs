//! The programs that people use: kubectl of the cluster's version, and Helm.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::{Access, manifests};

/// What a program said.
#[derive(Clone, Debug)]
pub struct Ran {
    program: &'static str,
    /// Whether it ended well.
    pub success: bool,
    /// Its output.
    pub stdout: String,
    /// Its errors and warnings.
    pub stderr: String,
}

impl Ran {
    /// The output of a call that ended well.
    ///
    /// # Panics
    /// With the errors of one that did not.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "{} failed: {}", self.program, self.stderr);
        self.stdout
    }

    /// The errors of a call that failed.
    ///
    /// # Panics
    /// With the output of one that did not.
    #[must_use]
    #[track_caller]
    pub fn err(self) -> String {
        assert!(!self.success, "{} did not fail: {}", self.program, self.stdout);
        self.stderr
    }
}

impl Access {
    /// Runs kubectl as the administrator, with this input; `namespace` is meant unless the arguments say otherwise.
    pub async fn run_kubectl(&self, namespace: &str, args: &[&str], input: &str) -> Ran {
        let mut command = self.command(self.kubectl(), namespace);
        command.args(args);
        run("kubectl", command, input).await
    }

    /// Runs Helm as the administrator, at the root of the repository, with this input, in a namespace.
    ///
    /// # Panics
    /// When it is not built.
    pub async fn run_helm(&self, namespace: &str, args: &[&str], input: &str) -> Ran {
        let mut command = self.command(helm_program(), namespace);
        command.args(args).current_dir(manifests::repository());
        run("helm", command, input).await
    }

    fn command(&self, program: &Path, namespace: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(self.kubeconfig_path()).args(["--namespace", namespace]);
        // Discovery is cached by address, and a port may have been another cluster's.
        if let Some(dir) = self.dir() {
            command.env("KUBECACHEDIR", dir.join("kubectl-cache"));
        }
        command
    }
}

/// Runs `helm template` on the repository's chart with these arguments, and this input for `--values -`.
///
/// # Panics
/// When Helm is not built.
pub async fn helm_template(args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(helm_program());
    command.args(["template", "portcullis", "charts/portcullis", "--namespace", "portcullis"]);
    command.args(args).current_dir(manifests::repository());
    run("helm template", command, input).await
}

/// Runs `helm lint --strict` on the repository's chart.
///
/// # Panics
/// When Helm is not built.
pub async fn helm_lint(args: &[&str]) -> Ran {
    let mut command = Command::new(helm_program());
    command.args(["lint", "--strict", "charts/portcullis"]).args(args);
    command.current_dir(manifests::repository());
    run("helm lint", command, "").await
}

/// Where Helm is.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn helm_program() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let script = manifests::repository().join("tests/helm/build.sh");
        let output = std::process::Command::new("sh").arg(script).arg("--path").output();
        let output = output.expect("sh starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let dir = String::from_utf8(output.stdout).expect("a path is text");
        let helm = Path::new(dir.trim()).join("helm");
        assert!(helm.exists(), "Helm is not built, or not from these sources; run `make helm`");
        helm
    })
}

async fn run(program: &'static str, mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // One that does not read its input closes it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("a program ends");
    Ran {
        program,
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
