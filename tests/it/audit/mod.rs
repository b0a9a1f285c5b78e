//! The audit stream on real parts: what a kill leaves, what a full disk does, and the commands that read it.

mod checkpoint;
mod commands;
mod erased;
mod kills;
mod lines;
#[cfg(feature = "otlp")]
mod otlp;
mod outage;
mod replay;
mod report;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use portcullis::api::{Occasion, OnRequestDeletion, Outcome, Reason, SecretType};
use portcullis::audit::{
    Audit, AuditConfig, AuditLimits, Beginning, FileOptions, FileSink, OnFailure, Sink,
};
use portcullis::policy::{Decision, Factor, RequestFacts};
use portcullis::secret::MasterKeys;
use portcullis::telemetry::Metrics;
use portcullis_test_support::Bed;
use tokio::process::Command;
use zeroize::Zeroizing;

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("portcullis-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.file(name), text).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn file_sink(path: &Path) -> Box<dyn Sink> {
    let path = path.to_owned();
    Box::new(FileSink::new(FileOptions { path, max_size: 1 << 30, max_files: 2, sync: false }))
}

/// `portcullis audit` with arguments; it reads the cluster as the bed's operator does.
pub(crate) async fn audit(bed: Option<&Bed>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("audit").args(args).env_remove("KUBECONFIG");
    let kubeconfig = std::env::temp_dir().join(format!("audit-{:016x}", rand::random::<u64>()));
    if let Some(bed) = bed {
        std::fs::write(&kubeconfig, bed.service_account_kubeconfig().await).unwrap();
        command.env("KUBECONFIG", &kubeconfig);
        command.env("PORTCULLIS_OPERATOR_NAMESPACE", &bed.operator_namespace);
        command.env("PORTCULLIS_CONTROLLER_CLASS", &bed.class);
    }
    let output = command.output().await.unwrap();
    let _ = std::fs::remove_file(kubeconfig);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `portcullis audit verify` says of files, by what the cluster knows, and its exit code.
async fn verified(bed: &Bed, files: &[&Path]) -> (i32, String) {
    let args: Vec<&str> =
        std::iter::once("verify").chain(files.iter().map(|f| f.to_str().unwrap())).collect();
    let output = audit(Some(bed), &args).await;
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

const KEY: [u8; 32] = [7; 32];

/// A stream of its own into a file, without a cluster.
fn stream(path: &Path) -> Audit {
    let config = AuditConfig { sink: file_sink(path), on_failure: OnFailure::Block };
    let limits = AuditLimits {
        room: 64,
        denial_room: 64,
        wait: Duration::from_secs(20),
        retry: Duration::from_millis(10),
    };
    let signer = MasterKeys::new(Zeroizing::new(KEY.to_vec()), Vec::new()).audit_signer();
    Audit::start(config, signer, Beginning::default(), limits, Arc::new(Metrics::new())).unwrap()
}

fn request(namespace: &str, name: &str, purpose: &str) -> RequestFacts {
    RequestFacts {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        generation: 1,
        server: "default".to_owned(),
        secret_name: name.to_owned(),
        secret_type: SecretType::Opaque,
        on_request_deletion: OnRequestDeletion::Delete,
        purpose: purpose.to_owned(),
        claimed_environment: None,
        claimed_consumer: None,
        fallback_secret: None,
        spec_digest: [0; 32],
    }
}

fn decision(outcome: Outcome, risk_score: i32, rule: &str) -> Decision {
    let reason = match outcome {
        Outcome::Denied => Reason::Denied,
        _ => Reason::Allowed,
    };
    let factor = Factor {
        policy: "baseline".to_owned(),
        rule: rule.to_owned(),
        score: risk_score,
        effect: None,
        message: "in words".to_owned(),
        failed: false,
    };
    Decision {
        occasion: Occasion::Grant,
        outcome,
        transient: None,
        policies: Vec::new(),
        again_at: None,
        reason,
        risk_score,
        factors: vec![factor],
        recommendations: Vec::new(),
        message: "said in words".to_owned(),
        digest: format!("{risk_score}"),
    }
}
