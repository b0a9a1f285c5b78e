//! Portcullis decides on requests for credentials, fetches the values from 1Password Connect, writes
//! Kubernetes Secrets, and records who got what and why.
pub mod api;
pub mod audit;
pub mod cli;
pub mod connect;
pub mod controller;
pub mod fetch;
pub mod index;
pub mod kube_io;
pub mod policy;
pub mod reference;
pub mod render;
pub mod secret;
pub mod server;
pub mod settings;
pub mod status;
pub mod telemetry;
pub mod vaults;
