//! Values for a grant. Whatever returns a value demands the grant, and what it returns borrows it on.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::try_join_all;

use crate::api::Source;
use crate::connect::{Client, ConnectError, FileContent, Item};
use crate::policy::{Grant, ItemIdentity};
use crate::telemetry::Metrics;

/// The items of a grant, with their values.
#[derive(Debug)]
pub struct Values<'g> {
    grant: &'g Grant,
    items: BTreeMap<&'g ItemIdentity, Item>,
    /// By item, then by the file's id.
    files: BTreeMap<&'g ItemIdentity, BTreeMap<String, FileContent>>,
    source: Source,
}

impl<'g> Values<'g> {
    /// The grant that allowed it.
    #[must_use]
    pub fn grant(&self) -> &'g Grant {
        self.grant
    }

    /// An item of the grant.
    #[must_use]
    pub fn item(&self, identity: &ItemIdentity) -> Option<&Item> {
        self.items.get(identity)
    }

    /// The items with the identities under which they were granted.
    pub fn items(&self) -> impl Iterator<Item = (&ItemIdentity, &Item)> {
        self.items.iter().map(|(identity, item)| (*identity, item))
    }

    /// The contents of a file of an item, by the file's id.
    #[must_use]
    pub fn file(&self, identity: &ItemIdentity, file_id: &str) -> Option<&[u8]> {
        self.files.get(identity)?.get(file_id).map(FileContent::expose)
    }

    /// Where the values came from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }
}

/// Fetches every item of the grant once, in parallel as far as the client allows.
///
/// # Errors
/// The first failure; what was fetched by then is dropped and wiped.
pub async fn fetch<'g>(
    client: &Client,
    server: &str,
    grant: &'g Grant,
    metrics: &Metrics,
) -> Result<Values<'g>, ConnectError> {
    let calls = grant.items().map(|granted| async move {
        let started = Instant::now();
        let answer = client.item(granted).await;
        let result = answer.as_ref().map_or_else(|e| e.reason().as_str(), |_| "ok");
        metrics.called(server, "item", result, started.elapsed());
        answer.map(|item| (granted.identity(), item))
    });
    Ok(Values {
        grant,
        items: try_join_all(calls).await?.into_iter().collect(),
        files: BTreeMap::new(),
        source: Source::Connect,
    })
}
