//! The fault matrix: 1Password Connect fails in each way that it can, and what it holds changes in each way that it
//! can. Each row says what the Secrets hold, what status says, how often Connect is asked meanwhile, and how it heals.

mod changes;
mod crowd;
mod hosts;
mod items;
mod lags;
mod lists;
mod presence;
mod refusals;
mod repeated;
mod servers;
mod staleness;
mod tokens;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portcullis::api::{CredentialRequest, Reason, Source};
use portcullis_test_support::connect_dev::FaultKind;
use portcullis_test_support::kube::ResourceExt as _;
use portcullis_test_support::{Bed, TestOperator, condition, wait};

const VAULTS: &str = "GET /v1/vaults";
const VAULT: &str = "GET /v1/vaults/{v}";
const LIST: &str = "GET /v1/vaults/{v}/items";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

const DB: &str = "op://services/orders-db/password";
const API: &str = "op://services/orders-api/password";

fn status(code: u16) -> FaultKind {
    FaultKind::Status { code, message: "an upstream body".to_owned() }
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug)]
struct Says {
    /// Conditions as `type=status`, without Authorized, in alphabetical order; each has the reason.
    conditions: &'static [&'static str],
    reason: Reason,
    /// What its Secret was made of, if it has one.
    source: Option<Source>,
    is_stale: bool,
}

impl Says {
    /// The Secret holds what 1Password holds.
    const SYNCED: Self = Self {
        conditions: &["Ready=True", "Synced=True"],
        reason: Reason::Synced,
        source: Some(Source::Connect),
        is_stale: false,
    };

    /// The Secret was made of what is kept, since 1Password cannot be asked.
    const CACHED: Self = Self {
        conditions: &["Ready=True", "Synced=False"],
        reason: Reason::ServedFromCache,
        source: Some(Source::Cache),
        is_stale: true,
    };

    /// The Secret stays as it is and is good for now.
    const fn kept(reason: Reason) -> Self {
        Self {
            reason,
            is_stale: true,
            ..Self { conditions: Self::CACHED.conditions, ..Self::SYNCED }
        }
    }

    /// There is no Secret, and there will be one without anybody's doing.
    const fn waits(reason: Reason) -> Self {
        let conditions = &["Ready=False", "Reconciling=True", "Synced=False"];
        Self { conditions, reason, source: None, is_stale: false }
    }

    /// The Secret stays, and is too old to count as good.
    const fn too_old(source: Source) -> Self {
        Self { source: Some(source), is_stale: true, ..Self::waits(Reason::ConnectUnavailable) }
    }

    /// There is no Secret, and somebody has to change something.
    const fn stalled(reason: Reason) -> Self {
        let conditions = &["Ready=False", "Stalled=True", "Synced=False"];
        Self { conditions, reason, source: None, is_stale: false }
    }

    /// The same, with the Secret as it was.
    const fn stalled_with_secret(reason: Reason) -> Self {
        Self { source: Some(Source::Connect), ..Self::stalled(reason) }
    }

    fn is_of(&self, request: &CredentialRequest) -> bool {
        let Some(status) = &request.status else { return false };
        let others = || status.conditions.iter().filter(|c| c.type_ != "Authorized");
        let mut found: Vec<String> =
            others().map(|c| format!("{}={}", c.type_, c.status)).collect();
        found.sort();
        let sync = status.sync.as_ref();
        found == self.conditions
            && others().all(|c| c.reason == self.reason.as_str())
            && sync.map(|s| s.source) == self.source
            && sync.is_some_and(|s| s.stale_since.is_some()) == self.is_stale
    }
}

/// Waits until a request says something. Its messages are the operator's own.
async fn says(bed: &Bed, name: &str, expected: Says) -> CredentialRequest {
    let request =
        bed.wait_request(name, &format!("to say {expected:?}"), |r| expected.is_of(r)).await;
    for condition in &request.status.as_ref().unwrap().conditions {
        assert!(!condition.message.contains("upstream"), "{}", condition.message);
        assert!(!condition.message.contains(bed.canary()), "{}", condition.message);
    }
    request
}

/// The path of an item of the tenant's vault.
fn path_of(bed: &Bed, item: &str) -> String {
    let vault = bed.connect.vault_id("services").unwrap();
    format!("/v1/vaults/{vault}/items/{}", bed.item_id(item))
}

/// A value that the bed's canary tells from all others.
fn fresh(bed: &Bed, what: &str) -> String {
    format!("{}-{what}", bed.canary())
}

fn set(bed: &Bed, item: &str, value: &str) {
    bed.connect.set_field("services", item, "password", value).unwrap();
}

/// Waits until Connect was asked for a route so many times more than at the last reset.
async fn asked(bed: &Bed, route: &str, times: u64) {
    wait::until(&format!("{times} times {route}"), wait::WAIT, async || {
        let asked = bed.connect.requests().route(route);
        if asked >= times { Ok(()) } else { Err(format!("{asked} times")) }
    })
    .await;
}

/// How many answers, or silences, of Connect the operator has seen.
fn calls(operator: &TestOperator, operation: &str) -> f64 {
    operator.metric("portcullis_connect_requests_total", &[("operation", operation)])
}

/// How many values are kept of items.
fn kept_values(operator: &TestOperator) -> f64 {
    operator.metric("portcullis_cache_entries", &[])
}

async fn wait_kept_values(operator: &TestOperator, expected: f64) {
    wait::until(&format!("{expected} values in the cache"), wait::WAIT, async || {
        let kept = kept_values(operator);
        if kept == expected { Ok(()) } else { Err(format!("{kept}")) }
    })
    .await;
}

/// The resourceVersions of requests and of their Secrets.
async fn versions(bed: &Bed, names: &[&str]) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    for &name in names {
        all.insert(format!("request {name}"), bed.get_request(name).await.resource_version());
        let secret = bed.secret(name).await.and_then(|s| s.resource_version());
        all.insert(format!("Secret {name}"), secret);
    }
    all
}

/// Looks on while polls fail: nothing but them is asked, they are spaced, and nothing is written.
async fn is_quiet(bed: &Bed, operator: &TestOperator, names: &[&str]) {
    let before = versions(bed, names).await;
    bed.connect.reset_requests();
    // A host that is left alone is asked by heartbeats alone whether it is there again.
    let looks = || calls(operator, "vaults") + calls(operator, "heartbeat");
    let (began, before_looks) = (Instant::now(), looks());
    let since = async || {
        let more = looks() - before_looks;
        if more >= 4.0 { Ok(more) } else { Err(format!("{more} more")) }
    };
    let more = wait::until("four more polls or heartbeats", wait::WAIT, since).await;
    // A call asks three times at most. Pauses double from 67 ms up to the interval, a second.
    let most = 3.0 * (6.0 + began.elapsed().as_secs_f64());
    assert!(more <= most, "{more} polls and heartbeats in {:?}", began.elapsed());
    let asked = bed.connect.requests();
    assert_eq!((asked.route(ITEM), asked.route(LIST)), (0, 0), "{:?}", asked.by_route);
    assert_eq!(versions(bed, names).await, before, "something was written");
}

/// The most calls of so many requests that fail and try again over and over: each asks three times, and the pauses
/// between two tries double from a thirtieth of a second on.
fn most_calls(requests: u32, time: Duration) -> u64 {
    let tries = (time.as_secs_f64() * 30.0).max(1.0).log2().ceil() as u64 + 3;
    3 * u64::from(requests) * tries
}

/// A condition of the bed's ConnectServer as `status reason`.
async fn server_says(bed: &Bed, type_: &str, expected: &str) {
    wait::until(
        &format!("{type_} of the ConnectServer to be {expected}"),
        wait::WAIT,
        async || {
            let status = bed.get_server().await.status.unwrap_or_default();
            let found = status.conditions.iter().find(|c| c.type_ == type_);
            let found = found.map(|c| format!("{} {}", c.status, c.reason)).unwrap_or_default();
            if found == expected { Ok(()) } else { Err(found) }
        },
    )
    .await;
}

fn decided(request: &CredentialRequest) -> bool {
    request.status.as_ref().is_some_and(|s| s.decision.is_some())
        || condition(request, "Authorized").is_some_and(|c| c.status != "Unknown")
}
