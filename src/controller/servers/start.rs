//! The start of a server: its client, what is kept of it, its actor, and the keeper of its records; and its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::connection::{connection_digest, unbuilt};
use super::message::Message;
use super::persist::{Keeper, PURPOSE_CACHE, Records, Restored, expected};
use super::{ServerTask, Slot, SlotState};
use crate::api::{CacheEpoch, ConnectServerSpec, PURPOSE_LABEL, Persistence};
use crate::cache::{Origin, Scope};
use crate::connect::{Client, ClientConfig};
use crate::index::{ObjectKey, SecretEntry};
use crate::kube_io::ApiError;
use crate::vaults::{ActorConfig, News, Server, Snapshot, View};

impl ServerTask {
    pub(super) async fn start(
        &mut self,
        name: &str,
        spec: &ConnectServerSpec,
        config: ClientConfig,
        fingerprint: [u8; 32],
    ) -> SlotState {
        let (concurrency, ca_pem) = (config.concurrency, config.ca_pem.clone());
        let server_name: Arc<str> = name.into();
        // The breakers of the client before are no more, and nor may be its hosts.
        self.config.metrics.forget_breakers(name);
        let client = match Client::new(config) {
            Ok(client) => client,
            Err(error) => return SlotState::Broken(unbuilt(error, spec)),
        };
        if let Some(known) = self.known.get_mut(name) {
            known.fingerprint = Some(fingerprint);
        }
        let ends = client.claims().expires_at.map(|at| at.timestamp() as f64);
        self.config.metrics.cache.token_ends(name, ends);
        let connection = connection_digest(&client, ca_pem.as_deref());
        let origin = Origin { server: server_name.clone(), connection };
        // The keeper of before ends first: two of them would number the same records.
        if let Some(keeper) = self.keepers.remove(name) {
            keeper.abort();
            let _ = keeper.await;
        }
        // What the same token was given by the same hosts stays, and so does what is known of the vaults.
        let before = match self.config.servers.get(name) {
            Some(Slot::Ours { state: SlotState::Running(server), .. })
                if *server.scope().origin() == origin =>
            {
                Some(server)
            }
            _ => None,
        };
        let scope = match &before {
            Some(server) => server.scope().clone(),
            None => self.config.cache.scope(origin),
        };
        let records = match spec.persistence() {
            Persistence::Secret => self.config.lasting.is_ok().then(|| self.records(name)),
            Persistence::None => {
                self.records(name).drop_all(self.secrets.keys()).await;
                None
            }
        };
        let restored = match &records {
            // A scope that goes on has it all, and more.
            Some(_) if before.is_some() => {
                Restored { epochs: self.epochs(name), ..Restored::default() }
            }
            Some(records) => self.restored(name, records, &scope).await,
            None => Restored::default(),
        };
        let (index, vault_server) = (self.config.index.clone(), server_name.clone());
        let (mailbox, on_news, news_server) =
            (self.mailbox.clone(), self.on_news.clone(), name.to_owned());
        let server = Arc::new(Server::start(ActorConfig {
            name: server_name,
            client,
            scope,
            known: match &before {
                Some(server) => server.view().restarting(),
                None => View::starting(Snapshot::restored(restored.records)),
            },
            concurrency,
            poll_interval: spec.poll_interval().unwrap_or(self.config.settings.poll_interval),
            retry_first: self.config.settings.retry_first,
            look_interval: self.config.settings.look_interval,
            relist_interval: self.config.settings.relist_interval,
            health_interval: self.config.settings.health_interval,
            refusal_confirm: self.config.settings.refusal_confirm,
            in_use: Box::new(move |vault| {
                index.is_vault_in_use(&(vault_server.clone(), vault.clone()))
            }),
            on_news: Box::new(move |news| {
                let concerns_status = !matches!(news, News::Vault(_));
                on_news(&news_server, news);
                if concerns_status {
                    let _ = mailbox.send(Message::Status(news_server.clone()));
                }
            }),
            metrics: self.config.metrics.clone(),
        }));
        if let Some(records) = records {
            let (mailbox, name, name_of_keeper) =
                (self.mailbox.clone(), name.to_owned(), name.to_owned());
            let keeper = Keeper {
                records,
                server: Arc::downgrade(&server),
                epochs: restored.epochs,
                changes: restored.changes,
                interval: self.config.settings.persist_interval,
                confirmed: self.config.settings.persist_confirmed,
                on_written: Box::new(move |epochs, kept| {
                    // Nobody listens any more when the operator stops.
                    let _ = mailbox.send(Message::Kept(name.clone(), epochs, kept));
                }),
            };
            self.keepers.insert(name_of_keeper, tokio::spawn(keeper.run()));
        }
        SlotState::Running(server)
    }

    /// Forgets a server that is no more, and deletes what was kept of it.
    pub(super) async fn deleted(&mut self, name: &str) {
        let is_ours = self.known.contains_key(name);
        if let Some(keeper) = self.keepers.remove(name) {
            keeper.abort();
            let _ = keeper.await;
        }
        self.forget(name);
        if is_ours {
            self.records(name).drop_all(self.secrets.keys()).await;
        }
    }

    /// Deletes, once, the records of servers that were deleted while no operator ran. Those of other classes have
    /// their own operator, which may share the namespace.
    pub(super) async fn drop_orphans(&mut self) {
        if self.orphans_gone || !self.servers_listed || self.lists_to_come > 0 {
            return;
        }
        self.orphans_gone = true;
        let is_record = |metadata: &ObjectMeta| {
            let purpose = metadata.labels.as_ref().and_then(|l| l.get(PURPOSE_LABEL));
            purpose.is_some_and(|purpose| purpose == PURPOSE_CACHE)
        };
        let servers = self.known.keys().chain(self.elsewhere.keys());
        let owned: Vec<String> = servers.map(|name| self.records(name).prefix()).collect();
        let orphans = self.secrets.iter().filter(|(name, metadata)| {
            is_record(metadata) && !owned.iter().any(|prefix| name.starts_with(prefix))
        });
        for (name, metadata) in orphans {
            let key = ObjectKey::new(&self.config.namespace, name);
            let Some(entry) = SecretEntry::from_meta(metadata) else { continue };
            match self.config.io.delete_secret(&key, &expected(&entry)).await {
                Ok(()) | Err(ApiError::NotFound) => {
                    tracing::info!(secret = %key, "deleted the cache of a server that is no more");
                }
                Err(error) => {
                    tracing::warn!(secret = %key, %error, "the cache of a server that is no more was not deleted");
                }
            }
        }
    }

    fn records(&self, name: &str) -> Records {
        Records {
            io: self.config.io.clone(),
            namespace: self.config.namespace.clone(),
            server: name.into(),
            metrics: self.config.metrics.clone(),
        }
    }

    async fn restored(&self, name: &str, records: &Records, scope: &Scope) -> Restored {
        let floors: Vec<CacheEpoch> = self
            .epochs(name)
            .into_iter()
            .map(|(vault, epoch)| CacheEpoch { vault: vault.to_string(), epoch })
            .collect();
        records.restore(self.secrets.keys(), scope, &floors).await
    }

    /// The highest number that each record was told to have.
    fn epochs(&self, name: &str) -> BTreeMap<Arc<str>, i64> {
        let Some(known) = self.known.get(name) else { return BTreeMap::new() };
        let told = known.kept.iter().flat_map(|(_, epochs)| epochs);
        let mut highest = BTreeMap::new();
        for CacheEpoch { vault, epoch } in known.status.cache_epochs.iter().chain(told) {
            let known = highest.entry(Arc::from(vault.as_str())).or_insert(*epoch);
            *known = (*known).max(*epoch);
        }
        highest
    }
}
