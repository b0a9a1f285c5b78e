//! The head of the stream outside of the log.

use portcullis::audit::checkpoint::{CHECKPOINT, Checkpoint};
use portcullis_test_support::k8s_openapi::api::core::v1::ConfigMap;
use portcullis_test_support::kube::Api;
use portcullis_test_support::{Bed, OperatorOptions, wait};
use serde_json::Value;

use super::{Folder, file_sink, verified};

async fn streams(bed: &Bed) -> Vec<Checkpoint> {
    let api: Api<ConfigMap> = Api::namespaced(bed.client.clone(), &bed.operator_namespace);
    let found = api.get_opt(CHECKPOINT).await.unwrap();
    let data = found.and_then(|c| c.data).unwrap_or_default();
    data.values().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_follows_the_stream_and_a_log_cut_at_its_end_is_found_out() {
    let (bed, folder) = (Bed::new("audit-head").await, Folder::new());
    let path = folder.file("audit.log");
    let options =
        || OperatorOptions { audit: Some(file_sink(&path)), ..OperatorOptions::default() };
    let operator = bed.operator_of(options()).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let last =
        |text: &str| -> Value { serde_json::from_str(text.lines().last().unwrap()).unwrap() };
    wait::until("the checkpoint to reach the last record", wait::WAIT, async || {
        let last = last(&std::fs::read_to_string(&path).unwrap());
        let heads = streams(&bed).await;
        let reached = heads.iter().any(|c| c.head.mac == last["mac"].as_str().unwrap() && !c.ended);
        if reached { Ok(()) } else { Err(format!("{heads:?}")) }
    })
    .await;
    operator.stop().await;
    assert!(streams(&bed).await.iter().all(|c| c.ended), "a stop in order says so");

    let operator = bed.operator_of(options()).await;
    bed.request("second", |_| {}).await;
    bed.wait_ready("second").await;
    operator.stop().await;
    assert_eq!(streams(&bed).await.len(), 2);
    let (code, said) = verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("note:"), "{said}");

    let all = std::fs::read_to_string(&path).unwrap();
    let cut: Vec<&str> = all.lines().collect();
    let cut = folder.write("cut.log", cut[..cut.len() - 1].join("\n") + "\n");
    let (code, said) = verified(&bed, &[&cut]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("missing tail:") && said.contains("the checkpoint has record"), "{said}");
    let edited = folder.write("edited.log", all.replacen("\"riskScore\":0", "\"riskScore\":1", 1));
    let (code, said) = verified(&bed, &[&edited]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("edited.log:1: record"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_that_write_the_checkpoint_at_once_lose_nothing_of_each_other() {
    let bed = Bed::new("audit-cas").await;
    // Of one class and namespace: what one does the other finds done.
    let operators = [bed.operator().await, bed.operator().await];
    for n in 0..6 {
        bed.request(&format!("orders-{n}"), |_| {}).await;
    }
    for n in 0..6 {
        bed.wait_ready(&format!("orders-{n}")).await;
    }
    let lasts: Vec<Option<String>> = operators
        .iter()
        .map(|o| {
            Some(
                serde_json::from_str::<Value>(o.audit.text().lines().last()?).ok()?["stream"]
                    .as_str()?
                    .to_owned(),
            )
        })
        .collect();
    for operator in operators {
        operator.stop().await;
    }
    let heads = streams(&bed).await;
    for stream in lasts.into_iter().flatten() {
        assert!(heads.iter().any(|c| c.head.stream == stream && c.ended), "{stream}: {heads:?}");
    }
}
