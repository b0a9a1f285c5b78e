//! A tenant spells a forbidden item in every way that 1Password understands, hoping that one of them slips past
//! access rows and policies, or that two refusals differ and so tell what exists.

use std::time::Duration;

use portcullis::api::{CredentialRequest, Outcome, Reason};
use portcullis::settings::Settings;
use portcullis_test_support::{Bed, condition, wait};
use serde_json::{Value, json};

const LIST: &str = "GET /v1/vaults/{v}/items";
const ITEM: &str = "GET /v1/vaults/{v}/items/{i}";

/// Creates a request with one key `password` that comes from `source`: `{"ref": …}` or `{"from": …}`.
async fn ask(bed: &Bed, name: &str, source: &Value) {
    let mut entry = source.clone();
    entry["key"] = json!("password");
    let data = serde_json::from_value(json!([entry])).unwrap();
    bed.request(name, |spec| spec.data = data).await;
}

fn reference(vault: &str, item: &str) -> Value {
    json!({"ref": format!("op://{vault}/{item}/password")})
}

fn parts(vault: &str, item: &str) -> Value {
    json!({"from": {"vault": vault, "item": item, "field": "password"}})
}

/// Every way to write one item of a vault.
fn spellings(bed: &Bed, vault: &str, item: &str) -> Vec<Value> {
    let vault_id = bed.connect.vault_id(vault).unwrap();
    let item_id = bed.connect.item_id(vault, item).unwrap();
    let vaults = [vault.to_owned(), vault.to_uppercase(), vault_id];
    let items = [item.to_owned(), item.to_uppercase(), item_id];
    let mut all = Vec::new();
    for vault in &vaults {
        for item in &items {
            all.push(reference(vault, item));
            all.push(parts(vault, item));
        }
    }
    all
}

/// A status without what must differ: times, digests and record ids, which are each request's own, and anomalies, since
/// every request is part of the past of those after it.
fn plain_status(request: &CredentialRequest) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for own in
                    ["lastTransitionTime", "time", "decidedAt", "digest", "record", "anomalies"]
                {
                    fields.remove(own);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut status = serde_json::to_value(&request.status).unwrap();
    strip(&mut status);
    status.to_string()
}

async fn plain_events(bed: &Bed, name: &str) -> String {
    let events = wait::until(&format!("an Event of {name}"), wait::WAIT, async || {
        let events = bed.events(name).await;
        if events.is_empty() { Err("none".to_owned()) } else { Ok(events) }
    })
    .await;
    let plain = |e: &portcullis_test_support::k8s_openapi::api::events::v1::Event| {
        json!([e.type_, e.reason, e.action, e.note, e.related.is_some()])
    };
    json!(events.iter().map(plain).collect::<Vec<_>>()).to_string()
}

/// Asks for each of these under names of their own; all must be told the same, to the byte.
async fn assert_told_alike(bed: &Bed, prefix: &str, sources: &[Value], reason: Reason) {
    for (n, source) in sources.iter().enumerate() {
        ask(bed, &format!("{prefix}-{n}"), source).await;
    }
    let mut told = None;
    for (n, source) in sources.iter().enumerate() {
        let name = format!("{prefix}-{n}");
        let request = bed.wait_reason(&name, reason).await;
        let now = (plain_status(&request), plain_events(bed, &name).await);
        let first = told.get_or_insert_with(|| now.clone());
        assert_eq!(*first, now, "{source} is told something else than {}", sources[0]);
        assert!(bed.secret(&name).await.is_none(), "{source} became a Secret");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_spellings_of_one_item_are_scored_alike_and_read_the_same() {
    let bed = Bed::new("spell-same").await;
    let rule = json!({"name": "db", "when": "refs.exists(r, r.vault == 'services' && r.item == 'orders-db')", "score": 60,
                      "message": "a database"});
    // Policies match by the canonical name and by the id, whatever the request says.
    let vault_id = bed.connect.vault_id("services").unwrap();
    bed.policy("by-name", json!({"match": {"vaults": ["services"]}, "rules": [rule]})).await;
    let rule = json!({"name": "id", "when": "refs.all(r, r.vault != 'SERVICES')", "score": 1, "message": "by id"});
    bed.policy("by-id", json!({"match": {"vaults": [vault_id]}, "rules": [rule]})).await;
    let operator = bed.operator().await;

    let spellings = spellings(&bed, "services", "orders-db");
    for (n, spelling) in spellings.iter().enumerate() {
        ask(&bed, &format!("s{n}"), spelling).await;
    }
    let mut first = None;
    for (n, spelling) in spellings.iter().enumerate() {
        let name = format!("s{n}");
        let request = bed.wait_ready(&name).await;
        let decision = request.status.as_ref().unwrap().decision.clone().unwrap();
        assert_eq!((decision.outcome, decision.risk_score), (Outcome::Alerted, 60), "{spelling}");
        assert_eq!(
            bed.secret_values(&name).await["password"],
            bed.value("orders-db", "password"),
            "{spelling}"
        );
        let lines = operator.audit.of("decision", &name);
        let items = lines[0]["items"].clone();
        let now =
            (json!(decision.factors), items, json!(request.status.unwrap().sync.unwrap().items));
        assert_eq!(*first.get_or_insert_with(|| now.clone()), now, "{spelling}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_item_gets_past_a_policy_that_denies_it_by_name() {
    let bed = Bed::new("spell-deny").await;
    let rule = json!({"name": "no", "when": "refs.exists(r, r.vault == 'services' && r.item == 'orders-db')", "effect": "Deny",
                      "message": "not this one"});
    bed.policy("strict", json!({"match": {"vaults": ["serv*"]}, "rules": [rule]})).await;
    let operator = bed.operator().await;
    assert_told_alike(&bed, "d", &spellings(&bed, "services", "orders-db"), Reason::Denied).await;
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_vault_and_one_that_does_not_exist_are_told_alike_without_a_call() {
    let bed = Bed::new("spell-oracle").await;
    let mut asked = spellings(&bed, "infra", "root");
    let (vault, nobody) = (bed.connect.vault_id("infra").unwrap(), "a".repeat(26));
    for (vault, item) in [
        ("infra", "nothing"),
        (&vault, &*nobody),
        ("nowhere", "root"),
        ("INFRA", "Nothing"),
        (&nobody, &nobody),
    ] {
        asked.extend([reference(vault, item), parts(vault, item)]);
    }
    let operator = bed.operator().await;
    bed.wait_server_reason("Ready", Reason::Connected).await;
    bed.connect.reset_requests();
    assert_told_alike(&bed, "f", &asked, Reason::VaultNotAllowed).await;

    let requests = bed.connect.requests();
    assert_eq!(requests.total, requests.route("GET /v1/vaults"), "{:?}", requests.by_route);
    let span =
        requests.log.back().map_or(0, |last| last.at.as_secs() - requests.log[0].at.as_secs());
    assert!(
        requests.total <= span + 3,
        "{} calls in {span} s are more than the poll's",
        requests.total
    );

    // A vault by its old name, after another one has it no more, and by its new one.
    bed.connect.rename_vault("infra", "platform").unwrap();
    let after = [
        reference("infra", "root"),
        reference("platform", "root"),
        parts("Platform", "root"),
        reference("nowhere", "root"),
    ];
    assert_told_alike(&bed, "r", &after, Reason::VaultNotAllowed).await;
    let requests = bed.connect.requests();
    assert_eq!(requests.total, requests.route("GET /v1/vaults"), "{:?}", requests.by_route);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_outside_a_rows_items_is_told_like_one_that_does_not_exist() {
    let bed = Bed::new("spell-items").await;
    bed.set_access(json!([{"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": [{"name": "services"}],
                           "items": ["orders-d*"]}]))
    .await;
    let operator = bed.operator().await;
    let mut asked = spellings(&bed, "services", "orders-api");
    asked.extend([
        reference("services", "nothing"),
        parts("services", "b/c"),
        reference("services", &"b".repeat(26)),
    ]);
    assert_told_alike(&bed, "i", &asked, Reason::VaultNotAllowed).await;
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    assert_eq!(bed.connect.requests().route(LIST), 1, "one list of the one vault in use");

    for (n, spelling) in spellings(&bed, "services", "orders-db").iter().enumerate() {
        ask(&bed, &format!("ok{n}"), spelling).await;
        bed.wait_ready(&format!("ok{n}")).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_key_refuses_the_whole_request_and_is_the_only_one_named() {
    let bed = Bed::new("spell-mixed").await;
    let operator = bed.operator().await;
    bed.request_data(
        "both",
        &[
            ("mine", "op://services/orders-db/password"),
            ("theirs", "op://infra/root/password"),
            ("typo", "op://services/no-such-item/password"),
        ],
    )
    .await;
    let request = bed.wait_reason("both", Reason::VaultNotAllowed).await;
    let message = &condition(&request, "Ready").unwrap().message;
    assert!(message.contains("spec.data[theirs]"), "{message}");
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    assert!(bed.secret("both").await.is_none());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_renamed_out_of_its_row_is_forbidden_and_its_secrets_stay() {
    let bed = Bed::new("spell-renamed").await;
    let vault_id = bed.connect.vault_id("services").unwrap();
    let operator =
        bed.operator_with(Settings { undo_window: Duration::ZERO, ..Settings::for_tests() }).await;
    ask(&bed, "by-id", &reference(&vault_id, "orders-db")).await;
    bed.wait_ready("by-id").await;
    let before = bed.secret("by-id").await.unwrap().metadata.resource_version;
    bed.connect.rename_vault("services", "payroll").unwrap();
    bed.wait_reason("by-id", Reason::VaultNotAllowed).await;
    assert_eq!(bed.secret("by-id").await.unwrap().metadata.resource_version, before);
    bed.connect.rename_vault("payroll", "services").unwrap();
    bed.wait_ready("by-id").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_is_down_at_the_start_denies_no_spelling() {
    let bed = Bed::new("spell-outage").await;
    let operator = bed.operator().await;
    let vault_id = bed.connect.vault_id("services").unwrap();
    ask(&bed, "by-id", &reference(&vault_id, "orders-db")).await;
    ask(&bed, "by-case", &parts("SERVICES", "orders-db")).await;
    bed.wait_ready("by-id").await;
    bed.wait_ready("by-case").await;
    operator.stop().await;

    bed.connect.stop();
    let operator = bed.operator().await;
    for name in ["by-id", "by-case"] {
        let request = bed.wait_reason(name, Reason::ConnectUnavailable).await;
        assert_eq!(condition(&request, "Ready").unwrap().status, "True", "the Secret is good");
        assert_eq!(
            condition(&request, "Authorized")
                .map(|c| &*c.reason)
                .filter(|r| *r == "VaultNotAllowed"),
            None
        );
    }
    // Nothing is known of any vault: what is forbidden is told the same whether it exists.
    let forbidden = [
        reference("infra", "root"),
        reference("nowhere", "root"),
        reference(&"a".repeat(26), "root"),
    ];
    assert_told_alike(&bed, "f", &forbidden, Reason::ConnectUnavailable).await;
    bed.connect.restart().unwrap();
    bed.wait_reason("by-id", Reason::Synced).await;
    for n in 0..forbidden.len() {
        bed.wait_reason(&format!("f-{n}"), Reason::VaultNotAllowed).await;
    }
    operator.stop().await;
}
