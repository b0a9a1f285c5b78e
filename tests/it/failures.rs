//! What a user sees who asks for what cannot be had, row by row: each with its reason, the words to mend it by,
//! and how it heals.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FieldSpec, ItemSpec};
use portcullis_test_support::k8s_openapi::api::core::v1::Secret;
use portcullis_test_support::kube::api::{DeleteParams, Patch, PatchParams};
use portcullis_test_support::kube::{Api, ResourceExt as _};
use portcullis_test_support::{Bed, TestOperator, condition};
use serde_json::json;

const ITEM_ROUTE: &str = "GET /v1/vaults/{v}/items/{i}";

/// The message of a failed request, which must not be ready: stalled, or on its way.
#[track_caller]
fn told(request: &CredentialRequest, is_stalled: bool) -> &str {
    assert_eq!(condition(request, "Ready").unwrap().status, "False");
    assert_eq!(condition(request, "Synced").unwrap().status, "False");
    assert_eq!(condition(request, "Stalled").is_some(), is_stalled);
    assert_eq!(condition(request, "Reconciling").is_some(), !is_stalled);
    &condition(request, "Synced").unwrap().message
}

fn tokens(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), &bed.operator_namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_server_is_named_and_its_appearance_heals() {
    let bed = Bed::new("no-server").await;
    let operator = bed.operator().await;
    let name = format!("{}-later", bed.class);
    let spec = json!({"serverRef": {"name": name}, "purpose": "a test",
                      "data": [{"key": "password", "ref": "op://services/orders-db/password"}]});
    bed.apply_request(json!({"metadata": {"name": "orders"}, "spec": spec})).await.unwrap();
    let request = bed.wait_reason("orders", Reason::ServerNotFound).await;
    let message = told(&request, false);
    assert!(message.contains(&name) && message.contains("kubectl get connectservers"), "{message}");
    let mut server = bed.server_manifest();
    server["metadata"]["name"] = json!(name);
    bed.apply(server).await;
    bed.wait_ready("orders").await;
    bed.servers().delete(&name, &DeleteParams::default()).await.unwrap();
    bed.wait_reason("orders", Reason::ServerNotFound).await;
    assert!(bed.secret("orders").await.is_some());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_is_made_by_the_printed_command_and_the_secret_stays_meanwhile() {
    let bed = Bed::new("no-token").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await;
    tokens(&bed).delete("connect-token", &DeleteParams::default()).await.unwrap();
    let request = bed.wait_reason("orders", Reason::TokenNotFound).await;
    let message = told(&request, false).to_owned();
    assert!(
        message.contains("connect-token") && message.contains(&bed.operator_namespace),
        "{message}"
    );
    assert_eq!(bed.secret("orders").await, secret);
    bed.do_as_told(&message, &bed.token).await;
    bed.wait_ready("orders").await;
    assert_eq!(bed.secret("orders").await, secret);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_secret_without_the_key_gets_it_by_the_printed_command() {
    let bed = Bed::new("no-key").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let patch = Patch::Merge(json!({"data": {"token": null}, "stringData": {"other": "x"}}));
    tokens(&bed).patch("connect-token", &PatchParams::default(), &patch).await.unwrap();
    let request = bed.wait_reason("orders", Reason::TokenNotFound).await;
    let message = told(&request, false).to_owned();
    assert!(message.contains("has no key token"), "{message}");
    bed.do_as_told(&message, &bed.token).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_access_nothing_is_asked_for() {
    let bed = Bed::new("outside").await;
    let operator = bed.operator().await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.request_data(
        "root",
        &[("a", "op://infra/root/password"), ("b", "op://services/orders-db/password")],
    )
    .await;
    let request = bed.wait_reason("root", Reason::VaultNotAllowed).await;
    assert!(told(&request, true).contains("spec.data[a]"));
    let asked = bed.connect.requests();
    assert_eq!(asked.route(ITEM_ROUTE), 0);
    let infra = bed.connect.vault_id("infra").unwrap();
    assert!(asked.log.iter().all(|record| !record.target.contains(&infra)));
    let both = json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]);
    bed.set_access(both).await;
    bed.wait_ready("root").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_no_item_is_fetched_and_one_that_appears_heals() {
    let bed = Bed::new("no-policy").await;
    bed.delete_policy(&bed.policy).await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    let request = bed.wait_reason("orders", Reason::NoPolicyMatches).await;
    assert!(told(&request, false).contains("no CredentialPolicy covers spec.data[password]"));
    assert_eq!(bed.connect.requests().route(ITEM_ROUTE), 0);
    bed.policy("any", json!({})).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

/// An operator for which no list is too fresh to look again, so that a test need not wait until looks are due.
async fn always_looking(bed: &Bed) -> TestOperator {
    let settings = Settings { look_interval: Duration::ZERO, ..Settings::for_tests() };
    bed.operator_with(settings).await
}

/// A bed that is polled so seldom that nothing heals by a poll, and whose tenant may read every vault.
async fn quiet(name: &str) -> Bed {
    let bed = Bed::new(name).await;
    let all = json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}]);
    bed.patch_server(json!({"spec": {"pollInterval": "1h", "access": all}})).await;
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_vault_is_said_to_be_missing_without_waiting_for_a_poll() {
    let bed = quiet("no-vault").await;
    let operator = bed.operator().await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    bed.request_data("orders", &[("a", "op://nowhere/item/field")]).await;
    let request = bed.wait_reason("orders", Reason::VaultNotFound).await;
    let message = told(&request, true);
    assert!(message.contains("spec.data[a]") && message.contains("no vault nowhere"), "{message}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_made_just_now_is_found_without_waiting_for_a_poll() {
    let bed = quiet("new-vault").await;
    let operator = always_looking(&bed).await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    bed.connect.add_vault("fresh").unwrap();
    bed.connect.add_item("fresh", ItemSpec::new("item").field("field", "v")).unwrap();
    bed.request_data("orders", &[("a", "op://fresh/item/field")]).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_vault_or_item_heals_when_it_appears() {
    let bed = Bed::new("appears").await;
    bed.set_access(json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "*"}]}])).await;
    let operator = bed.operator().await;
    bed.request_data("vault", &[("a", "op://nowhere/item/field")]).await;
    bed.request_data("item", &[("a", "op://services/nothing/field")]).await;
    bed.wait_reason("vault", Reason::VaultNotFound).await;
    let request = bed.wait_reason("item", Reason::ItemNotFound).await;
    let message = told(&request, true);
    assert!(message.contains("vault services has no item nothing"), "{message}");
    bed.connect.add_vault("nowhere").unwrap();
    bed.connect.add_item("nowhere", ItemSpec::new("item").field("field", "v")).unwrap();
    bed.connect.add_item("services", ItemSpec::new("nothing").field("field", "w")).unwrap();
    bed.wait_value("vault", "a", "v").await;
    bed.wait_value("item", "a", "w").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_made_just_now_is_found_without_waiting_for_a_poll() {
    let bed = quiet("new-item").await;
    let operator = always_looking(&bed).await;
    bed.request("first", |_| {}).await;
    bed.wait_ready("first").await;
    bed.connect.add_item("services", ItemSpec::new("fresh").field("field", "v")).unwrap();
    bed.request_data("orders", &[("a", "op://services/fresh/field")]).await;
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_item_is_not_found_and_its_secret_stays() {
    let bed = Bed::new("archived").await;
    let operator = bed.operator().await;
    bed.request("orders", |_| {}).await;
    bed.wait_ready("orders").await;
    let secret = bed.secret("orders").await;
    bed.connect.archive_item("services", "orders-db").unwrap();
    let request = bed.wait_reason("orders", Reason::ItemNotFound).await;
    told(&request, true);
    assert_eq!(bed.secret("orders").await, secret);
    bed.connect.restore_item("services", "orders-db").unwrap();
    bed.wait_ready("orders").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_cannot_be_delivered_are_told_one_by_one() {
    let bed = Bed::new("fields").await;
    let otp = FieldSpec {
        kind: Some("OTP".to_owned()),
        totp: Some("123456".to_owned()),
        ..FieldSpec::new("code", "otpauth://totp/x?secret=ABC")
    };
    let item = ItemSpec::new("odd")
        .section_field("one", "url", "1")
        .section_field("two", "url", "2")
        .field("empty", "")
        .field("large", &"x".repeat((1 << 20) + 1))
        .with(otp);
    bed.connect.add_item("services", item).unwrap();
    let operator = bed.operator().await;
    let cases = [
        (
            "field",
            "op://services/odd/nothing",
            Reason::FieldNotFound,
            "item odd of vault services has no field nothing",
        ),
        ("section", "op://services/odd/three/url", Reason::FieldNotFound, "has no section three"),
        (
            "inside",
            "op://services/odd/one/nothing",
            Reason::FieldNotFound,
            "section one of item odd",
        ),
        ("twice", "op://services/odd/url", Reason::AmbiguousField, "2 fields or files url"),
        ("empty", "op://services/odd/empty", Reason::FieldEmpty, "field empty of item odd"),
        ("otp", "op://services/odd/code", Reason::OneTimePassword, "one-time password"),
        ("large", "op://services/odd/large", Reason::SecretTooLarge, "1048576"),
    ];
    for (name, reference, ..) in &cases {
        bed.request_data(name, &[("key", reference)]).await;
    }
    for (name, _, reason, words) in &cases {
        let request = bed.wait_reason(name, *reason).await;
        let message = told(&request, true);
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(condition(&request, "Authorized").unwrap().status, "True", "{name}");
        assert!(bed.secret(name).await.is_none(), "{name}");
    }
    bed.connect.set_field("services", "odd", "empty", "full").unwrap();
    bed.wait_value("empty", "key", "full").await;
    bed.request_data("one", &[("key", "op://services/odd/two/url")]).await;
    bed.wait_value("one", "key", "2").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_items_of_one_title_are_told_apart_by_the_ids_in_the_message() {
    let bed = Bed::new("twice").await;
    let first =
        bed.connect.add_item("services", ItemSpec::new("twin").field("field", "1")).unwrap();
    let second = bed
        .connect
        .add_item(
            "services",
            ItemSpec { id: Some("t".repeat(26)), ..ItemSpec::new("twin").field("field", "2") },
        )
        .unwrap();
    assert_ne!(first, second);
    let operator = bed.operator().await;
    bed.request_data("orders", &[("a", "op://services/twin/field")]).await;
    let request = bed.wait_reason("orders", Reason::AmbiguousItem).await;
    let message = told(&request, true);
    assert!(
        message.contains("twin") && message.contains(&first) && message.contains(&second),
        "{message}"
    );
    let data = json!([{"key": "a", "ref": format!("op://services/{second}/field")}]);
    bed.patch_request("orders", json!({"spec": {"data": data}})).await;
    bed.wait_value("orders", "a", "2").await;
    // A name that becomes ambiguous stops the refresh, not the Secret.
    bed.request_data("api", &[("a", "op://services/orders-api/password")]).await;
    bed.wait_ready("api").await;
    let secret = bed.secret("api").await;
    bed.connect
        .add_item("services", ItemSpec { id: Some("u".repeat(26)), ..ItemSpec::new("orders-api") })
        .unwrap();
    let request = bed.wait_reason("api", Reason::AmbiguousItem).await;
    told(&request, true);
    assert_eq!(
        bed.secret("api").await.unwrap().resource_version(),
        secret.unwrap().resource_version()
    );
    operator.stop().await;
}
