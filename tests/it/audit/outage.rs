//! What happens when records cannot be written.

use portcullis::api::Reason;
use portcullis::audit::OnFailure;
use portcullis_test_support::{Bed, OperatorOptions, condition};

use super::{Folder, file_sink};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_grants_nothing_and_says_so_in_condition_and_metric() {
    let bed = Bed::new("audit-full").await;
    let options = OperatorOptions {
        audit: Some(file_sink("/dev/full".as_ref())),
        ..OperatorOptions::default()
    };
    let operator = bed.operator_of(options).await;
    bed.request("orders", |_| {}).await;
    let request = bed.wait_reason("orders", Reason::AuditFailed).await;
    let message = &condition(&request, "Ready").unwrap().message;
    assert!(
        message.contains("no storage space") && message.contains("mend the stream"),
        "{message}"
    );
    assert!(bed.secret("orders").await.is_none());
    assert!(operator.metric("portcullis_audit_failures_total", &[("step", "write")]) >= 1.0);
    assert!(operator.metric("portcullis_audit_failures_total", &[("step", "wait")]) >= 1.0);
    assert_eq!(operator.metric("portcullis_audit_unrecorded_total", &[]), 0.0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_nothing_up_where_the_operator_was_told_to_go_on() {
    let bed = Bed::new("audit-alert").await;
    let options = OperatorOptions {
        audit: Some(file_sink("/dev/full".as_ref())),
        on_audit_failure: OnFailure::Alert,
        ..OperatorOptions::default()
    };
    let operator = bed.operator_of(options).await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    // The decision, the intent and the change.
    assert!(operator.metric("portcullis_audit_unrecorded_total", &[]) >= 3.0);
    let secret = bed.secret("orders").await.unwrap();
    let annotations = secret.metadata.annotations.unwrap();
    assert!(!annotations.contains_key("portcullis.dev/audit-record"), "it names no intent");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_is_opened_once_it_can() {
    let (bed, folder) = (Bed::new("audit-mended").await, Folder::new());
    let path = folder.file("audit.log");
    std::fs::create_dir(&path).unwrap();
    let options = OperatorOptions { audit: Some(file_sink(&path)), ..OperatorOptions::default() };
    let operator = bed.operator_of(options).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", Reason::AuditFailed).await;
    std::fs::remove_dir(&path).unwrap();
    bed.wait_ready("orders").await;
    operator.stop().await;
    let (code, said) = super::verified(&bed, &[&path]).await;
    assert_eq!(code, 0, "{said}");
}
