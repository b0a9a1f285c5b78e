//! The program as a process.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_test_support::{Bed, wait};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// `portcullis run` and what it said until now.
pub(crate) struct Program {
    child: Child,
    address: String,
    pub(crate) stdout: Said,
    pub(crate) stderr: Said,
    kubeconfig: std::path::PathBuf,
}

#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn listen(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let said = Self::default();
        let all = said.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut bytes).await {
                all.0.lock().unwrap().extend(&bytes[..n]);
            }
        });
        said
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Program {
    pub(crate) async fn start(bed: &Bed) -> Self {
        let kubeconfig = bed.service_account_kubeconfig().await;
        let program = Self::spawn(bed, &kubeconfig, &[]);
        program.ready().await;
        program
    }

    /// The same with a kubeconfig and further flags, without a wait.
    pub(crate) fn spawn(bed: &Bed, kubeconfig_text: &str, flags: &[&str]) -> Self {
        let kubeconfig = std::env::temp_dir().join(format!("{}.kubeconfig", bed.class));
        std::fs::write(&kubeconfig, kubeconfig_text).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--controller-class", &bed.class, "--namespaces", &bed.namespace])
            .args(["--operator-namespace", &bed.operator_namespace, "--listen", &address])
            .args(["--log", "portcullis=trace,info", "--log-format", "json"])
            .args(flags)
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdout, stderr) = (
            Said::listen(child.stdout.take().unwrap()),
            Said::listen(child.stderr.take().unwrap()),
        );
        Self { child, address, stdout, stderr, kubeconfig }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        let program = self;
        wait::until("/readyz to answer 200", wait::WAIT, async || {
            match program.get("/readyz").await {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// SIGKILL, and the end of it.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: portcullis\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Sends SIGTERM; how long the end took, and whether it was a good one.
    pub(crate) async fn terminate(&mut self) -> (Duration, std::process::ExitStatus) {
        let started = Instant::now();
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        (started.elapsed(), status.expect("it ends").unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}
