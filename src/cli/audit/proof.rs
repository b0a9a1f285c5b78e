//! What records are proven with: from the cluster, or from files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, Config};
use zeroize::Zeroizing;

use super::AuditCommandError;
use crate::audit::verify::{Against, Findings, verify};
use crate::audit::{Head, checkpoint};
use crate::kube_io::KubeIo;
use crate::leader::Leadership;
use crate::secret::{MasterKeys, load_keys};
use crate::telemetry::Metrics;

/// How long the API server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Proof {
    /// A file with a key of 32 bytes, as an entry of the Secret portcullis-keys has it; may be given several times.
    /// Without one the keys and the checkpoint are read from the cluster.
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// The ConfigMap portcullis-audit as kubectl printed it, in YAML or JSON.
    #[arg(long, value_name = "FILE")]
    checkpoint_file: Option<PathBuf>,
    /// The operator's own namespace, which holds its keys and the checkpoint.
    #[arg(long, env = "PORTCULLIS_OPERATOR_NAMESPACE", default_value = "portcullis")]
    operator_namespace: String,
    /// The controller class of the operator that wrote the records.
    #[arg(long, env = "PORTCULLIS_CONTROLLER_CLASS", default_value = "")]
    controller_class: String,
    /// The files hold all that was ever recorded: a stream that does not begin with its first record, or is missing,
    /// is wrong, however old.
    #[arg(long)]
    complete: bool,
}

impl Proof {
    /// Holds files against the keys and the checkpoint.
    pub(super) fn verify(&self, files: &[PathBuf]) -> Result<Findings, AuditCommandError> {
        let (keys, heads) = if self.key_file.is_empty() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.read_cluster())?
        } else {
            (self.keys()?, None)
        };
        let heads = match &self.checkpoint_file {
            Some(path) => Some(self.checkpoint(path)?),
            None => heads,
        };
        // One that has nothing of the class proves nothing of its records.
        let heads = heads.filter(|heads| !heads.is_empty());
        let signer = keys.audit_signer();
        let against = Against { signer: &signer, heads: heads.as_deref(), complete: self.complete };
        Ok(verify(files, &against)?)
    }

    fn keys(&self) -> Result<MasterKeys, AuditCommandError> {
        let read = |path: &PathBuf| {
            let name = path.display().to_string();
            let bytes = fs::read(path).map_err(|e| AuditCommandError::File(name.clone(), e))?;
            let bytes = Zeroizing::new(bytes);
            if bytes.len() == MasterKeys::KEY_LEN {
                Ok(bytes)
            } else {
                Err(AuditCommandError::NoKey(name))
            }
        };
        let mut keys = self.key_file.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let last =
            keys.pop().ok_or_else(|| AuditCommandError::NoKeys(self.operator_namespace.clone()))?;
        Ok(MasterKeys::new(last, keys))
    }

    fn checkpoint(&self, path: &Path) -> Result<Vec<Head>, AuditCommandError> {
        let name = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|e| AuditCommandError::File(name.clone(), e))?;
        let config_map: ConfigMap =
            serde_saphyr::from_str(&text).map_err(|_| AuditCommandError::NoCheckpoint(name))?;
        Ok(heads(checkpoint::streams(&config_map, &self.controller_class)))
    }

    async fn read_cluster(&self) -> Result<(MasterKeys, Option<Vec<Head>>), AuditCommandError> {
        let unreachable =
            |error: &dyn std::fmt::Display| AuditCommandError::Cluster(error.to_string());
        let mut config = Config::infer().await.map_err(|e| unreachable(&e))?;
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|e| unreachable(&e))?;
        let io =
            KubeIo::new(client, 1, TIMEOUT, Leadership::alone().fence, Arc::new(Metrics::new()));
        let namespace = &self.operator_namespace;
        let keys = load_keys(&io, namespace).await?;
        let keys = keys.ok_or_else(|| AuditCommandError::NoKeys(namespace.clone()))?;
        let streams = checkpoint::read(&io, namespace, &self.controller_class).await?;
        Ok((keys.keys, Some(heads(streams))))
    }
}

fn heads(streams: Vec<checkpoint::Checkpoint>) -> Vec<Head> {
    streams.into_iter().map(|stream| stream.head).collect()
}
