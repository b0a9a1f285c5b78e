use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Anomaly, History};
use crate::api::{DeniedRequest, Moment};

/// The first decision on a UID and spec of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The request's namespace.
    pub namespace: String,
    /// When the namespace was created, where that is known.
    pub namespace_created: Option<DateTime<Utc>>,
    /// The request's name.
    pub request: String,
    /// The request's UID.
    pub uid: String,
    /// Tells the request's spec from any other one of it.
    pub spec: String,
    /// The ServiceAccount that uses the Secret, as claimed.
    pub consumer: Option<String>,
    /// The items that it asks for, in any order.
    pub items: Vec<AttemptedItem>,
    /// When it is made.
    pub at: DateTime<Utc>,
}

/// An item that an attempt asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptedItem {
    /// The vault's id.
    pub vault_id: String,
    /// The item's id.
    pub item_id: String,
    /// The vault's canonical name.
    pub vault_name: String,
    /// The item's environment, where it is known.
    pub environment: Option<String>,
}

impl Attempt {
    /// Whether it is this attempt that was denied, and not another one of the request.
    pub(super) fn is(&self, denied: &DeniedRequest) -> bool {
        (&denied.request, &denied.uid, &denied.spec) == (&self.request, &self.uid, &self.spec)
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotedOutcome {
    /// It was granted.
    Granted {
        /// At this risk, 0 to 100.
        risk: i32,
    },
    /// It was denied.
    Denied {
        /// At this risk, 0 to 100.
        risk: i32,
    },
    /// It has to wait, and is decided on again.
    Deferred,
}

/// When Portcullis came to this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation {
    /// When it was installed. Not when it was last started: a restart is no new beginning.
    pub installed_at: DateTime<Utc>,
    /// How long it learns what is usual before anything unusual is held against anybody.
    pub learning: Duration,
}

/// What a look at an attempt showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What is unusual about it, in the order of the detectors.
    pub anomalies: Vec<Anomaly>,
    /// What policy may know of the past.
    pub history: History,
}

impl Installation {
    /// When the learning period ends.
    pub(super) fn learned(&self) -> Moment {
        let learning = chrono::TimeDelta::from_std(self.learning).unwrap_or(chrono::TimeDelta::MAX);
        self.installed_at.checked_add_signed(learning).unwrap_or(DateTime::<Utc>::MAX_UTC).into()
    }
}
