//! Storing: at once what somebody waits for, and the rest after a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};

use super::{ApiError, Expected, Object, Profiles};
use crate::api::AccessProfileSpec;
use crate::index::{ObjectKey, resource_version};

/// The most profiles that are written at the same time.
const AT_ONCE: usize = 8;

/// Which profiles are due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Awaited,
    All,
}

/// How often namespaces that are gone are looked for.
const GONE_INTERVAL: Duration = Duration::from_secs(3600);

/// Stores profiles for as long as the operator runs. `exists` says whether there is a namespace of a name.
pub(in crate::controller) async fn keep(
    profiles: Arc<Profiles>,
    interval: Duration,
    exists: impl Fn(&str) -> bool,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= GONE_INTERVAL {
            looked = Instant::now();
            profiles.forget_gone(&exists).await;
        }
        let due = tokio::select! {
            _ = ticks.tick() => Due::All,
            () = profiles.wake.notified() => Due::Awaited,
        };
        let namespaces = profiles.due(due);
        stream::iter(namespaces)
            .for_each_concurrent(AT_ONCE, |namespace| profiles.store(namespace))
            .await;
    }
}

impl Profiles {
    /// Deletes the profiles of namespaces that are gone and have not asked for long.
    async fn forget_gone(&self, exists: impl Fn(&str) -> bool) {
        let gone: Vec<(String, Object)> = {
            let mut state = self.lock();
            let is_there = |namespace: &str| exists(namespace) || !self.place.serves(namespace);
            let gone = state.known.forget_gone(chrono::Utc::now(), &self.limits, is_there);
            let objects = gone.into_iter().filter_map(|namespace| {
                let row = state.rows.remove(namespace.as_str())?;
                Some((namespace, row.object?))
            });
            objects.collect()
        };
        for (namespace, object) in gone {
            let key = ObjectKey::new(&self.place.namespace, &self.place.name_of(&namespace));
            match self.io.delete_profile(&key, &object.expected()).await {
                Ok(()) | Err(ApiError::NotFound) => {}
                Err(error) => {
                    tracing::warn!(profile = %key, %error, "the access profile of a namespace that is gone stays");
                }
            }
        }
    }

    fn due(&self, due: Due) -> Vec<Arc<str>> {
        let state = self.lock();
        let rows = state
            .rows
            .iter()
            .filter(|(_, row)| row.stored < row.noted && (due == Due::All || row.is_awaited));
        rows.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// Stores what is known of a namespace now, for everybody who waits for it.
    async fn store(&self, namespace: Arc<str>) {
        let Some((spec, noted, expected)) = self.seal(&namespace) else { return };
        let key = ObjectKey::new(&self.place.namespace, &self.place.name_of(&namespace));
        let result = match expected {
            None => self.io.create_profile(&key, spec).await,
            Some(expected) => self.io.replace_profile(&key, &expected, spec).await,
        };
        match result {
            Ok(stored) => {
                let mut state = self.lock();
                let epoch = state.epoch;
                let row = state.row(&namespace);
                row.stored = row.stored.max(noted);
                row.is_awaited = row.stored < row.noted && row.is_awaited;
                row.object = Some(Object {
                    uid: stored.uid.clone().unwrap_or_default(),
                    resource_version: resource_version(&stored),
                    epoch,
                });
                drop(state);
                self.written.send_replace(());
            }
            // Somebody else wrote it, or it is gone: look, and write it again.
            Err(ApiError::AlreadyExists | ApiError::Conflict | ApiError::NotFound) => {
                match self.io.profile(&key).await {
                    Ok(Some(found)) => self.observe(&found),
                    Ok(None) => self.lock().row(&namespace).object = None,
                    Err(error) => {
                        tracing::warn!(profile = %key, %error, "an access profile cannot be read");
                    }
                }
                self.wake.notify_one();
            }
            Err(error) => {
                tracing::warn!(profile = %key, %error, "an access profile was not written; trying again");
            }
        }
    }

    /// The profile of a namespace, signed, with the count of what is in it and the object that it replaces.
    fn seal(&self, namespace: &str) -> Option<(AccessProfileSpec, u64, Option<Expected>)> {
        let signer = self.keys.profile_signer(namespace);
        let mut state = self.lock();
        let spec = state.known.get(namespace)?.seal(namespace, |canonical| signer.tag(canonical));
        let row = state.row(namespace);
        row.tag.clone_from(&spec.tag);
        Some((spec, row.noted, row.object.as_ref().map(Object::expected)))
    }
}
