//! What 1Password refuses, what policy denies, and one-time passwords: nothing stands in for them.

use portcullis::api::{CredentialRequest, Reason};
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, FieldSpec, ItemSpec};
use portcullis_test_support::{Bed, condition};
use serde_json::json;

use super::{
    FALLBACKS, ITEM_ROUTE, SPARE, begin_outage, from_spare, operator_with, request, spare, stand_in,
};

const API: &[(&str, &str)] = &[("password", "op://services/orders-api/password")];

/// Everything that could stand in for what the request `one` wants of an item.
async fn furnish(bed: &Bed, field: &str) {
    let entries = [json!({"ref": field, "variable": "SPARE"})];
    bed.patch_server(json!({"spec": {"fallback": {"environment": entries}}})).await;
    spare(bed, "Opaque", Some("one"), &[("password", &stand_in(bed, "secret"))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_no_outage_and_nothing_stands_in() {
    let bed = Bed::new("fall-refused").await;
    furnish(&bed, "op://services/orders-api/password").await;
    let operator = operator_with(&bed, &[("SPARE", &stand_in(&bed, "variable"))]).await;
    bed.request("good", |_| {}).await;
    bed.wait_ready("good").await;
    let answers =
        [(401, Reason::TokenRejected), (403, Reason::AccessDenied), (404, Reason::ItemNotFound)];
    for (code, reason) in answers {
        let kind = FaultKind::Status { code, message: "no".to_owned() };
        bed.connect.fault(FaultSpec::new(kind).on(ITEM_ROUTE));
        request(&bed, "one", API, from_spare()).await;
        // Until it is believed, and then.
        let says = |r: &CredentialRequest, type_| {
            condition(r, type_).is_some_and(|c| c.reason == reason.as_str())
        };
        bed.wait_request("one", "to be refused", |r| says(r, "Synced")).await;
        assert!(bed.secret("one").await.is_none());
        bed.wait_request("one", "to be stalled", |r| says(r, "Stalled")).await;
        assert!(bed.secret("one").await.is_none());
        bed.delete_request("one").await;
        bed.connect.clear_faults();
    }
    assert_eq!(operator.metric(FALLBACKS, &[]), 0.0);
    assert_eq!(bed.operator_calls_on_secret("get", SPARE).await, 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_denied_gets_nothing_from_any_link() {
    let bed = Bed::new("fall-denied").await;
    furnish(&bed, "op://services/orders-db/password").await;
    let rule = json!({"name": "no", "when": "request.name == 'one'", "effect": "Deny", "message": "not this one"});
    bed.policy("strict", json!({"rules": [rule]})).await;
    let operator = operator_with(&bed, &[("SPARE", &stand_in(&bed, "variable"))]).await;
    // Of an item that is kept, too.
    begin_outage(&bed).await;
    for data in [&[("password", "op://services/orders-db/password")], API] {
        request(&bed, "one", data, from_spare()).await;
        bed.wait_reason("one", Reason::Denied).await;
        assert!(bed.secret("one").await.is_none());
    }
    assert_eq!(operator.metric(FALLBACKS, &[]), 0.0);
    assert_eq!(bed.operator_calls_on_secret("get", SPARE).await, 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_password_is_refused_in_an_outage_as_well() {
    let bed = Bed::new("fall-otp").await;
    let otp = format!("otpauth://totp/x?secret={}", bed.canary());
    let code = FieldSpec {
        kind: Some("OTP".to_owned()),
        totp: Some("123456".to_owned()),
        ..FieldSpec::new("code", &otp)
    };
    let password = format!("{}-password", bed.canary());
    let item = ItemSpec::new("mfa").field("password", &password).with(code);
    bed.connect.add_item("services", item).unwrap();
    let operator = operator_with(&bed, &[]).await;
    let data = [("password", "op://services/mfa/code")];
    request(&bed, "code", &data, json!({})).await;
    bed.wait_reason("code", Reason::OneTimePassword).await;
    request(&bed, "password", &[("password", "op://services/mfa/password")], json!({})).await;
    bed.wait_ready("password").await;
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    // Out of the cache it is refused in the same words, and the rest of the item serves.
    request(&bed, "later", &data, json!({})).await;
    bed.wait_reason("later", Reason::OneTimePassword).await;
    request(&bed, "rest", &[("password", "op://services/mfa/password")], json!({})).await;
    bed.wait_reason("rest", Reason::ServedFromCache).await;
    assert!(bed.secret("code").await.is_none() && bed.secret("later").await.is_none());
    operator.stop().await;
}
