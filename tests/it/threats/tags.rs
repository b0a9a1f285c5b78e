//! A reader of status and metadata compares digests to find shared passwords; somebody puts an old content back with
//! its tag, copies a tag to another Secret, or loses the key that all tags were made with.

use std::collections::BTreeSet;

use portcullis::api::Reason;
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams};
use portcullis_test_support::kube::{Api, ResourceExt as _};
use portcullis_test_support::{Bed, condition};
use serde_json::{Value, json};

const OWNER_TAG: &str = "portcullis.dev/owner-tag";
const CONTENT_TAG: &str = "portcullis.dev/content-tag";

fn keys(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), &bed.operator_namespace)
}

async fn lose_key(bed: &Bed) {
    keys(bed).delete("portcullis-keys", &DeleteParams::default()).await.unwrap();
}

/// Every string of a value, and each part of those that dots, commas or colons divide.
fn strings(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            into.extend(text.split(['.', ',', ':', ' ', '/']).map(str::to_owned));
            into.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|v| strings(v, into)),
        Value::Object(fields) => fields.values().for_each(|v| strings(v, into)),
        _ => {}
    }
}

/// What the digests, tags and receipts of a request say: whatever is long and looks random.
async fn shown(bed: &Bed, name: &str) -> BTreeSet<String> {
    let request = bed.get_request(name).await;
    let secret = bed.secret(name).await.unwrap();
    let mut all = BTreeSet::new();
    strings(&json!(request.status), &mut all);
    strings(&json!(secret.metadata.annotations), &mut all);
    strings(&json!(secret.metadata.labels), &mut all);
    let (vault, items) = (
        bed.connect.vault_id("services").unwrap(),
        [bed.item_id("orders-db"), bed.item_id("orders-api")],
    );
    let random = |text: &String| {
        text.len() >= 12
            && !text.contains(' ')
            && text.chars().any(|c| c.is_ascii_digit())
            && !text.starts_with("20")
    };
    // Ids of items and their versions stand in clear.
    let known =
        |text: &String| text.contains(&vault) || items.iter().any(|i| text.contains(i.as_str()));
    all.retain(|text| random(text) && !known(text));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_data_in_two_requests_shows_as_no_equal_string() {
    let bed = Bed::new("tags-equal").await;
    let operator = bed.operator().await;
    let data = [("password", "op://services/orders-db/password")];
    bed.request_data("one", &data).await;
    bed.request_data("two", &data).await;
    bed.wait_ready("one").await;
    bed.wait_ready("two").await;
    assert_eq!(bed.secret_values("one").await, bed.secret_values("two").await);
    let (one, two) = (shown(&bed, "one").await, shown(&bed, "two").await);
    assert!(one.len() >= 4, "digest, tags and receipt: {one:?}");
    let both: Vec<_> =
        one.intersection(&two).filter(|text| !text.starts_with(&bed.class)).collect();
    assert!(both.is_empty(), "{both:?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_comes_back_is_not_told_by_its_tag() {
    let bed = Bed::new("tags-back").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let first = bed.secret("orders").await.unwrap().annotations()[CONTENT_TAG].clone();
    let value = bed.value("orders-db", "password");
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("orders", "password", "rotated").await;
    bed.connect.set_field("services", "orders-db", "password", &value).unwrap();
    let secret = bed.wait_value("orders", "password", &value).await;
    assert_ne!(secret.annotations()[CONTENT_TAG], first);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_content_put_back_with_its_tags_is_noticed_and_repaired() {
    let bed = Bed::new("tags-replay").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let old = bed.secret("orders").await.unwrap();
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("orders", "password", "rotated").await;
    let revision = |r: &portcullis::api::CredentialRequest| {
        r.status.as_ref().unwrap().sync.as_ref().map(|s| s.content_revision)
    };
    bed.wait_request("orders", "at revision 2", |r| revision(r) == Some(2)).await;
    let writes = operator.audit.of("write", "orders").len();

    bed.patch_secret(
        "orders",
        json!({"data": old.data, "metadata": {"annotations": old.metadata.annotations}}),
    )
    .await;
    bed.wait_value("orders", "password", "rotated").await;
    let request = bed
        .wait_request("orders", "to account for the repair", |_| {
            operator.audit.of("write", "orders").len() == writes + 1
        })
        .await;
    let line = operator.audit.of("write", "orders").pop().unwrap();
    assert_eq!(line["secret"]["change"], "repaired", "somebody changed it: {line}");
    assert_eq!(revision(&request), Some(2), "the content is what it was");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_content_put_back_while_the_operator_is_down_is_repaired_at_its_start() {
    let bed = Bed::new("tags-replay-down").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let old = bed.secret("orders").await.unwrap();
    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    bed.wait_value("orders", "password", "rotated").await;
    operator.stop().await;
    bed.patch_secret(
        "orders",
        json!({"data": old.data, "metadata": {"annotations": old.metadata.annotations}}),
    )
    .await;
    let operator = bed.operator().await;
    bed.wait_value("orders", "password", "rotated").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tags_of_one_request_make_no_secret_anothers() {
    let bed = Bed::new("tags-copied").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let own = bed.secret("orders").await.unwrap();
    bed.create_secret("victim", &[("password", "theirs")]).await;
    let forged = json!({"metadata": {"labels": own.metadata.labels, "annotations": own.metadata.annotations}});
    let victim = bed.patch_secret("victim", forged).await;
    bed.request("victim", |_| {}).await;
    let request = bed.wait_reason("victim", Reason::SecretNotOwned).await;
    assert_eq!(condition(&request, "Stalled").unwrap().status, "True");
    assert_eq!(bed.secret("victim").await.unwrap().resource_version(), victim.resource_version());
    assert_eq!(bed.secret_values("victim").await["password"], "theirs");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_tags_equal_data_anew_and_overwrites_nothing_else() {
    let bed = Bed::new("tags-lost").await;
    let operator = bed.operator().await;
    for name in ["same", "other"] {
        bed.request(name, |_| {}).await;
        bed.wait_ready(name).await;
    }
    operator.stop().await;
    let same = bed.secret("same").await.unwrap();
    let other = bed.patch_secret("other", json!({"stringData": {"password": "by hand"}})).await;
    lose_key(&bed).await;

    let operator = bed.operator().await;
    let after = bed
        .wait_secret("same", |s| s.annotations()[OWNER_TAG] != same.annotations()[OWNER_TAG])
        .await;
    assert_eq!((after.uid(), after.creation_timestamp()), (same.uid(), same.creation_timestamp()));
    assert_eq!(after.data, same.data);
    let request = bed.wait_ready("same").await;
    assert_eq!(request.status.unwrap().sync.unwrap().content_revision, 1);
    assert_eq!(operator.audit.of("write", "same")[0]["secret"]["change"], "retagged");

    let request = bed.wait_reason("other", Reason::SecretNotOwned).await;
    let message = &condition(&request, "Ready").unwrap().message;
    let command = format!("kubectl delete secret --namespace {} other", bed.namespace);
    assert!(message.contains(&command) && message.contains("portcullis-keys"), "{message}");
    assert_eq!(bed.secret("other").await.unwrap().resource_version(), other.resource_version());
    // The command resolves it.
    bed.delete_secret("other").await;
    bed.wait_value("other", "password", &bed.value("orders-db", "password")).await;
    bed.wait_ready("other").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_beside_the_old_one_writes_no_secret_until_something_changes() {
    let bed = Bed::new("tags-rotate").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    let before = bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await.unwrap();
    operator.stop().await;
    let entry = json!({"stringData": {"key-0002": "k".repeat(32)}});
    keys(&bed)
        .patch("portcullis-keys", &PatchParams::default(), &Patch::Merge(&entry))
        .await
        .unwrap();

    bed.connect.reset_requests();
    let operator = bed.operator().await;
    // A second request is done under the new key: by then the first one was looked at.
    bed.request("second", |_| {}).await;
    bed.wait_ready("second").await;
    assert_eq!(bed.secret("orders").await.unwrap().resource_version(), secret.resource_version());
    assert_eq!(bed.get_request("orders").await.resource_version(), before.resource_version());
    assert!(operator.audit.of("write", "orders").is_empty());

    // A label of somebody else's is looked at, and is nothing to repair.
    let labelled =
        bed.patch_secret("orders", json!({"metadata": {"labels": {"team": "shop"}}})).await;
    let version = labelled.resource_version().unwrap();
    bed.wait_request("orders", "to account for the label", |r| {
        r.status
            .as_ref()
            .unwrap()
            .sync
            .as_ref()
            .is_some_and(|s| s.receipt.contains(&format!(".{version}.")))
    })
    .await;
    assert_eq!(bed.secret("orders").await.unwrap().resource_version(), Some(version));

    bed.connect.set_field("services", "orders-db", "password", "rotated").unwrap();
    let after = bed.wait_value("orders", "password", "rotated").await;
    assert_eq!(after.uid(), secret.uid());
    bed.wait_request("orders", "at revision 2", |r| {
        r.status.as_ref().unwrap().sync.as_ref().is_some_and(|s| s.content_revision == 2)
    })
    .await;
    assert_eq!(
        operator.audit.of("write", "orders")[0]["secret"]["change"],
        "updated",
        "nobody touched it"
    );
    operator.stop().await;
}
