//! Portcullis on real parts: a Kubernetes API server and a server that speaks 1Password Connect's API.

mod bed;
mod behavior;
mod cache;
mod canary;
mod connection;
mod crds;
mod deploy;
mod docs;
mod drift;
mod edges;
mod failures;
mod fallback;
mod faults;
mod files;
mod good_secret;
mod isolation;
mod looks;
mod outage;
mod path;
mod persistence;
mod races;
mod references;
mod restart;
mod schema;
mod ssh_keys;
mod threats;
