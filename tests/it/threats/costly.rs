//! Threat 15: a vault outgrows what may be read of it.

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::{Bed, condition};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_whose_list_outgrows_the_limit_stops_its_own_requests_alone() {
    let bed = Bed::new("costly-list").await;
    bed.set_access(json!([{"name": "all", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]))
        .await;
    bed.connect.add_vault("growing").unwrap();
    let add = |title: &str| {
        let value = format!("{}-{title}", bed.canary());
        let item = ItemSpec::new(title).field("password", &value);
        bed.connect.add_item("growing", item).unwrap();
        value
    };
    let first = add("first");
    let settings = Settings { list_body_limit: 32 << 10, ..Settings::for_tests() };
    let operator = bed.operator_with(settings).await;
    bed.request_data("standing", &[("password", "op://growing/first/password")]).await;
    bed.request("neighbour", |_| {}).await;
    bed.wait_value("standing", "password", &first).await;
    bed.wait_ready("neighbour").await;
    let secret = bed.secret("standing").await;

    let titles: Vec<String> = (0..200).map(|n| format!("{n:0>120}")).collect();
    for title in &titles {
        add(title);
    }
    let standing = bed.wait_reason("standing", Reason::InvalidResponse).await;
    let ready = condition(&standing, "Ready").unwrap();
    assert_eq!(ready.status, "True", "{}", ready.message);
    assert!(ready.message.contains("larger than 32768 bytes"), "{}", ready.message);
    assert_eq!(bed.secret("standing").await, secret);
    bed.request_data("new", &[("password", &format!("op://growing/{}/password", titles[0]))]).await;
    let new = bed.wait_reason("new", Reason::InvalidResponse).await;
    assert_eq!(condition(&new, "Ready").unwrap().status, "False");
    // The server answers, and so it does everybody else.
    bed.wait_server_reason("Ready", Reason::Connected).await;
    let rotated = format!("{}-rotated", bed.canary());
    bed.connect.set_field("services", "orders-db", "password", &rotated).unwrap();
    bed.wait_value("neighbour", "password", &rotated).await;

    for title in &titles[1..] {
        bed.connect.delete_item("growing", title).unwrap();
    }
    bed.wait_reason("standing", Reason::Synced).await;
    bed.wait_reason("new", Reason::Synced).await;
    assert_eq!(bed.secret("standing").await, secret);
    operator.stop().await;
}
