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

/// What a program is told.
pub(crate) struct Start {
    /// A name that no other program has.
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// The text of its kubeconfig.
    pub(crate) kubeconfig: String,
    /// Where its arguments have it listen.
    pub(crate) listen: String,
}

impl Program {
    pub(crate) async fn start(bed: &Bed) -> Self {
        let kubeconfig = bed.service_account_kubeconfig().await;
        let program = Self::spawn(bed, &kubeconfig, &[]);
        program.ready().await;
        program
    }

    /// The same with a kubeconfig and further flags, without a wait.
    pub(crate) fn spawn(bed: &Bed, kubeconfig: &str, flags: &[&str]) -> Self {
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut args =
            ["run", "--log=portcullis=trace,info", "--log-format=json"].map(str::to_owned).to_vec();
        args.extend([
            format!("--controller-class={}", bed.class),
            format!("--namespaces={}", bed.namespace),
            format!("--operator-namespace={}", bed.operator_namespace),
            format!("--listen={listen}"),
        ]);
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let (name, kubeconfig) = (bed.class.clone(), kubeconfig.to_owned());
        Self::spawn_as(Start { name, args, env: vec![], kubeconfig, listen })
    }

    pub(crate) async fn start_as(start: Start) -> Self {
        let program = Self::spawn_as(start);
        program.ready().await;
        program
    }

    fn spawn_as(start: Start) -> Self {
        let kubeconfig = std::env::temp_dir().join(format!("{}.kubeconfig", start.name));
        std::fs::write(&kubeconfig, start.kubeconfig).unwrap();
        let address = start.listen;
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(start.args)
            .envs(start.env)
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

    /// Sends a signal by its name without SIG.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; whether it was a good one.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        status.expect("it ends").unwrap()
    }

    /// Sends SIGTERM; how long the end took, and whether it was a good one.
    pub(crate) async fn terminate(&mut self) -> (Duration, std::process::ExitStatus) {
        let started = Instant::now();
        self.signal("TERM").await;
        let status = self.ended().await;
        (started.elapsed(), status)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}
