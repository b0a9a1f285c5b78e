//! The list of one vault is more than is read of a list: nobody else notices.

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::ItemSpec;
use portcullis_test_support::{Bed, condition};
use serde_json::json;

use super::{DB, ITEM, LIST, Says, VAULTS, asked, fresh, says, server_says, set};

const ROOT: &str = "op://infra/root/password";

/// A vault that grows by a hundred items, to an operator of these settings.
async fn outgrown(name: &str, settings: Settings, says_so: &str) {
    let bed = Bed::new(name).await;
    let vaults = json!([{"name": "services"}, {"name": "infra"}]);
    let row = json!({"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": vaults});
    bed.set_access(json!([row])).await;
    let operator = bed.operator_with(settings).await;
    for (name, reference) in [("good", ROOT), ("other", DB)] {
        bed.request_data(name, &[("k", reference)]).await;
        says(&bed, name, Says::SYNCED).await;
    }
    let good = bed.secret("good").await;
    for n in 0..100 {
        bed.connect.add_item("infra", ItemSpec::new(&format!("filler-{n}"))).unwrap();
    }
    let rotated = fresh(&bed, "rotated");
    bed.connect.set_field("infra", "root", "password", &rotated).unwrap();
    let request = says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    let message = &condition(&request, "Synced").unwrap().message;
    let vault = bed.connect.vault_id("infra").unwrap();
    assert!(message.contains(says_so) && message.contains(&vault), "{message}");
    bed.request_data("new", &[("k", ROOT)]).await;
    says(&bed, "new", Says::CACHED).await;
    bed.request_data("unknown", &[("k", "op://infra/filler-7/password")]).await;
    says(&bed, "unknown", Says::waits(Reason::ConnectUnavailable)).await;
    // The other vault is followed, and the server is well.
    for n in 0..3 {
        let value = fresh(&bed, &format!("other-{n}"));
        set(&bed, "orders-db", &value);
        bed.wait_value("other", "k", &value).await;
        says(&bed, "other", Says::SYNCED).await;
        server_says(&bed, "Ready", "True Connected").await;
    }
    let history = bed.get_request("other").await.status.unwrap().history;
    assert!(history.iter().all(|h| h.reason == Reason::Synced.as_str()), "{history:?}");
    // The long list is asked for once a poll, and once.
    bed.connect.reset_requests();
    asked(&bed, VAULTS, 4).await;
    let counts = bed.connect.requests();
    assert!(counts.route(LIST) <= counts.route(VAULTS) + 1, "{:?}", counts.by_route);
    assert_eq!(counts.route(ITEM), 0, "{:?}", counts.by_route);
    assert_eq!(bed.secret("good").await, good);
    assert_eq!(operator.metric("portcullis_connect_breaker_open", &[]), 0.0);
    for n in 0..100 {
        bed.connect.delete_item("infra", &format!("filler-{n}")).unwrap();
    }
    for name in ["good", "new"] {
        bed.wait_value(name, "k", &rotated).await;
        says(&bed, name, Says::SYNCED).await;
    }
    says(&bed, "unknown", Says::stalled(Reason::ItemNotFound)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_too_many_bytes_hurts_its_vault_alone_and_says_so() {
    let settings = Settings { list_body_limit: 8 << 10, ..Settings::for_tests() };
    outgrown("fl-bytes", settings, "larger than 8192 bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_too_many_entries_hurts_its_vault_alone_and_says_so() {
    let settings = Settings { list_entries: 50, ..Settings::for_tests() };
    outgrown("fl-entries", settings, "more than 50 entries").await;
}
