//! Values for a grant. Whatever returns a value demands the grant, and what it returns borrows it on.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use crate::api::Source;
use crate::connect::{Client, ConnectError, Item};
use crate::policy::{Grant, ItemIdentity};

/// The items of a grant, with their values.
#[derive(Debug)]
pub struct Values<'g> {
    grant: &'g Grant,
    items: BTreeMap<&'g ItemIdentity, Item>,
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
pub async fn fetch<'g>(client: &Client, grant: &'g Grant) -> Result<Values<'g>, ConnectError> {
    let calls = grant.items().map(|granted| async move {
        let item = client.item(granted).await?;
        Ok((granted.identity(), item))
    });
    Ok(Values {
        grant,
        items: try_join_all(calls).await?.into_iter().collect(),
        source: Source::Connect,
    })
}
