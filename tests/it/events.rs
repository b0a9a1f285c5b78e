//! Events say what happened, each under its own text.

use portcullis::api::Reason;
use portcullis_test_support::{Bed, wait};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_same_reason_with_another_text_does_not_stand_under_the_old_one() {
    let bed = Bed::new("event-note").await;
    let operator = bed.operator().await;
    let data = |item: &str| json!({"spec": {"data": [{"key": "password", "ref": format!("op://services/{item}/password")}]}});
    bed.request_data("orders", &[("password", "op://services/missing-a/password")]).await;
    bed.wait_reason("orders", Reason::ItemNotFound).await;
    bed.patch_request("orders", data("orders-db")).await;
    bed.wait_ready("orders").await;
    bed.patch_request("orders", data("missing-b")).await;
    bed.wait_reason("orders", Reason::ItemNotFound).await;
    bed.patch_request("orders", data("orders-db")).await;
    bed.wait_ready("orders").await;
    bed.patch_request("orders", data("missing-b")).await;
    bed.wait_reason("orders", Reason::ItemNotFound).await;
    let events =
        wait::until("an Event of each text, and one that counts", wait::WAIT, async || {
            let mut events = bed.events("orders").await;
            events.retain(|e| e.reason.as_deref() == Some("ItemNotFound"));
            let counted = events.iter().any(|e| e.series.as_ref().is_some_and(|s| s.count >= 2));
            if counted && events.len() >= 2 { Ok(events) } else { Err(format!("{events:?}")) }
        })
        .await;
    assert_eq!(events.len(), 2, "{events:?}");
    let notes: Vec<&str> = events.iter().map(|e| e.note.as_deref().unwrap()).collect();
    assert!(notes[0].contains("missing-a") && notes[1].contains("missing-b"), "{notes:?}");
    assert!(events[0].series.is_none() && events[1].series.is_some(), "{events:?}");
    operator.stop().await;
}
