//! The fallback Secret, which no request reads without its owner's word (threat 9): only one of the right type, with
//! all keys, and where there is no Secret.

use portcullis::api::{Reason, Source};
use portcullis_test_support::{Bed, wait};
use serde_json::{Value, json};

use super::{
    FALLBACKS, SPARE, begin_outage, from_spare, operator_with, request, spare, stand_in,
    wait_event, wait_nothing, wait_source,
};

const API: &[(&str, &str)] = &[("password", "op://services/orders-api/password")];

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_whose_owner_allows_it_serves_until_1password_answers() {
    let bed = Bed::new("fall-secret").await;
    let operator = operator_with(&bed, &[]).await;
    let value = stand_in(&bed, "orders-api");
    spare(&bed, "Opaque", Some("api"), &[("password", &value), ("unused", "x")]).await;
    begin_outage(&bed).await;
    let before = bed.secret(SPARE).await;
    request(&bed, "api", API, from_spare()).await;
    let served = wait_source(&bed, "api", Source::FallbackSecret).await;
    bed.wait_value("api", "password", &value).await;
    let keys = bed.secret_values("api").await;
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["password"], "no more than was asked for");
    let history = served.status.unwrap().history;
    assert_eq!(history.last().unwrap().source, Some(Source::FallbackSecret));
    let writes = operator.audit.of("write", "api");
    assert_eq!(writes.last().unwrap()["secret"]["source"], "FallbackSecret");
    assert_eq!(operator.metric(FALLBACKS, &[("source", "FallbackSecret")]), 1.0);
    let type_ = wait_event(&bed, "api", Reason::ServedFromFallbackSecret, "fallback Secret").await;
    assert_eq!(type_, "Warning");

    bed.connect.restart().unwrap();
    wait_source(&bed, "api", Source::Connect).await;
    bed.wait_value("api", "password", &bed.value("orders-api", "password")).await;
    let writes = operator.audit.of("write", "api");
    assert_eq!(writes.last().unwrap()["secret"]["source"], "Connect");
    assert_eq!(wait_event(&bed, "api", Reason::Synced, "updated").await, "Normal");
    assert_eq!(operator.metric(FALLBACKS, &[]), 1.0);
    assert_eq!(bed.secret(SPARE).await, before);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_whose_owner_does_not_allow_it_is_never_read_until_the_printed_command_allows_it()
{
    for (name, allows) in [("fall-silent", None), ("fall-other", Some("another"))] {
        let bed = Bed::new(name).await;
        let operator = operator_with(&bed, &[]).await;
        let value = stand_in(&bed, "orders-api");
        spare(&bed, "Opaque", allows, &[("password", &value)]).await;
        begin_outage(&bed).await;
        request(&bed, "api", API, from_spare()).await;
        let message = wait_nothing(&bed, "api").await;
        assert!(message.contains("does not allow this request"), "{message}");
        assert_eq!(bed.operator_calls_on_secret("get", SPARE).await, 0);
        bed.do_as_told(&message, "").await;
        wait_source(&bed, "api", Source::FallbackSecret).await;
        bed.wait_value("api", "password", &value).await;
        wait::until("the log of the read", wait::WAIT, async || {
            let reads = bed.operator_calls_on_secret("get", SPARE).await;
            if reads > 0 {
                Ok(())
            } else {
                Err("none, so that the count above counts nothing".to_owned())
            }
        })
        .await;
        operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_type_does_not_serve() {
    let bed = Bed::new("fall-type").await;
    let operator = operator_with(&bed, &[]).await;
    let value = stand_in(&bed, "orders-api");
    let values = [("username", "x"), ("password", value.as_str())];
    spare(&bed, "kubernetes.io/basic-auth", Some("api"), &values).await;
    begin_outage(&bed).await;
    request(&bed, "api", API, from_spare()).await;
    let message = wait_nothing(&bed, "api").await;
    assert!(message.contains(SPARE) && message.contains("not of type Opaque"), "{message}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_lacks_a_key_serves_nothing_and_the_key_is_named() {
    let bed = Bed::new("fall-key").await;
    let operator = operator_with(&bed, &[]).await;
    let value = stand_in(&bed, "orders-api");
    spare(&bed, "Opaque", Some("api"), &[("password", &value)]).await;
    begin_outage(&bed).await;
    let data = [API[0], ("login", "op://services/orders-api/username")];
    request(&bed, "api", &data, from_spare()).await;
    let message = wait_nothing(&bed, "api").await;
    assert!(message.contains("has no key login"), "{message}");
    // What the cache has is not asked of the Secret.
    let data = [API[0], ("login", "op://services/orders-db/username")];
    request(&bed, "api", &data, from_spare()).await;
    wait_source(&bed, "api", Source::FallbackSecret).await;
    let values = bed.secret_values("api").await;
    assert_eq!(
        (&values["password"], &values["login"]),
        (&value, &bed.value("orders-db", "username"))
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_namespace_cannot_be_named_the_token_among_them() {
    let bed = Bed::new("fall-token").await;
    let operator = operator_with(&bed, &[]).await;
    // As if its owner had allowed it.
    bed.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "connect-spare", "namespace": bed.operator_namespace,
                     "annotations": {"portcullis.dev/allow-request": "api"}},
        "stringData": {"password": bed.token},
    }))
    .await;
    begin_outage(&bed).await;
    for name in ["connect-spare", "connect-token", "portcullis-keys"] {
        request(&bed, "api", API, json!({"secretRef": {"name": name}})).await;
        let is = |r: &portcullis::api::CredentialRequest| {
            let said = format!("{}/{name} is not there", bed.namespace);
            portcullis_test_support::condition(r, "Synced")
                .is_some_and(|c| c.message.contains(&said))
        };
        bed.wait_request("api", "to name the Secret", is).await;
        assert!(bed.secret("api").await.is_none());
    }
    assert_eq!(bed.operator_calls_on_secret("get", "connect-spare").await, 0);
    let elsewhere =
        json!({"secretRef": {"name": "connect-token", "namespace": bed.operator_namespace}});
    let spec = json!({"purpose": "a test", "fallback": elsewhere,
                      "data": [{"key": "password", "ref": "op://services/orders-api/password"}]});
    let refused: Value = json!({"metadata": {"name": "api"}, "spec": spec});
    assert!(bed.apply_request(refused).await.is_err(), "there is no way to name a namespace");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_a_secret_it_stays_and_the_fallback_is_not_even_looked_at() {
    let bed = Bed::new("fall-stays").await;
    // Nothing is kept, so that nothing but the Secret itself can serve.
    let classes = json!([{"name": "none", "cache": "Never"}]);
    bed.patch_server(json!({"spec": {"classes": classes, "defaultClass": "none"}})).await;
    let operator = operator_with(&bed, &[]).await;
    spare(&bed, "Opaque", Some("api"), &[("password", &stand_in(&bed, "orders-api"))]).await;
    request(&bed, "api", API, from_spare()).await;
    bed.wait_ready("api").await;
    let secret = bed.secret("api").await;
    begin_outage(&bed).await;
    bed.wait_reason("api", Reason::ConnectUnavailable).await;
    // A new spec, for which the Secret is not good any more, is no reason either.
    let data = [API[0], ("login", "op://services/orders-api/username")];
    request(&bed, "api", &data, from_spare()).await;
    let not_ready = |r: &portcullis::api::CredentialRequest| {
        portcullis_test_support::condition(r, "Ready").is_some_and(|c| c.status == "False")
    };
    bed.wait_request("api", "not to be ready", not_ready).await;
    assert_eq!(bed.secret("api").await, secret);
    let looked = bed.operator_calls().await;
    let looked = looked.iter().filter(|c| c["objectRef"]["name"] == SPARE).count();
    assert_eq!(looked, 0);
    // Once it is gone, the fallback is what is left.
    request(&bed, "api", API, from_spare()).await;
    bed.delete_secret("api").await;
    wait_source(&bed, "api", Source::FallbackSecret).await;
    operator.stop().await;
}
