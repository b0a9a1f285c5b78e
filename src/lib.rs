//! Portcullis decides on requests for credentials, fetches the values from 1Password Connect, writes
//! Kubernetes Secrets, and records who got what and why.
pub mod api;
pub mod cli;
pub mod index;
pub mod policy;
pub mod reference;
pub mod settings;
