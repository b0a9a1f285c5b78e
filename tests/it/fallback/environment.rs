//! Variables of the operator's environment: those that the server maps to fields, for what was granted, where there
//! is no Secret.

use portcullis::api::{Reason, Source};
use portcullis_test_support::{Bed, wait};
use serde_json::{Value, json};

use super::{FALLBACKS, begin_outage, operator_with, request, stand_in, wait_nothing, wait_source};

async fn map(bed: &Bed, entries: &[(&str, &str)]) {
    let entries: Vec<Value> =
        entries.iter().map(|(of, variable)| json!({"ref": of, "variable": variable})).collect();
    bed.patch_server(json!({"spec": {"fallback": {"environment": entries}}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_serves_the_field_that_the_server_maps_it_to_until_1password_answers() {
    let bed = Bed::new("fall-env").await;
    let value = stand_in(&bed, "orders-api");
    let operator = operator_with(&bed, &[("API_PASSWORD", &value)]).await;
    // By ids, while the request says names: it is the field that is mapped, not a spelling.
    let vault = bed.connect.vault_id("services").unwrap();
    let by_id = format!("op://{vault}/{}/Password", bed.item_id("orders-api"));
    map(&bed, &[(&by_id, "API_PASSWORD")]).await;
    begin_outage(&bed).await;
    request(&bed, "api", &[("k", "op://services/orders-api/password")], json!({})).await;
    wait_source(&bed, "api", Source::Environment).await;
    bed.wait_value("api", "k", &value).await;
    let writes = operator.audit.of("write", "api");
    assert_eq!(writes.last().unwrap()["secret"]["source"], "Environment");
    assert_eq!(operator.metric(FALLBACKS, &[("source", "Environment")]), 1.0);
    // Another field, another item, and all or nothing.
    request(&bed, "field", &[("k", "op://services/orders-api/username")], json!({})).await;
    wait_nothing(&bed, "field").await;
    let both =
        [("k", "op://services/orders-api/password"), ("u", "op://services/orders-api/username")];
    request(&bed, "both", &both, json!({})).await;
    wait_nothing(&bed, "both").await;
    // The Secret that is there is good, and stays.
    let secret = bed.secret("good").await;
    map(&bed, &[(&by_id, "API_PASSWORD"), ("op://services/orders-db/password", "API_PASSWORD")])
        .await;
    wait_source(&bed, "api", Source::Environment).await;
    assert_eq!(bed.secret("good").await, secret);

    bed.connect.restart().unwrap();
    wait_source(&bed, "api", Source::Connect).await;
    bed.wait_value("api", "k", &bed.value("orders-api", "password")).await;
    assert!(!operator.audit.text().contains(bed.canary()));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_empty_or_not_mapped_does_not_serve() {
    let bed = Bed::new("fall-unmapped").await;
    let value = stand_in(&bed, "orders-api");
    // What a tenant might guess, and what is mapped and empty.
    let names = ["password", "PASSWORD", "ORDERS_API_PASSWORD"].map(|name| (name, value.as_str()));
    let operator = operator_with(&bed, &[&names[..], &[("EMPTY", "")]].concat()).await;
    map(&bed, &[("op://services/orders-api/password", "EMPTY")]).await;
    begin_outage(&bed).await;
    request(&bed, "api", &[("password", "op://services/orders-api/password")], json!({})).await;
    wait_nothing(&bed, "api").await;
    assert_eq!(operator.metric(FALLBACKS, &[]), 0.0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_gives_nobody_what_was_not_granted() {
    let bed = Bed::new("fall-ungranted").await;
    let value = stand_in(&bed, "root");
    let operator = operator_with(&bed, &[("ROOT_PASSWORD", &value)]).await;
    map(&bed, &[("op://infra/root/password", "ROOT_PASSWORD")]).await;
    begin_outage(&bed).await;
    request(&bed, "root", &[("password", "op://infra/root/password")], json!({})).await;
    bed.wait_reason("root", Reason::VaultNotAllowed).await;
    wait::throughout("nothing is written", std::time::Duration::from_secs(1), async || {
        bed.secret("root").await.map_or(Ok(()), |_| Err("there is a Secret".to_owned()))
    })
    .await;
    assert_eq!(operator.metric(FALLBACKS, &[]), 0.0);
    operator.stop().await;
}
