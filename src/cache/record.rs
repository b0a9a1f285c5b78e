//! What is kept of a vault as one sealed record that outlives the process: the values, still sealed each for
//! itself, and the names that it takes to resolve references to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::bind::{self, Binding, Origin, Part, Sealed, open_with, seal_with};
use super::keys::put;
use super::store::Entry;
use super::{Scope, unix_millis};
use crate::reference::fold;

/// The largest record, in bytes: with its base64 it fits into a Secret.
pub const RECORD_LIMIT: usize = 700 << 10;

/// An item of a vault, without values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: Arc<str>,
    /// Its title.
    pub title: Arc<str>,
    /// Its version.
    pub version: i64,
    /// Its category; empty where the server does not tell.
    pub category: Arc<str>,
}

/// By how much clocks may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The most bytes of sealed values in a record; the rest is for names.
const VALUES_LIMIT: usize = 512 << 10;

/// What a vault is called, for its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The vault's name.
    pub vault: Arc<str>,
    /// The vault's content version.
    pub content_version: Option<i64>,
    /// Other vaults of that name, in whatever case: by id, with their names.
    pub namesakes: Vec<(Arc<str>, Arc<str>)>,
}

/// What a record tells of its vault, besides values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts the records of the vault: an older one was put back.
    pub epoch: i64,
    /// The vault's name.
    pub name: Arc<str>,
    /// The vault's content version.
    pub content_version: Option<i64>,
    /// The items that values are of, and all that have the same title as one of them.
    pub items: Vec<Listed>,
    /// Other vaults of that name, in whatever case: by id, with their names.
    pub namesakes: Vec<(Arc<str>, Arc<str>)>,
    /// How many values there are.
    pub values: usize,
    /// How many more there were when it was made, which did not fit.
    pub left_out: usize,
    /// Which key it is sealed with.
    pub sealed_by: SealedBy,
}

/// Which key a record is sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedBy {
    /// The one that seals.
    Newest,
    /// One that only opens any more, or some of the values were: the record is to be sealed anew.
    Older,
}

/// Why a record is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It was sealed with a key that is gone.
    #[error("it was sealed with a key that this operator does not have")]
    UnknownKey,
    /// It was changed, cut short, or made for another vault, server, token or host.
    #[error("it is not a record of this vault as the server is reached now, or was tampered with")]
    Foreign,
    /// It is older than the last one that was written.
    #[error("it is older than the last one that was written: somebody put it back")]
    RolledBack,
    /// Not even the names fit into a record, or there is no randomness.
    #[error(
        "it cannot be made: the vault has too many items of equal titles, or there is no randomness"
    )]
    Unmade,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    epoch: i64,
    name: Arc<str>,
    content_version: Option<i64>,
    namesakes: Vec<(Arc<str>, Arc<str>)>,
    items: Vec<Listed>,
    values: Vec<WireValue>,
}

#[derive(Serialize, Deserialize)]
struct WireValue {
    item: Arc<str>,
    part: Part,
    version: i64,
    class: Arc<str>,
    namespace: Arc<str>,
    fetched_at: u64,
    confirmed_at: u64,
    keep: Duration,
    sealed: Sealed,
}

impl Scope {
    /// How often what is kept of a vault has changed: a record of another count is out of date.
    #[must_use]
    pub fn changes(&self, vault: &Arc<str>) -> u64 {
        self.store().changes(&self.vault(vault))
    }

    /// Whether anything is kept of a vault.
    #[must_use]
    pub fn holds_some(&self, vault: &Arc<str>) -> bool {
        self.store().holds_some(&self.vault(vault))
    }

    /// The vaults of which something is kept, or was.
    #[must_use]
    pub fn vaults(&self) -> Vec<Arc<str>> {
        self.store().vaults(self.inner.id)
    }

    /// Makes the record of a vault. Where not all values fit, the most recently used ones go in. `listed` is
    /// the last list of the vault.
    ///
    /// # Errors
    /// When there is none to be made.
    pub fn export(
        &self,
        vault: &Arc<str>,
        names: Names,
        listed: impl Iterator<Item = Listed> + Clone,
        epoch: i64,
    ) -> Result<(Record, Vec<u8>), RecordError> {
        let (confirmed, entries) = self.store().export(&self.vault(vault));
        let mut values = Vec::new();
        let (mut size, mut left_out) = (0, 0);
        for ((item, part), entry) in entries {
            let more = entry.sealed.size() + 512;
            if size + more > VALUES_LIMIT {
                left_out += 1;
                continue;
            }
            size += more;
            let at = confirmed.map_or(entry.confirmed, |at| at.max(entry.confirmed));
            let age = self.inner.cache.now().saturating_sub(at);
            values.push(wire_value(item, part, entry, SystemTime::now() - age));
        }
        let kept: HashSet<&str> = values.iter().map(|v| &*v.item).collect();
        let titles: HashSet<String> =
            listed.clone().filter(|i| kept.contains(&*i.id)).map(|i| fold(&i.title)).collect();
        // What a reference to a kept item might mean besides: an item of its title, or one titled as its id.
        let items: Vec<Listed> = listed
            .filter(|i| titles.contains(&fold(&i.title)) || kept.contains(&*i.title))
            .collect();
        let Names { vault: name, content_version, namesakes } = names;
        let wire = Wire { epoch, name, content_version, namesakes, items, values };
        let plain = postcard::to_allocvec(&wire).map_err(|_| RecordError::Unmade)?;
        let subkey =
            self.keyring().sealing(&self.inner.origin, vault).ok_or(RecordError::Unmade)?;
        let bound = bound_to(&self.inner.origin, vault);
        let sealed =
            seal_with(&subkey, &bound, Zeroizing::new(plain)).ok_or(RecordError::Unmade)?;
        let bytes = postcard::to_allocvec(&sealed).map_err(|_| RecordError::Unmade)?;
        if bytes.len() > RECORD_LIMIT {
            return Err(RecordError::Unmade);
        }
        Ok((Record { left_out, ..record_of(wire) }, bytes))
    }

    /// Takes the values of a record in, with when they were confirmed.
    ///
    /// # Errors
    /// When the record is not the last one that was written for just this. Nothing is taken in then.
    pub fn import(
        &self,
        vault: &Arc<str>,
        bytes: &[u8],
        least_epoch: i64,
    ) -> Result<Record, RecordError> {
        let sealed: Sealed = postcard::from_bytes(bytes).map_err(|_| RecordError::Foreign)?;
        let subkey = self
            .keyring()
            .opening(&sealed.key_id, &self.inner.origin, vault)
            .ok_or(RecordError::UnknownKey)?;
        let bound = bound_to(&self.inner.origin, vault);
        let plain = open_with(&subkey, &bound, &sealed).ok_or(RecordError::Foreign)?;
        let mut wire: Wire = postcard::from_bytes(&plain).map_err(|_| RecordError::Foreign)?;
        if wire.epoch < least_epoch {
            return Err(RecordError::RolledBack);
        }
        let values = std::mem::take(&mut wire.values);
        let all = values.len();
        let newest = self.keyring().sealing_id();
        let is_newest = newest == sealed.key_id && values.iter().all(|v| v.sealed.key_id == newest);
        let kept: Vec<(WireValue, Duration)> = values
            .into_iter()
            .filter_map(|value| {
                let age = age(value.confirmed_at)?;
                Some((self.under_newest(vault, value)?, age))
            })
            .collect();
        let count = kept.len();
        let cache = &self.inner.cache;
        let mut store = self.store();
        // Put in backwards, so that the most recently used one is that again.
        for (value, age) in kept.into_iter().rev() {
            let entry = Entry::new(
                value.sealed,
                value.version,
                (&value.class, value.keep),
                value.fetched_at,
                &value.namespace,
                cache.now().saturating_sub(age),
            );
            store.put(&self.vault(vault), &value.item, &value.part, entry);
        }
        drop(store);
        let sealed_by = if is_newest && count == all { SealedBy::Newest } else { SealedBy::Older };
        Ok(Record { values: count, sealed_by, ..record_of(wire) })
    }

    /// A value under the key that seals, so that the key which sealed it may go; nothing where it does not open.
    fn under_newest(&self, vault: &Arc<str>, value: WireValue) -> Option<WireValue> {
        let keyring = self.keyring();
        if value.sealed.key_id == keyring.sealing_id() {
            return Some(value);
        }
        let binding = Binding {
            vault,
            item: &value.item,
            part: &value.part,
            version: value.version,
            class: &value.class,
            fetched_at: value.fetched_at,
        };
        let plain = bind::open(keyring, &self.inner.origin, &binding, &value.sealed)?;
        let sealed = bind::seal(keyring, &self.inner.origin, &binding, plain)?;
        Some(WireValue { sealed, ..value })
    }

    fn keyring(&self) -> &super::Keyring {
        &self.inner.cache.inner.keyring
    }
}

/// How long ago something was confirmed, in milliseconds since 1970; nothing where that is yet to come: a clock was
/// set back, and nobody knows.
fn age(confirmed_at: u64) -> Option<Duration> {
    let now = SystemTime::now();
    let confirmed_at = UNIX_EPOCH.checked_add(Duration::from_millis(confirmed_at))?;
    match now.duration_since(confirmed_at) {
        Ok(age) => Some(age),
        Err(ahead) => (ahead.duration() <= CLOCK_SKEW).then_some(Duration::ZERO),
    }
}

fn wire_value(item: Arc<str>, part: Part, entry: Entry, confirmed_at: SystemTime) -> WireValue {
    WireValue {
        item,
        part,
        version: entry.version,
        class: entry.class,
        namespace: entry.namespace,
        fetched_at: entry.fetched_at,
        confirmed_at: unix_millis(confirmed_at),
        keep: entry.keep,
        sealed: Sealed::clone(&entry.sealed),
    }
}

fn record_of(wire: Wire) -> Record {
    Record {
        epoch: wire.epoch,
        name: wire.name,
        content_version: wire.content_version,
        namesakes: wire.namesakes,
        left_out: 0,
        items: wire.items,
        values: wire.values.len(),
        sealed_by: SealedBy::Newest,
    }
}

fn bound_to(origin: &Origin, vault: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for part in [
        b"portcullis cache record v1".as_slice(),
        origin.server.as_bytes(),
        &origin.connection,
        vault.as_bytes(),
    ] {
        put(&mut message, part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_confirmed_at_a_time_that_is_yet_to_come_is_of_no_use() {
        let at = |time: SystemTime| age(unix_millis(time));
        let now = SystemTime::now();
        assert!(at(now - Duration::from_secs(90)).unwrap() >= Duration::from_secs(90));
        assert_eq!(at(now + Duration::from_secs(30)), Some(Duration::ZERO), "clocks differ");
        assert_eq!(at(now + Duration::from_secs(3600)), None);
        assert_eq!(age(u64::MAX), None);
    }
}
