//! An outage that lasts longer than a Secret or a kept value counts as good.

use portcullis::api::{Reason, Source};
use portcullis_test_support::Bed;
use serde_json::json;

use super::{API, DB, Says, VAULTS, asked, is_quiet, says};

/// `good` has a Secret from before the outage, `cached` from within it; `new` is late.
async fn too_long(bed: &Bed) {
    let operator = bed.operator().await;
    let own = bed.get_server().await.spec.fallback.is_none().then_some("8s");
    let ask = async |name: &str, reference: &str| {
        let mut spec = json!({"purpose": "a test", "data": [{"key": "k", "ref": reference}]});
        if let Some(own) = own {
            spec["fallback"] = json!({"maxStaleness": own});
        }
        bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
    };
    ask("good", DB).await;
    ask("other", API).await;
    says(bed, "good", Says::SYNCED).await;
    says(bed, "other", Says::SYNCED).await;
    let good = bed.secret("good").await;
    // One poll confirms both.
    bed.connect.reset_requests();
    asked(bed, VAULTS, 2).await;
    bed.connect.stop();
    says(bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    ask("cached", DB).await;
    says(bed, "cached", Says::CACHED).await;
    let cached = bed.secret("cached").await;
    says(bed, "good", Says::too_old(Source::Connect)).await;
    says(bed, "cached", Says::too_old(Source::Cache)).await;
    // What is kept is as old.
    ask("new", API).await;
    says(bed, "new", Says::waits(Reason::ConnectUnavailable)).await;
    is_quiet(bed, &operator, &["good", "cached", "new"]).await;
    assert_eq!(bed.secret("good").await, good);
    assert_eq!(bed.secret("cached").await, cached);
    assert!(bed.secret("new").await.is_none());
    bed.connect.restart().unwrap();
    for name in ["good", "cached", "new"] {
        says(bed, name, Says::SYNCED).await;
    }
    assert_eq!(bed.secret("good").await, good);
    assert_eq!(bed.secret("cached").await, cached);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_servers_limit_nothing_is_ready_and_every_secret_stays() {
    let bed = Bed::new("ft-server").await;
    bed.patch_server(json!({"spec": {"fallback": {"maxStaleness": "8s"}}})).await;
    too_long(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_requests_limit_it_is_not_ready_and_its_secret_stays() {
    let bed = Bed::new("ft-request").await;
    too_long(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_counts_by_its_own_limit() {
    let bed = Bed::new("ft-each").await;
    let operator = bed.operator().await;
    for (name, limit) in [("short", "3s"), ("none", "0s"), ("long", "1h")] {
        let fallback = serde_json::from_value(json!({"maxStaleness": limit})).unwrap();
        bed.request(name, |spec| spec.fallback = Some(fallback)).await;
        says(&bed, name, Says::SYNCED).await;
    }
    bed.connect.stop();
    says(&bed, "long", Says::kept(Reason::ConnectUnavailable)).await;
    let off = serde_json::from_value(json!({"maxStaleness": "0s"})).unwrap();
    bed.request("off", |spec| spec.fallback = Some(off)).await;
    says(&bed, "off", Says::waits(Reason::ConnectUnavailable)).await;
    let none = bed.wait_reason("none", Reason::ConnectUnavailable).await;
    assert_eq!(portcullis_test_support::condition(&none, "Ready").unwrap().status, "False");
    says(&bed, "short", Says::too_old(Source::Connect)).await;
    says(&bed, "long", Says::kept(Reason::ConnectUnavailable)).await;
    for name in ["short", "none", "long"] {
        bed.wait_value(name, "password", &bed.value("orders-db", "password")).await;
    }
    bed.connect.restart().unwrap();
    for name in ["short", "none", "long", "off"] {
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}
