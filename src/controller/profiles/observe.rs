//! What the watch on AccessProfiles tells: at the start what is known, later what somebody else did to it.

use kube::runtime::events::EventType;
use kube::runtime::watcher::Event;
use serde::Deserialize as _;

use super::{OVER_ALL, Object, Profiles};
use crate::api::{AccessProfile, AccessProfileSpec, Reason, RebuildCause};
use crate::behavior::Profile;
use crate::index::{ObjectKey, Raw, resource_version};
use crate::secret::Proof;
use crate::status::{About, Note};

impl Profiles {
    /// Folds an event of the watch in.
    pub(in crate::controller) fn fold(&self, event: Event<Raw<AccessProfile>>) {
        match event {
            Event::Init => self.lock().epoch += 1,
            Event::InitApply(profile) | Event::Apply(profile) => self.observe(&profile),
            Event::Delete(profile) => {
                let name = profile.metadata.name.as_deref().unwrap_or_default();
                if let Some(namespace) = self.place.namespace_of(name) {
                    self.lost(namespace, profile.metadata.uid.as_deref());
                }
            }
            Event::InitDone => {
                let gone: Vec<String> = {
                    let state = self.lock();
                    let epoch = state.epoch;
                    let is_gone =
                        |object: &Option<Object>| object.as_ref().is_some_and(|o| o.epoch < epoch);
                    let gone = state.rows.iter().filter(|(_, row)| is_gone(&row.object));
                    gone.map(|(namespace, _)| namespace.to_string()).collect()
                };
                for namespace in gone {
                    self.lost(&namespace, None);
                }
            }
        }
    }

    /// Takes in a profile as it is stored.
    pub(super) fn observe(&self, profile: &Raw<AccessProfile>) {
        let name = profile.metadata.name.as_deref().unwrap_or_default();
        let Some(namespace) = self.place.namespace_of(name) else { return };
        let opened = self.open(namespace, profile);
        let is_ours = self.place.serves(namespace);
        let mut state = self.lock();
        let epoch = state.epoch;
        let row = state.row(namespace);
        let object = Object {
            uid: profile.metadata.uid.clone().unwrap_or_default(),
            resource_version: resource_version(&profile.metadata),
            epoch,
        };
        let is_known = row.object.as_ref().is_some_and(|known| {
            known.uid == object.uid && known.resource_version >= object.resource_version
        });
        if is_known {
            if let Some(known) = &mut row.object {
                known.epoch = epoch;
            }
            return;
        }
        let is_own_write = opened.is_ok() && tag_of(profile) == Some(row.tag.as_str());
        let uid = object.uid.clone();
        row.object = Some(object);
        if is_own_write {
            return;
        }
        let is_in_memory = state.known.get(namespace).is_some();
        let cause = match opened {
            // Another instance's, or what was stored before the start. What vaults gave out is all instances'.
            Ok(profile) if !is_ours || !is_in_memory || namespace == OVER_ALL => {
                state.known.load(namespace, profile);
                return;
            }
            Err(_) if !is_ours => return,
            // One of our own that was put back: what is in memory is newer.
            Ok(profile) if state.known.get(namespace) == Some(&profile) => return,
            Ok(_) => RebuildCause::Foreign,
            Err(cause) => cause,
        };
        state.known.doubt(namespace, cause, chrono::Utc::now());
        let row = state.row(namespace);
        row.noted += 1;
        row.is_awaited = true;
        drop(state);
        self.tell(namespace, uid, cause);
    }

    /// A profile was deleted by somebody else: it is stored again.
    fn lost(&self, namespace: &str, uid: Option<&str>) {
        let mut state = self.lock();
        let row = state.row(namespace);
        let is_that = |known: &mut Object| uid.is_none_or(|uid| known.uid == uid);
        let Some(object) = row.object.take_if(is_that) else { return };
        if !self.place.serves(namespace) {
            return;
        }
        row.noted += 1;
        row.is_awaited = true;
        state.known.doubt(namespace, RebuildCause::Missing, chrono::Utc::now());
        drop(state);
        self.tell(namespace, object.uid, RebuildCause::Missing);
    }

    fn open(&self, namespace: &str, profile: &Raw<AccessProfile>) -> Result<Profile, RebuildCause> {
        let spec =
            AccessProfileSpec::deserialize(&profile.spec).map_err(|_| RebuildCause::Broken)?;
        let signer = self.keys.profile_signer(namespace);
        Profile::open(namespace, &spec, |tag, canonical| {
            signer.check(tag, canonical) == Proof::Valid
        })
    }

    fn tell(&self, namespace: &str, uid: String, cause: RebuildCause) {
        self.metrics.decisions.profile_rebuilt(cause.as_str());
        let why = match cause {
            RebuildCause::Missing => "was deleted",
            RebuildCause::Foreign => "is not as the operator wrote it",
            RebuildCause::Broken => "cannot be read",
        };
        tracing::warn!(namespace, why, "an access profile is written again");
        self.events.send(Note {
            about: About::Profile,
            key: ObjectKey::new(&self.place.namespace, &self.place.name_of(namespace)),
            uid,
            reason: Reason::ProfileRebuilt,
            action: "Rebuild",
            message: format!(
                "what is known of {namespace} {why}; it is written again as far as it is in memory, and the next \
                 request of the namespace is out of the ordinary; look who may write AccessProfiles"
            ),
            type_: EventType::Warning,
        });
        self.wake.notify_one();
    }
}

fn tag_of(profile: &Raw<AccessProfile>) -> Option<&str> {
    profile.spec.get("tag")?.as_str()
}
