//! What is fetched for many requests of one item, and on a day on which nothing changes.
//!
//! The day is simulated: the operator is the real one, in a process of its own, and all of its time that
//! recurs or runs out passes [`FASTER`] times faster: the time between polls, the times of the classes, the
//! hourly list, the health look, and how long a value may serve unconfirmed. So 30 seconds between polls are
//! 10 milliseconds, and 15 minutes that a value is current are 300. The day is over when Connect has been polled
//! as often as on a real one. Then every Secret of one class after the other is edited by hand: the operator
//! needs its value, and what a day of polls did not keep current it has to fetch.

use std::time::Duration;

use portcullis_test_support::Bed;
use serde_json::json;

use crate::figures::Figures;
use crate::load::{Load, all_ready, at_once};
use crate::operator::Process;
use crate::scenario::{ITEM, LIST, POLL, more_polls};
use crate::secrets::Secrets;

/// How many requests want the same item.
const SHARED: usize = 200;
/// How much faster time passes.
const FASTER: u32 = 3000;
/// The polls of a day: one each 30 seconds.
const DAY: u64 = 2880;
/// The classes of values as the operator has them, and how long a value is current, in milliseconds.
const CLASSES: [(&str, u32); 3] =
    [("infrastructure", 3_600_000), ("services", 1_800_000), ("integrations", 900_000)];
/// How many requests each class has on the day.
const OF_CLASS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let bed = Bed::new("bench-day").await;
    bed.patch_server(json!({"spec": {
        "access": [{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}],
        "pollInterval": null,
    }}))
    .await;
    shared(&bed, figures).await?;
    idle_day(&bed, figures).await
}

/// Hundreds of requests for one item, all at once.
async fn shared(bed: &Bed, figures: &mut Figures) -> anyhow::Result<()> {
    let load = Load::new(SHARED, 1, 2);
    bed.connect.add_vault("shared")?;
    load.fill_item(bed, "shared", "item")?;
    let operator = Process::start(bed).await?;
    bed.connect.reset_requests();
    let all = (0..SHARED).map(|number| async move {
        load.create(bed, &format!("shared-{number}"), "shared", "item").await
    });
    at_once(all).await?;
    all_ready(bed, SHARED, PATIENCE).await?;
    figures.count("shared_item_fetches", bed.connect.requests().route(ITEM), "requests", 1);
    operator.stop().await
}

async fn idle_day(bed: &Bed, figures: &mut Figures) -> anyhow::Result<()> {
    let milliseconds = |of_a_real_day: u32| format!("{}ms", of_a_real_day / FASTER);
    let classes: Vec<_> = CLASSES
        .iter()
        .map(|&(name, ttl)| json!({"name": name, "ttl": milliseconds(ttl)}))
        .collect();
    let vaults: Vec<_> =
        CLASSES.iter().map(|(class, _)| json!({"name": vault_of(class), "class": class})).collect();
    bed.patch_server(json!({"spec": {"classes": classes, "vaults": vaults}})).await;
    let load = Load::new(OF_CLASS, 1, 2);
    for (class, _) in CLASSES {
        let vault = vault_of(class);
        bed.connect.add_vault(&vault)?;
        for number in 0..OF_CLASS {
            load.fill_item(bed, &vault, &format!("{class}-{number}"))?;
        }
    }
    let secrets = Secrets::watch(bed);
    let operator = Process::start_faster(bed, FASTER).await?;
    for (class, _) in CLASSES {
        let all = (0..OF_CLASS).map(|number| async move {
            let name = format!("{class}-{number}");
            load.create(bed, &name, &vault_of(class), &name).await
        });
        at_once(all).await?;
    }
    let count = SHARED + CLASSES.len() * OF_CLASS;
    all_ready(bed, count, PATIENCE).await?;

    bed.connect.reset_requests();
    more_polls(bed, DAY, PATIENCE).await?;
    let asked = bed.connect.requests();
    figures.count("idle_day_item_fetches", asked.route(ITEM), "requests", 0);
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    {
        figures.add("idle_day_polls", asked.route(POLL) as f64, "requests");
        figures.add("idle_day_lists", asked.route(LIST) as f64, "requests");
    }
    repair_all(bed, &secrets).await?;
    let fetched = bed.connect.requests().route(ITEM);
    figures.count("idle_day_repair_item_fetches", fetched, "requests", 0);
    operator.stop().await
}

/// The vault of the values of a class.
fn vault_of(class: &str) -> String {
    format!("day-{class}")
}

/// Edits the day's Secrets, and waits until each is what it was.
async fn repair_all(bed: &Bed, secrets: &Secrets) -> anyhow::Result<()> {
    let names: Vec<String> = CLASSES
        .iter()
        .flat_map(|(class, _)| (0..OF_CLASS).map(move |number| format!("{class}-{number}")))
        .collect();
    let began = std::time::Instant::now();
    for name in &names {
        let edited = format!("{}-edited", bed.canary());
        bed.patch_secret(name, json!({"stringData": {"key-0": edited}})).await;
    }
    secrets
        .until("repaired Secrets", PATIENCE, |seen| {
            let is_repaired = |name: &String| {
                let good = format!("{}-{name}-0", bed.canary());
                seen.get(name).is_some_and(|seen| seen.has(&good) && seen.at > began)
            };
            names.iter().all(is_repaired).then_some(())
        })
        .await
}
