//! A name that several vaults have means none of them, also where nobody can be asked and all that is known of one
//! of them is its name.

use portcullis::api::Reason;
use portcullis_test_support::condition;
use serde_json::json;

use super::{KeyFolder, keeping, wait_persisted, wait_record, wait_served};

const BY_NAME: &str = "op://services/orders-db/password";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_two_vaults_is_ambiguous_in_an_outage_after_a_restart_as_well() {
    let bed = keeping("keep-namesakes").await;
    let kept = bed.connect.vault_id("services").unwrap();
    let alike = bed.connect.add_vault("services").unwrap();
    // No access row allows it.
    let hidden = bed.connect.add_vault("Services").unwrap();
    let folder = KeyFolder::new(&bed);
    let operator = folder.operator(&bed).await;
    bed.request_data("by-id", &[("password", &format!("op://{kept}/orders-db/password"))]).await;
    bed.wait_ready("by-id").await;
    wait_record(&bed, "services", 0).await;
    operator.stop().await;
    bed.connect.stop();

    let operator = folder.operator(&bed).await;
    wait_persisted(&operator, "read", 1.0).await;
    bed.request_data("by-name", &[("password", BY_NAME)]).await;
    let request = bed.wait_reason("by-name", Reason::AmbiguousVault).await;
    let ready = condition(&request, "Ready").unwrap();
    assert_eq!(ready.status, "False");
    assert!(ready.message.contains(&kept) && ready.message.contains(&alike), "{}", ready.message);
    assert!(!ready.message.contains(&hidden), "{}", ready.message);
    assert!(bed.secret("by-name").await.is_none());
    // By its id it is served, so that what is missing is not the value.
    bed.delete_secret("by-id").await;
    wait_served(&bed, "by-id").await;
    // Of the vaults that the namespace may see one alone is left.
    let namespaces = json!({"names": [bed.namespace]});
    bed.set_access(json!([{"name": "tenant", "namespaces": namespaces, "vaults": [{"id": kept}]}]))
        .await;
    wait_served(&bed, "by-name").await;
    bed.wait_value("by-name", "password", &bed.value("orders-db", "password")).await;
    operator.stop().await;
}
