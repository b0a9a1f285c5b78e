//! The start of a server: its client, what is kept of it, its actor, and the keeper of its records; and its end.

use std::sync::Arc;

use super::connection::{connection_digest, unbuilt};
use super::message::Message;
use super::persist::{Keeper, Records, Restored};
use super::{ServerTask, SlotState};
use crate::api::{ConnectServerSpec, Persistence};
use crate::cache::{Origin, Scope};
use crate::connect::{Client, ClientConfig};
use crate::vaults::{ActorConfig, News, Server, Snapshot};

impl ServerTask {
    pub(super) async fn start(
        &mut self,
        name: &str,
        spec: &ConnectServerSpec,
        config: ClientConfig,
        fingerprint: [u8; 32],
    ) -> SlotState {
        let concurrency = config.concurrency;
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
        let connection = connection_digest(&client);
        let scope = self.config.cache.scope(Origin { server: server_name.clone(), connection });
        let records = match spec.persistence() {
            Persistence::Secret => self.config.lasting.is_ok().then(|| self.records(name)),
            Persistence::None => {
                self.records(name).drop_all(self.secrets.keys()).await;
                None
            }
        };
        let restored = match &records {
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
            restored: Snapshot::restored(restored.records),
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
            let (mailbox, name) = (self.mailbox.clone(), name.to_owned());
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
            // It ends with the server, or with the runtime.
            tokio::spawn(keeper.run());
        }
        SlotState::Running(server)
    }

    /// Forgets a server that is no more, and deletes what was kept of it.
    pub(super) async fn deleted(&mut self, name: &str) {
        let is_ours = self.known.contains_key(name);
        self.forget(name);
        if is_ours {
            self.records(name).drop_all(self.secrets.keys()).await;
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
        let floors = self.known.get(name).map(|k| k.status.cache_epochs.as_slice());
        records.restore(self.secrets.keys(), scope, floors.unwrap_or_default()).await
    }
}
