//! The client against two development Connect servers, as replicas of one another.

use portcullis_test_support::connect_dev::{
    ConnectDev, FaultKind, FaultSpec, ItemSpec, StateSpec, fake_token,
};

use super::*;

struct Replicas {
    first: ConnectDev,
    second: ConnectDev,
    vault: String,
    identity: ItemIdentity,
    token: String,
}

impl Replicas {
    fn start() -> Self {
        let item = || ItemSpec::new("orders").field("password", CANARY);
        let vault = StateSpec::default().vault("services", vec![item()]);
        // Ids are made of names, so that both have the same.
        let vault = ConnectDev::start(vault).unwrap().vault_id("services").unwrap();
        let token = fake_token("jti-7f3a", &[&vault], None);
        let start = || {
            let state = StateSpec::default().token(&token, &["*"]);
            ConnectDev::start(state.vault("services", vec![item()])).unwrap()
        };
        let (first, second) = (start(), start());
        let identity = ItemIdentity {
            vault_id: vault.as_str().into(),
            item_id: first.item_id("services", "orders").unwrap().into(),
            ..identity("orders")
        };
        Self { first, second, vault, identity, token }
    }

    fn client(&self) -> Client {
        let pause = Duration::from_millis(50);
        client(ClientConfig {
            hosts: vec![self.first.url(), self.second.url()],
            token: self.token.as_str().into(),
            call_timeout: Duration::from_secs(1),
            cool_down: CoolDown { first: pause, max: pause },
            list_limits: ListLimits { body: 65_536, entry: 4096, entries: 100 },
            ..config("")
        })
    }

    async fn read_all(&self, client: &Client) {
        let vaults = client.vaults().await.unwrap();
        assert_eq!(client.vault(&self.vault).await.unwrap(), vaults[0]);
        assert_eq!(client.items(&self.vault).await.unwrap().1.len(), 1);
        let item = client.fetch_item(&self.identity).await.unwrap();
        assert_eq!(item.fields[0].value.as_ref().unwrap().expose(), CANARY);
    }
}

#[tokio::test]
async fn a_server_that_is_well_is_ready_and_its_token_reads() {
    let replicas = Replicas::start();
    let client = replicas.client();
    let health = client.health().await.unwrap();
    assert!(health.is_ready() && !health.version.is_empty(), "{health:?}");
    let claims = client.claims();
    assert_eq!((claims.id.as_deref(), claims.access), (Some("jti-7f3a"), Access::ReadOnly));
    assert_eq!(*claims.vaults[0].vault_id, *replicas.vault);
}

#[tokio::test]
async fn a_replica_that_stops_is_replaced_by_the_other_and_takes_over_again() {
    let replicas = Replicas::start();
    let client = replicas.client();
    replicas.read_all(&client).await;
    assert_eq!(replicas.second.requests().api(), 0);
    replicas.first.stop();
    replicas.read_all(&client).await;
    assert_eq!(client.active_host(), replicas.second.url());
    assert_eq!(client.hosts()[0].breaker, BreakerState::Open);
    let health = client.health().await.unwrap();
    assert!(health.is_ready());
    replicas.first.restart().unwrap();
    while client.active_host() != replicas.first.url() {
        replicas.read_all(&client).await;
    }
    replicas.second.reset_requests();
    replicas.read_all(&client).await;
    assert_eq!(replicas.second.requests().api(), 0);
}

#[tokio::test]
async fn a_replica_that_hangs_costs_three_calls_time_and_then_none() {
    let replicas = Replicas::start();
    let client = replicas.client();
    replicas.first.fault(FaultSpec::new(FaultKind::Hang));
    replicas.read_all(&client).await;
    assert_eq!(client.active_host(), replicas.second.url());
    assert_eq!(replicas.second.requests().api(), 4);
}

#[tokio::test]
async fn a_replica_that_limits_its_calls_is_left_alone_and_refusals_are_not() {
    let replicas = Replicas::start();
    let client = replicas.client();
    let retry_after = Duration::from_secs(60);
    replicas.first.fault(FaultSpec::new(FaultKind::RateLimited { retry_after }));
    replicas.read_all(&client).await;
    assert_eq!((replicas.first.requests().api(), replicas.second.requests().api()), (1, 4));
    assert!(replicas.second.revoke_token(&replicas.token));
    let error = client.vaults().await.unwrap_err();
    assert_eq!((error.failure(), error.class()), (Failure::Unauthorized, Class::Refused));
    assert_eq!(error.host(), replicas.second.url());
}
