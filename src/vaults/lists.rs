//! What an actor does about the lists of vaults: which of them are taken in, and which may be of a replica that lags.

use std::sync::Arc;
use std::time::SystemTime;

use futures::future::join_all;
use tokio::time::Instant;

use super::actor::Actor;
use super::{Listing, News, Trouble};
use crate::connect::ConnectError;

impl Actor {
    /// Lists vaults, and tells of each.
    pub(super) async fn list(&mut self, vaults: Vec<Arc<str>>) {
        let before = self.current();
        let lists = vaults.into_iter().map(|vault_id| {
            let guard = before.snapshot.vault(&vault_id).and_then(|v| v.content_version);
            let client = &self.client;
            async move {
                let began = Instant::now();
                let answer = client.items(&vault_id).await;
                (vault_id, began, guard, answer)
            }
        });
        for (vault_id, began, guard, answer) in join_all(lists).await {
            match answer {
                Ok((host, items)) => {
                    // What another host lists than the one that was polled is of a version that nobody asked for.
                    let guard = guard.filter(|_| *host == *self.active_host);
                    self.listed(&vault_id, Listing::new(guard, items), host, began);
                }
                Err(error) => self.unlisted(&vault_id, error),
            }
            (self.on_news)(News::Vault(vault_id));
        }
    }

    fn listed(&mut self, vault_id: &Arc<str>, listing: Listing, host: Arc<str>, began: Instant) {
        let mut view = self.current();
        view.vault_troubles.remove(vault_id);
        let known = view.snapshot.vault(vault_id).and_then(|v| v.listing.clone());
        let is_lower = known.is_some_and(|known| {
            // What was restored after a restart has no guard, and is most often what there is still.
            let was_told = known.guard.is_some() || self.lists_went_back.contains_key(vault_id);
            // The list of a replica that lags may have nothing older in it, and lack what is new. Another host than that of
            // the list before may be such a replica where no version tells: that list may be newer than the poll before it.
            let is_another = self.listed_by.get(vault_id).is_some_and(|before| *before != host);
            let lags =
                self.went_back.contains_key(vault_id) || (is_another && listing.lacks(&known));
            lags || listing.is_behind(&known) || (was_told && listing.repeats(&known))
        });
        let since = is_lower.then(|| {
            let own = *self.lists_went_back.entry(vault_id.clone()).or_insert(began);
            self.went_back.get(vault_id).map_or(own, |of_vault| own.min(*of_vault))
        });
        // A replica that lags would put old values back. The next poll asks again.
        if since.is_none_or(|since| since.elapsed() >= self.refusal_confirm) {
            self.lists_went_back.remove(vault_id);
            self.listed_by.insert(vault_id.clone(), host);
            let versions = listing.items().iter().map(|item| (&*item.id, item.version));
            self.scope.listed(vault_id, versions, began);
            view.snapshot = view.snapshot.listed(vault_id, Arc::new(listing));
        } else {
            tracing::warn!(server = %self.name, vault = %vault_id, "a list of the vault may be older than what is known; asking again");
            view.snapshot = view.snapshot.unguarded(vault_id);
        }
        // As late as can be: whoever looked before has not seen this list.
        view.listed_at.insert(vault_id.clone(), Instant::now());
        self.publish(view);
    }

    fn unlisted(&mut self, vault_id: &Arc<str>, error: ConnectError) {
        let mut view = self.current();
        view.listed_at.insert(vault_id.clone(), Instant::now());
        let (well, confirm) = (self.last_good, self.refusal_confirm);
        let before = view.vault_troubles.get(vault_id);
        let trouble = Trouble::following(before, error, well, SystemTime::now(), confirm);
        if trouble.is_refusal() && self.is_believed(trouble.lasted()) {
            self.scope.forget_vault(vault_id);
        }
        view.vault_troubles.insert(vault_id.clone(), trouble);
        self.publish(view);
    }
}
