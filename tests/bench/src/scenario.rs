//! One operator with many requests: their first sync, a quiet time, changes, a repair, a restart.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use portcullis_test_support::Bed;
use portcullis_test_support::connect_dev::RequestCounts;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{Api, ListParams};
use serde_json::json;

use crate::figures::{Figures, percentile};
use crate::load::{Load, all_ready, until};
use crate::operator::Process;
use crate::secrets::Secrets;

pub(crate) const POLL: &str = "GET /v1/vaults";
pub(crate) const LIST: &str = "GET /v1/vaults/{v}/items";
pub(crate) const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

const WAIT: Duration = Duration::from_secs(60);
/// The vault of the requests that are measured one at a time.
const ALONE: &str = "alone";
/// How many of them.
const ROUNDS: usize = 50;
/// How many polls an idle operator is watched for: at a poll a second, some seconds.
const IDLE_POLLS: u64 = 10;
/// See [`settled`].
const SETTLED_POLLS: u64 = 36;
/// What the operator's memory should stay under, in MiB.
const MEMORY: f64 = 64.0;

/// Measures a load from its first request on.
pub(crate) async fn run(load: Load, figures: &mut Figures) -> anyhow::Result<()> {
    let bed = Bed::new("bench").await;
    load.fill(&bed)?;
    bed.connect.add_vault(ALONE)?;
    load.fill_item(&bed, ALONE, "item")?;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]))
        .await;
    let operator = Process::start(&bed).await?;
    figures.add("start_rss_mib", operator.memory_mib("VmRSS")?, "MiB");
    unloaded(&bed, load, figures).await?;
    let secrets = Secrets::watch(&bed);
    first_sync(&bed, load, &secrets, figures).await?;
    idle(&bed, load, figures).await?;
    figures.aim("rss_mib", operator.memory_mib("VmRSS")?, "MiB", MEMORY);
    change_one(&bed, load, &secrets, figures).await?;
    change_each_vault(&bed, load, &secrets, figures).await?;
    repair(&bed, &secrets, figures).await?;
    figures.add("rss_peak_mib", operator.memory_mib("VmHWM")?, "MiB");
    restart(&bed, load, operator, figures).await
}

/// Requests that come one at a time: from the answer to the apply to a Secret that can be read.
async fn unloaded(bed: &Bed, load: Load, figures: &mut Figures) -> anyhow::Result<()> {
    // The first one makes the operator list the vault; it is not an ordinary one.
    load.create(bed, "alone", ALONE, "item").await?;
    seen(bed, "alone").await;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let name = format!("alone-{round}");
        let started = Instant::now();
        load.create(bed, &name, ALONE, "item").await?;
        seen(bed, &name).await;
        times.push(started.elapsed());
    }
    times.sort();
    figures.add_ms("apply_to_secret_p50_ms", percentile(&times, 0.5));
    figures.add_ms("apply_to_secret_p99_ms", percentile(&times, 0.99));
    bed.delete_request("alone").await;
    for round in 0..ROUNDS {
        bed.delete_request(&format!("alone-{round}")).await;
    }
    Ok(())
}

/// Waits for a Secret, asking as fast as the API server answers.
async fn seen(bed: &Bed, name: &str) {
    let secrets: Api<Secret> = bed.secrets();
    let deadline = Instant::now() + WAIT;
    while !matches!(secrets.get_metadata_opt(name).await, Ok(Some(_))) {
        assert!(Instant::now() < deadline, "Secret {name} does not come");
    }
}

/// All requests, as fast as the API server takes them.
async fn first_sync(
    bed: &Bed,
    load: Load,
    secrets: &Secrets,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    bed.connect.reset_requests();
    let started = Instant::now();
    load.create_all(bed).await?;
    figures.add("apply_all_s", started.elapsed().as_secs_f64(), "s");
    let last = secrets
        .until("Secret of each request", load.patience(), |seen| {
            let of_load = || seen.iter().filter(|(name, _)| name.starts_with("request-"));
            (seen.len() >= load.requests && of_load().count() == load.requests)
                .then(|| of_load().map(|(_, seen)| seen.at).max())
                .flatten()
        })
        .await?;
    figures.add("all_secrets_s", last.duration_since(started).as_secs_f64(), "s");
    all_ready(bed, load.requests, load.patience()).await?;
    let asked = bed.connect.requests();
    let aim = (load.requests + load.vaults + 1) as u64;
    figures.count("first_sync_connect_requests", polls_once(&asked), "requests", aim);
    Ok(())
}

/// The calls to Connect, with all polls as one: how many there are depends on how long it took.
fn polls_once(asked: &RequestCounts) -> u64 {
    asked.api() - asked.route(POLL) + 1
}

/// What an operator does to Connect and to the API server while nothing changes.
async fn idle(bed: &Bed, load: Load, figures: &mut Figures) -> anyhow::Result<()> {
    let before = settled(bed, load).await?;
    bed.connect.reset_requests();
    more_polls(bed, IDLE_POLLS, WAIT).await?;
    let asked = bed.connect.requests();
    let written = writes(bed).await - before;
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let a_poll = asked.api() as f64 / asked.route(POLL) as f64;
    figures.aim("idle_poll_connect_requests", a_poll, "requests/poll", 1.0);
    figures.count("idle_api_writes", written as u64, "writes", 0);
    Ok(())
}

/// Waits until the operator has written what it had to write: a status follows its Secret, and Events are
/// written off the path. How often it has written by then. Longer than the counts of policies and the profiles of
/// namespaces take to follow, thirty seconds, at a poll a second.
async fn settled(bed: &Bed, load: Load) -> anyhow::Result<usize> {
    let mut written = writes(bed).await;
    until("end of the writes", load.patience(), async || {
        more_polls(bed, SETTLED_POLLS, WAIT).await?;
        let now = writes(bed).await;
        Ok(std::mem::replace(&mut written, now) == now)
    })
    .await?;
    Ok(written)
}

/// Waits for so many more polls.
pub(crate) async fn more_polls(bed: &Bed, more: u64, patience: Duration) -> anyhow::Result<()> {
    let before = bed.connect.requests().route(POLL);
    let is_more = async || Ok(bed.connect.requests().route(POLL) >= before + more);
    until(&format!("{more} polls"), patience, is_more).await
}

/// How often the operator has written anything, by the API server's audit log.
async fn writes(bed: &Bed) -> usize {
    let calls = bed.operator_calls().await;
    let is_write = |verb: &str| !matches!(verb, "get" | "list" | "watch");
    calls.iter().filter(|call| call["verb"].as_str().is_some_and(is_write)).count()
}

/// One item changes, and nothing else.
async fn change_one(
    bed: &Bed,
    load: Load,
    secrets: &Secrets,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let times = changed(bed, load, secrets, "once", 1).await?;
    figures.add_ms("change_to_secret_ms", percentile(&times, 1.0));
    Ok(())
}

/// An item in each vault changes.
async fn change_each_vault(
    bed: &Bed,
    load: Load,
    secrets: &Secrets,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    bed.connect.reset_requests();
    let times = changed(bed, load, secrets, "twice", load.vaults).await?;
    // Two, since one may have been under way.
    more_polls(bed, 2, WAIT).await?;
    figures.add_ms("change_to_secret_p50_ms", percentile(&times, 0.5));
    figures.add_ms("change_to_secret_p99_ms", percentile(&times, 0.99));
    let aim = 2 * load.vaults as u64 + 1;
    let asked = polls_once(&bed.connect.requests());
    figures.count("change_connect_requests", asked, "requests", aim);
    Ok(())
}

/// Changes the items of the first requests, each in a vault of its own, and waits for their Secrets; how long
/// each took, sorted.
async fn changed(
    bed: &Bed,
    load: Load,
    secrets: &Secrets,
    word: &str,
    count: usize,
) -> anyhow::Result<Vec<Duration>> {
    let value = format!("{}-{word}", bed.canary());
    let mut began = HashMap::new();
    for number in 0..count {
        began.insert(format!("request-{number}"), Instant::now());
        bed.connect.set_field(&load.vault(number), &format!("item-{number}"), "field-0", &value)?;
    }
    let mut times = secrets
        .until("changed Secrets", WAIT, |seen| {
            let time = |(name, began): (&String, &Instant)| {
                let secret = seen.get(name).filter(|seen| seen.has(&value))?;
                Some(secret.at.duration_since(*began))
            };
            began.iter().map(time).collect::<Option<Vec<_>>>()
        })
        .await?;
    times.sort();
    Ok(times)
}

/// Somebody edits a Secret.
async fn repair(bed: &Bed, secrets: &Secrets, figures: &mut Figures) -> anyhow::Result<()> {
    let good = format!("{}-twice", bed.canary());
    let edited = format!("{}-edited", bed.canary());
    let started = Instant::now();
    bed.patch_secret("request-0", json!({"stringData": {"key-0": edited}})).await;
    let repaired = secrets
        .until("repaired Secret", WAIT, |seen| {
            let secret = seen.get("request-0").filter(|seen| seen.has(&good))?;
            // Not what was there before the edit.
            (secret.at > started).then_some(secret.at)
        })
        .await?;
    figures.add_ms("repair_ms", repaired.duration_since(started));
    Ok(())
}

/// The operator ends and another one starts, with nothing changed.
async fn restart(
    bed: &Bed,
    load: Load,
    operator: Process,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    settled(bed, load).await?;
    let before = versions(bed).await?;
    operator.stop().await?;
    bed.connect.reset_requests();
    let operator = Process::start(bed).await?;
    until("list of each vault", load.patience(), async || {
        Ok(bed.connect.requests().route(LIST) >= load.vaults as u64)
    })
    .await?;
    // Long enough for what must not come.
    more_polls(bed, IDLE_POLLS, WAIT).await?;
    let changed = changed_versions(&before, &versions(bed).await?);
    let asked = bed.connect.requests();
    figures.count("restart_secret_writes", changed as u64, "writes", 0);
    figures.count("restart_item_fetches", asked.route(ITEM), "requests", 0);
    figures.count("restart_lists", asked.route(LIST), "requests", load.vaults as u64);
    figures.add("restart_rss_peak_mib", operator.memory_mib("VmHWM")?, "MiB");
    operator.stop().await
}

/// The resourceVersions of all requests and Secrets: every write moves one.
async fn versions(bed: &Bed) -> anyhow::Result<HashMap<String, String>> {
    let requests = bed.requests().list(&ListParams::default()).await?;
    let secrets = bed.secrets().list(&ListParams::default()).await?;
    let requests = requests.into_iter().map(|r| ("request", r.metadata));
    let secrets = secrets.into_iter().map(|s| ("secret", s.metadata));
    requests
        .chain(secrets)
        .map(|(kind, m)| {
            let name = m.name.context("an object without a name")?;
            let version = m.resource_version.context("an object without a version")?;
            Ok((format!("{kind}/{name}"), version))
        })
        .collect()
}

fn changed_versions(before: &HashMap<String, String>, after: &HashMap<String, String>) -> usize {
    after.iter().filter(|(name, version)| before.get(*name) != Some(version)).count()
}
