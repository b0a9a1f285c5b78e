mod files;
mod flood;
mod forgeries;
mod grounds;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use zeroize::Zeroizing;

use super::*;
use crate::api::{Occasion, OnRequestDeletion, Outcome, Reason, SecretType};
use crate::policy::{Decision, RequestFacts};
use crate::secret::MasterKeys;

fn signer(byte: u8) -> Signer {
    MasterKeys::new(Zeroizing::new(vec![byte; 32]), Vec::new()).audit_signer()
}

fn request(name: &str) -> RequestFacts {
    RequestFacts {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        generation: 1,
        server: "default".to_owned(),
        secret_name: name.to_owned(),
        secret_type: SecretType::Opaque,
        on_request_deletion: OnRequestDeletion::Delete,
        purpose: "a test".to_owned(),
        claimed_environment: None,
        claimed_consumer: None,
        fallback_secret: None,
        spec_digest: [0; 32],
    }
}

fn decision(outcome: Outcome) -> Decision {
    Decision {
        occasion: Occasion::Grant,
        outcome,
        transient: None,
        policies: Vec::new(),
        again_at: None,
        reason: if outcome == Outcome::Denied { Reason::Denied } else { Reason::Allowed },
        risk_score: 30,
        factors: Vec::new(),
        recommendations: Vec::new(),
        message: "in words".to_owned(),
        digest: "d".to_owned(),
    }
}

const LIMITS: AuditLimits = AuditLimits {
    room: 8,
    denial_room: 16,
    wait: Duration::from_secs(20),
    retry: Duration::from_millis(5),
};

fn start(sink: impl Sink + 'static, on_failure: OnFailure, limits: AuditLimits) -> Audit {
    let config = AuditConfig { sink: Box::new(sink), on_failure };
    Audit::start(config, signer(1), Beginning::default(), limits, Arc::new(Metrics::new())).unwrap()
}

/// Records so many decisions to allow, and ends the stream.
async fn stream(sink: impl Sink + 'static, after: Option<Head>, records: usize) -> Head {
    let config = AuditConfig { sink: Box::new(sink), on_failure: OnFailure::Block };
    let audit = Audit::start(
        config,
        signer(1),
        Beginning { term: None, after },
        LIMITS,
        Arc::new(Metrics::new()),
    )
    .unwrap();
    for n in 0..records {
        let (request, decision) = (request(&format!("r{n}")), decision(Outcome::Allowed));
        audit.record(&Entry::decision(&request, None, &decision)).await.unwrap().unwrap();
    }
    audit.close().await;
    audit.head().unwrap()
}

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
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(path: PathBuf) -> FileOptions {
    FileOptions { path, max_size: 1 << 30, max_files: 3, sync: true }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn checked(files: &[PathBuf], heads: Option<&[Head]>) -> verify::Findings {
    let signer = signer(1);
    let against = verify::Against { signer: &signer, heads, complete: false };
    verify::verify(files, &against).unwrap()
}

/// What a [`Gate`] lets through.
#[derive(Default)]
struct GateState {
    open: bool,
    fails: bool,
    lines: Vec<String>,
    appends: usize,
    /// How often something was brought, be it let through or not.
    brought: usize,
}

/// A sink that waits until it is opened, or fails as long as it is told to.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<GateState>, Condvar)>);

impl Gate {
    fn set(&self, open: bool, fails: bool) {
        let mut state = self.0.0.lock().unwrap();
        (state.open, state.fails) = (open, fails);
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let state = self.0.0.lock().unwrap();
        state.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn brought(&self) -> usize {
        self.0.0.lock().unwrap().brought
    }

    fn appends(&self) -> usize {
        self.0.0.lock().unwrap().appends
    }
}

impl Sink for Gate {
    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.brought += 1;
        let mut state = self.0.1.wait_while(state, |state| !state.open).unwrap();
        state.appends += 1;
        if state.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.lines.extend(lines.iter().map(|line| line.text.clone()));
        Ok(())
    }
}
