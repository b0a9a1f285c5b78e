//! Portcullis on real parts: a Kubernetes API server and a server that speaks 1Password Connect's API.

mod bed;
mod crds;
mod deploy;
mod edges;
mod path;
mod schema;
