//! What Portcullis's tests stand on: a real control plane, a bed of objects for each test, and waits on conditions.
//!
//! - [`Cluster`]: kube-apiserver, etcd and controller manager, one for the test binary or one of a test's own,
//!   and clients for whoever acts in it.
//! - [`Bed`]: a tenant's namespace, the operator's namespace and rights, a development Connect server, a
//!   ConnectServer and a policy, all of one test alone, and the verbs to use them.
//! - [`wait`]: looks until something holds, or says what was seen last.
//! - [`simulation`]: months of ordinary use, and attacks, for what judges behaviour.
//! - [`manifests`]: the YAML of the repository, as objects.

pub mod bed;
mod cluster;
pub mod manifests;
mod operator;
pub mod simulation;
mod tool;
pub mod wait;

pub use bed::{Bed, SecretHistory, Seen, condition};
pub use cluster::{Access, Cluster, up_program};
pub use connect_dev;
pub use k8s_openapi;
pub use kube;
pub use operator::{AuditLines, OperatorOptions, TestOperator};
pub use portcullis;
pub use serde_json;
pub use tool::{Ran, helm_lint, helm_program, helm_template};

/// Makes `ring` the TLS provider of the process. Each start of a cluster does it.
pub fn install_tls() {
    // The only error is that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
