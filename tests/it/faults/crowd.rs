//! Many requests of two servers with two tokens, while values rotate and everything fails now and then: no value ever
//! gets into another request's Secret, and in the end each has its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::{ConnectDev, FaultKind, FaultSpec, ItemSpec, StateSpec};
use portcullis_test_support::{Bed, SecretHistory, wait};
use serde_json::json;

use super::{ITEM, LIST, Says, VAULTS, says, status};

const REQUESTS: usize = 64;
/// Items of each vault.
const ITEMS: usize = 8;
/// How long values rotate and faults come.
const LASTS: Duration = Duration::from_secs(60);
/// What it takes for more than one of each fault to have come.
const ROUNDS: usize = 24;

/// One of the two servers.
struct Side {
    name: &'static str,
    server: String,
    connect: ConnectDev,
    /// What its token opens; both servers have both vaults, and items of the same ids in them.
    vault: &'static str,
}

/// The beginning of every value that an item of a side ever has.
fn stem(bed: &Bed, side: &str, item: usize) -> String {
    format!("{}-{side}-{item}-", bed.canary())
}

fn value(bed: &Bed, side: &str, item: usize, round: usize) -> String {
    format!("{}{round}", stem(bed, side, item))
}

impl Side {
    async fn new(bed: &Bed, name: &'static str, vault: &'static str) -> Self {
        let token = format!("{}-token-{name}", bed.canary());
        let items = |side: &str| -> Vec<ItemSpec> {
            let item =
                |i| ItemSpec::new(&format!("item-{i}")).field("password", &value(bed, side, i, 0));
            (0..ITEMS).map(item).collect()
        };
        let mut state = StateSpec::default().token(&token, &[vault]);
        for other in ["services", "infra"] {
            // What the token does not open must not turn up anywhere.
            let side = if other == vault { name.to_owned() } else { format!("{name}-hidden") };
            state = state.vault(other, items(&side));
        }
        let connect = ConnectDev::start(state).unwrap();
        let server = format!("{}-{name}", bed.class);
        bed.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("token-{name}"), "namespace": bed.operator_namespace,
                         "labels": {"portcullis.dev/purpose": "connect-token"},
                         "annotations": {"portcullis.dev/allowed-hosts": connect.url()}},
            "stringData": {"token": token},
        }))
        .await;
        let mut manifest = bed.server_manifest();
        manifest["metadata"]["name"] = json!(server);
        manifest["spec"]["hosts"] = json!([{"url": connect.url()}]);
        manifest["spec"]["tokenSecretRef"] = json!({"name": format!("token-{name}")});
        manifest["spec"]["access"][0]["vaults"] = json!([{"name": "*"}]);
        bed.apply(manifest).await;
        Self { name, server, connect, vault }
    }

    fn rotate(&self, bed: &Bed, round: usize) {
        for item in 0..ITEMS {
            let value = value(bed, self.name, item, round);
            self.connect
                .set_field(self.vault, &format!("item-{item}"), "password", &value)
                .unwrap();
        }
    }

    /// Has the server fail in two ways, other ones each round.
    fn disturb(&self, round: usize) {
        let spec = FaultSpec::new;
        let later = |code| FaultKind::RetryAfter {
            code,
            message: "an upstream body".to_owned(),
            retry_after: Duration::from_secs(1),
        };
        let slow = FaultKind::Latency(Duration::from_millis(30));
        for fault in match round % 10 {
            0 => [spec(FaultKind::WrongItem).times(6), spec(FaultKind::Drop).on(ITEM).times(4)],
            1 => [spec(slow).times(40), spec(status(500)).times(12)],
            2 => [spec(FaultKind::WrongItem).times(9), spec(status(500)).on(LIST).times(2)],
            3 => [
                spec(FaultKind::Drop).on(VAULTS).times(7),
                spec(FaultKind::Truncated).on(ITEM).times(5),
            ],
            4 => [spec(FaultKind::WrongVault).times(8), spec(status(401)).on(VAULTS).times(1)],
            5 => [spec(FaultKind::Reset).times(10), spec(status(403)).on(ITEM).times(2)],
            6 => [spec(later(429)).on(ITEM).times(1), spec(status(404)).on(ITEM).times(1)],
            7 => [spec(FaultKind::Html { code: 200 }).times(8), spec(later(503)).on(LIST).times(1)],
            8 => {
                [spec(FaultKind::Html { code: 502 }).times(8), spec(FaultKind::WrongTitle).times(6)]
            }
            _ => [
                spec(FaultKind::Hang).on(ITEM).times(2),
                spec(FaultKind::Truncated).on(LIST).times(2),
            ],
        } {
            self.connect.fault(fault);
        }
    }

    /// Is away for as long as it takes the operator to say so, with a Secret to be made meanwhile.
    async fn outage(&self, bed: &Bed, request: &str) {
        self.connect.stop();
        bed.wait_reason(request, Reason::ConnectUnavailable).await;
        bed.delete_secret(request).await;
        bed.wait_reason(request, Reason::ServedFromCache).await;
        self.connect.restart().unwrap();
    }
}

fn name_of(request: usize) -> String {
    format!("request-{request}")
}

/// Nothing but values of these items was ever in a Secret; how many versions there were.
fn check(
    bed: &Bed,
    history: &SecretHistory,
    owners: &BTreeMap<String, (&str, [usize; 2])>,
) -> usize {
    let mut versions = 0;
    for (name, (side, items)) in owners {
        for seen in history.of(name) {
            let data = seen.secret().data.clone().unwrap_or_default();
            assert_eq!(data.len(), 2, "{name}");
            for (key, item) in ["a", "b"].into_iter().zip(items) {
                let held = String::from_utf8(data[key].0.clone()).unwrap();
                let rest = held.strip_prefix(&stem(bed, side, *item));
                assert!(
                    rest.is_some_and(|r| r.parse::<usize>().is_ok()),
                    "{name} held another's value"
                );
            }
            versions += 1;
        }
    }
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_minute_of_faults_and_rotations_no_value_gets_into_another_requests_secret() {
    let bed = Bed::new("fx-crowd").await;
    let sides =
        [Side::new(&bed, "left", "services").await, Side::new(&bed, "right", "infra").await];
    assert_eq!(sides[0].connect.vault_id("infra"), sides[1].connect.vault_id("infra"));
    assert_eq!(
        sides[0].connect.item_id("infra", "item-0"),
        sides[1].connect.item_id("infra", "item-0"),
        "the same ids, so that a mix-up would go unnoticed but for the value"
    );
    let history = bed.observe_secrets().await;
    let operator = bed.operator().await;
    let mut owners = BTreeMap::new();
    for request in 0..REQUESTS {
        let side = &sides[request % 2];
        let items = [request / 2 % ITEMS, (request / 2 * 3 + 1) % ITEMS];
        let data: Vec<_> = ["a", "b"]
            .into_iter()
            .zip(items)
            .map(|(key, i)| json!({"key": key, "ref": format!("op://{}/item-{i}/password", side.vault)}))
            .collect();
        let spec = json!({"serverRef": {"name": side.server}, "purpose": "a test", "data": data});
        let name = name_of(request);
        bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        owners.insert(name, (side.name, items));
        // Faults and rotations begin while requests are still being made.
        if request % 16 == 15 {
            sides.iter().for_each(|side| side.disturb(request / 16));
        }
    }
    let witness = |round: usize| name_of(round * 5 % REQUESTS);
    let (began, mut round) = (Instant::now(), 0);
    while round < ROUNDS || began.elapsed() < LASTS {
        round += 1;
        for side in &sides {
            side.rotate(&bed, round);
            side.disturb(round);
        }
        // Somebody deletes one meanwhile, and somebody's gets this round's value at last.
        let (name, other) = (witness(round), name_of((round * 7 + 3) % REQUESTS));
        if bed.secret(&other).await.is_some() {
            bed.delete_secret(&other).await;
        }
        let (side, items) = owners[&name];
        bed.wait_value(&name, "a", &value(&bed, side, items[0], round)).await;
        if round % 10 == 0 {
            let side = &sides[round / 10 % 2];
            side.connect.clear_faults();
            let request = name_of(round / 10 % 2);
            says(&bed, &request, Says::SYNCED).await;
            side.outage(&bed, &request).await;
        }
    }
    for side in &sides {
        side.connect.clear_faults();
    }
    for (name, (side, items)) in &owners {
        for (key, item) in ["a", "b"].into_iter().zip(items) {
            bed.wait_value(name, key, &value(&bed, side, *item, round)).await;
        }
        says(&bed, name, Says::SYNCED).await;
    }
    // The observer has seen the last version of each.
    let last = async || {
        for name in owners.keys() {
            let now = bed.secret(name).await.and_then(|s| s.metadata.resource_version);
            let seen =
                history.of(name).pop().and_then(|s| s.secret().metadata.resource_version.clone());
            if now != seen {
                return Err(format!("{name}: {seen:?} of {now:?}"));
            }
        }
        Ok(())
    };
    wait::until("the observer to have seen everything", wait::WAIT, last).await;
    let versions = check(&bed, &history, &owners);
    assert!(versions > 2 * REQUESTS, "only {versions} versions: nothing rotated under load");
    let from_cache = operator.audit.text().matches(r#""source":"Cache""#).count();
    assert!(from_cache >= 2, "{from_cache} Secrets were made of what is kept");
    operator.stop().await;
}
