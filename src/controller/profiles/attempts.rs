//! The attempts of late: one that is decided on again is the same attempt.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::behavior::Anomaly;

/// The most attempts that are remembered. One that is forgotten counts as new when it comes again.
const MOST: usize = 16_384;
/// How long one is remembered after it was last decided on.
const LASTS: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
pub(super) struct Attempts {
    /// By UID and spec of the request.
    known: HashMap<(Box<str>, Box<str>), Remembered>,
}

pub(super) struct Remembered {
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) granted: bool,
    at: Instant,
}

impl Attempts {
    pub(super) fn get(&self, uid: &str, spec: &str) -> Option<&Remembered> {
        self.known.get(&(uid.into(), spec.into()))
    }

    pub(super) fn put(&mut self, uid: &str, spec: &str, anomalies: Vec<Anomaly>, granted: bool) {
        if self.known.len() >= MOST
            && let Some(oldest) =
                self.known.iter().min_by_key(|(_, r)| r.at).map(|(k, _)| k.clone())
        {
            self.known.remove(&oldest);
        }
        let remembered = Remembered { anomalies, granted, at: Instant::now() };
        self.known.insert((uid.into(), spec.into()), remembered);
    }

    pub(super) fn prune(&mut self) {
        self.known.retain(|_, remembered| remembered.at.elapsed() < LASTS);
    }
}
