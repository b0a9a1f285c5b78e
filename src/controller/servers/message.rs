use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

use super::persist::Kept;
use crate::api::{CacheEpoch, ConnectServer};
use crate::index::Raw;

/// What the task that keeps [`Servers`] is told.
pub(in crate::controller) enum Message {
    /// A ConnectServer changed.
    Server(Box<Event<Raw<ConnectServer>>>),
    /// A Secret of the operator's namespace changed: its metadata, or that it is gone.
    Secret(String, Option<Box<ObjectMeta>>),
    /// A ConfigMap of the operator's namespace changed.
    ConfigMap(String),
    /// All Secrets, or all ConfigMaps, of the operator's namespace have been told of.
    Listed,
    /// What the status of a server says may have changed.
    Status(String),
    /// A server is to be looked at again.
    Retry(String),
    /// How the cache of a server was kept, and the epochs of its records now.
    Kept(String, Vec<CacheEpoch>, Kept),
}

/// What an event of the Secrets of the operator's namespace says.
pub(in crate::controller) fn secret_message(
    event: Event<PartialObjectMeta<Secret>>,
) -> Option<Message> {
    match event {
        Event::InitApply(secret) | Event::Apply(secret) => {
            let name = secret.metadata.name.clone()?;
            Some(Message::Secret(name, Some(Box::new(secret.metadata))))
        }
        Event::Delete(secret) => Some(Message::Secret(secret.metadata.name?, None)),
        Event::InitDone => Some(Message::Listed),
        Event::Init => None,
    }
}

/// What an event of the ConfigMaps of the operator's namespace says.
pub(in crate::controller) fn config_map_message(
    event: Event<PartialObjectMeta<ConfigMap>>,
) -> Option<Message> {
    match event {
        Event::InitApply(map) | Event::Apply(map) | Event::Delete(map) => {
            Some(Message::ConfigMap(map.metadata.name?))
        }
        Event::InitDone => Some(Message::Listed),
        Event::Init => None,
    }
}
