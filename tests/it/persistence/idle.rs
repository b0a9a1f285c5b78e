//! Where nothing changes nothing is written, but for the time of confirmation of what is kept.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use portcullis::settings::Settings;
use portcullis_test_support::{Bed, OperatorOptions, TestOperator, wait};
use serde_json::Value;

use super::{KeyFolder, epoch, keeping, wait_record};

/// What the operator has written by now, as `verb resource/subresource name`.
async fn writes(bed: &Bed) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let calls = bed.operator_calls().await;
    let mut writes: Vec<String> = calls
        .iter()
        .filter(|c| !["get", "list", "watch"].contains(&c["verb"].as_str().unwrap_or_default()))
        .map(|c| {
            let object = &c["objectRef"];
            let (resource, sub) = (text(&object["resource"]), text(&object["subresource"]));
            format!("{} {resource}/{sub} {}", text(&c["verb"]), text(&object["name"]))
        })
        .collect();
    writes.sort();
    writes
}

/// Waits until the operator has written nothing for a second; what it had until then.
async fn settled(bed: &Bed) -> Vec<String> {
    let last = RefCell::new((Vec::new(), Instant::now()));
    wait::until("the operator to have nothing to write", wait::WAIT, async || {
        let now = writes(bed).await;
        let mut last = last.borrow_mut();
        if now != last.0 {
            *last = (now, Instant::now());
        }
        let is_quiet = last.1.elapsed() > Duration::from_secs(1);
        is_quiet.then(|| last.0.clone()).ok_or_else(|| format!("{:?}", last.0))
    })
    .await
}

async fn with_a_secret(bed: &Bed, folder: &KeyFolder, confirmed: Duration) -> TestOperator {
    let settings = Settings { persist_confirmed: confirmed, ..Settings::for_tests() };
    let options = OperatorOptions { settings, cache_keys: folder.keys(), ..Default::default() };
    let operator = bed.operator_of(options).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    operator
}

async fn assert_silent(bed: &Bed) {
    let before = settled(bed).await;
    assert!(!before.is_empty(), "so what is written is seen");
    wait::throughout("silence", Duration::from_secs(3), async || {
        let now = writes(bed).await;
        if now == before { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_keeps_nothing_writes_nothing_while_nothing_changes() {
    let bed = Bed::new("idle-none").await;
    let folder = KeyFolder::new(&bed);
    // Were anything kept, it would be written each 500 ms.
    let operator = with_a_secret(&bed, &folder, Duration::from_millis(500)).await;
    assert_silent(&bed).await;
    assert!(writes(&bed).await.iter().all(|w| !w.contains("portcullis-cache-")));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_keeps_its_cache_writes_nothing_between_two_confirmations() {
    let bed = keeping("idle-keep").await;
    let folder = KeyFolder::new(&bed);
    let operator = with_a_secret(&bed, &folder, Duration::from_secs(600)).await;
    wait_record(&bed, "services", 0).await;
    assert_silent(&bed).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_costs_one_write_of_the_record_and_one_of_its_number() {
    let bed = keeping("idle-confirm").await;
    let folder = KeyFolder::new(&bed);
    let operator = with_a_secret(&bed, &folder, Duration::from_millis(1500)).await;
    let record = wait_record(&bed, "services", 0).await.metadata.name.unwrap();
    let first = epoch(&bed, "services").await;
    wait_record(&bed, "services", first + 2).await;
    operator.stop().await;
    let last = epoch(&bed, "services").await;
    let writes = writes(&bed).await;
    let count = |write: &str| writes.iter().filter(|w| *w == write).count() as i64;
    assert_eq!(count(&format!("create secrets/ {record}")), 1);
    // The stop may come between the record and its number.
    let patched = count(&format!("patch secrets/ {record}"));
    assert!((last - 1..=last).contains(&patched), "{patched} for {last}: {writes:?}");
    assert_eq!(count("patch credentialrequests/status orders"), 1, "{writes:?}");
}
