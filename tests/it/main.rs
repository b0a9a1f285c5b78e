//! Portcullis on real parts: a Kubernetes API server and a server that speaks 1Password Connect's API.

mod bed;
mod canary;
mod crds;
mod deploy;
mod docs;
mod edges;
mod looks;
mod path;
mod restart;
mod schema;
mod threats;
