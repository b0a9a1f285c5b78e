//! What 1Password holds is renamed, moved, archived, deleted, restored, doubled, and looked at again on demand: a
//! name means what it means just then, and a Secret never holds anything else.

use portcullis::api::{REFRESH_ANNOTATION, Reason};
use portcullis_test_support::connect_dev::{FaultSpec, ItemSpec};
use portcullis_test_support::kube::api::{Patch, PatchParams};
use portcullis_test_support::{Bed, SecretHistory, condition, wait};
use serde_json::json;

use super::{
    API, DB, ITEM, LIST, Says, VAULTS, asked, fresh, kept_values, says, set, status, versions,
    wait_kept_values,
};

/// A bed whose tenant may read both vaults.
async fn open_bed(name: &str) -> Bed {
    let bed = Bed::new(name).await;
    let vaults = json!([{"name": "services"}, {"name": "billing"}, {"name": "infra"}]);
    let row = json!({"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": vaults});
    bed.set_access(json!([row])).await;
    bed
}

fn item(title: &str, value: &str) -> ItemSpec {
    ItemSpec::new(title).field("password", value)
}

/// What the Secret of a name held, one after the other, each once.
fn held(history: &SecretHistory, name: &str) -> Vec<String> {
    let values = history.of(name).into_iter().map(|seen| {
        let data = seen.secret().data.clone().unwrap_or_default();
        String::from_utf8(data["k"].0.clone()).unwrap()
    });
    let mut held: Vec<String> = values.collect();
    held.dedup();
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_item_is_not_found_by_its_former_title_and_is_by_its_new_one_and_its_id() {
    let bed = open_bed("fc-renamed").await;
    let history = bed.observe_secrets().await;
    let operator = bed.operator().await;
    let by_id = format!("op://services/{}/password", bed.item_id("orders-db"));
    bed.request_data("title", &[("k", DB)]).await;
    bed.request_data("id", &[("k", &by_id)]).await;
    for name in ["title", "id"] {
        says(&bed, name, Says::SYNCED).await;
    }
    let before = bed.secret("title").await;
    bed.connect.rename_item("services", "orders-db", "ledger-db").unwrap();
    says(&bed, "title", Says::stalled_with_secret(Reason::ItemNotFound)).await;
    bed.request_data("new", &[("k", "op://services/ledger-db/password")]).await;
    for name in ["new", "id"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(bed.secret("title").await, before);
    // Another item takes the name: it is what the name means from then on.
    let other = fresh(&bed, "other");
    bed.connect.add_item("services", item("orders-db", &other)).unwrap();
    bed.wait_value("title", "k", &other).await;
    says(&bed, "title", Says::SYNCED).await;
    let value = bed.value("orders-db", "password");
    assert_eq!(held(&history, "title"), [value.clone(), other]);
    assert_eq!(held(&history, "id"), std::slice::from_ref(&value));
    assert_eq!(held(&history, "new"), [value]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_items_that_swap_their_titles_swap_their_values_and_nothing_else_is_ever_written() {
    let bed = open_bed("fc-swapped").await;
    let history = bed.observe_secrets().await;
    let operator = bed.operator().await;
    for (name, reference) in [("db", DB), ("api", API)] {
        bed.request_data(name, &[("k", reference)]).await;
        says(&bed, name, Says::SYNCED).await;
    }
    for (from, to) in
        [("orders-db", "between"), ("orders-api", "orders-db"), ("between", "orders-api")]
    {
        bed.connect.rename_item("services", from, to).unwrap();
    }
    let (db, api) = (bed.value("orders-db", "password"), bed.value("orders-api", "password"));
    bed.wait_value("db", "k", &api).await;
    bed.wait_value("api", "k", &db).await;
    for name in ["db", "api"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(held(&history, "db"), [db.clone(), api.clone()]);
    assert_eq!(held(&history, "api"), [api, db]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_moves_to_another_vault_is_found_there_alone() {
    let bed = open_bed("fc-moved").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    bed.request_data("there", &[("k", "op://infra/orders-db/password")]).await;
    says(&bed, "good", Says::SYNCED).await;
    says(&bed, "there", Says::stalled(Reason::ItemNotFound)).await;
    let good = bed.secret("good").await;
    // 1Password makes a new item in the other vault, and deletes the one before.
    let moved = fresh(&bed, "moved");
    bed.connect.add_item("infra", item("orders-db", &moved)).unwrap();
    bed.connect.delete_item("services", "orders-db").unwrap();
    bed.wait_value("there", "k", &moved).await;
    says(&bed, "there", Says::SYNCED).await;
    says(&bed, "good", Says::stalled_with_secret(Reason::ItemNotFound)).await;
    assert_eq!(bed.secret("good").await, good);
    let data = json!([{"key": "k", "ref": "op://infra/orders-db/password"}]);
    bed.patch_request("good", json!({"spec": {"data": data}})).await;
    bed.wait_value("good", "k", &moved).await;
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
}

/// An item goes, and with it what is kept of it; its Secret stays. It comes back.
async fn gone(name: &str, go: impl FnOnce(&Bed), back: impl FnOnce(&Bed, &str)) {
    let bed = open_bed(name).await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    wait_kept_values(&operator, 1.0).await;
    let good = bed.secret("good").await;
    go(&bed);
    says(&bed, "good", Says::stalled_with_secret(Reason::ItemNotFound)).await;
    bed.request_data("cached", &[("k", DB)]).await;
    says(&bed, "cached", Says::stalled(Reason::ItemNotFound)).await;
    wait_kept_values(&operator, 0.0).await;
    // Nor in an outage: what is in no list means nothing.
    bed.connect.stop();
    bed.wait_server_reason("Ready", Reason::ConnectUnavailable).await;
    bed.request_data("later", &[("k", DB)]).await;
    says(&bed, "later", Says::waits(Reason::ConnectUnavailable)).await;
    bed.connect.restart().unwrap();
    says(&bed, "later", Says::stalled(Reason::ItemNotFound)).await;
    assert_eq!(bed.secret("good").await, good);
    let value = fresh(&bed, "back");
    back(&bed, &value);
    for name in ["good", "cached", "later"] {
        bed.wait_value(name, "k", &value).await;
        says(&bed, name, Says::SYNCED).await;
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_item_leaves_its_secret_and_comes_back_when_it_is_restored() {
    let go = |bed: &Bed| bed.connect.archive_item("services", "orders-db").unwrap();
    gone("fc-archived", go, |bed, value| {
        bed.connect.restore_item("services", "orders-db").unwrap();
        set(bed, "orders-db", value);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_item_leaves_its_secret_and_one_of_its_name_takes_its_place() {
    let go = |bed: &Bed| bed.connect.delete_item("services", "orders-db").unwrap();
    gone("fc-deleted", go, |bed, value| {
        bed.connect.add_item("services", item("orders-db", value)).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_item_means_nothing_until_it_is_one_again() {
    let bed = open_bed("fc-doubled").await;
    let history = bed.observe_secrets().await;
    let operator = bed.operator().await;
    let first = bed.item_id("orders-db");
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    let other = fresh(&bed, "other");
    let second = ItemSpec { id: Some("z".repeat(26)), ..item("orders-db", &other) };
    let second = bed.connect.add_item("services", second).unwrap();
    let request = says(&bed, "good", Says::stalled_with_secret(Reason::AmbiguousItem)).await;
    let message = &condition(&request, "Synced").unwrap().message;
    assert!(message.contains(&first) && message.contains(&second), "{message}");
    bed.request_data("new", &[("k", DB)]).await;
    says(&bed, "new", Says::stalled(Reason::AmbiguousItem)).await;
    bed.request_data("by-id", &[("k", &format!("op://services/{second}/password"))]).await;
    says(&bed, "by-id", Says::SYNCED).await;
    assert_eq!(bed.secret("good").await, good);
    bed.connect.delete_item("services", &first).unwrap();
    for name in ["good", "new"] {
        bed.wait_value(name, "k", &other).await;
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(held(&history, "good"), [bed.value("orders-db", "password"), other.clone()]);
    assert_eq!(held(&history, "new"), [other]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_vault_is_not_found_by_its_former_name_and_is_by_its_new_one_and_its_id() {
    let bed = open_bed("fc-vault").await;
    let id = bed.connect.vault_id("services").unwrap();
    let row = json!({"name": "tenant", "namespaces": {"names": [bed.namespace]},
                     "vaults": [{"name": "services"}, {"name": "billing"}, {"id": id}]});
    bed.set_access(json!([row])).await;
    let operator = bed.operator().await;
    bed.request_data("name", &[("k", DB)]).await;
    bed.request_data("id", &[("k", &format!("op://{id}/orders-db/password"))]).await;
    for name in ["name", "id"] {
        says(&bed, name, Says::SYNCED).await;
    }
    let before = (bed.secret("name").await, bed.secret("id").await);
    bed.connect.rename_vault("services", "billing").unwrap();
    says(&bed, "name", Says::stalled_with_secret(Reason::VaultNotFound)).await;
    bed.request_data("new", &[("k", "op://billing/orders-db/password")]).await;
    for name in ["new", "id"] {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!((bed.secret("name").await, bed.secret("id").await), before);
    // Another vault takes the name.
    let other = fresh(&bed, "other");
    bed.connect.add_vault("services").unwrap();
    bed.connect.add_item("services", item("orders-db", &other)).unwrap();
    bed.wait_value("name", "k", &other).await;
    for name in ["new", "id"] {
        assert_eq!(bed.secret_values(name).await["k"], bed.value("orders-db", "password"));
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_of_a_request_asks_for_its_items_and_evicts_nothing() {
    let bed = Bed::new("fc-refresh").await;
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let operator = bed.operator().await;
    for (name, reference) in [("good", DB), ("other", API)] {
        bed.request_data(name, &[("k", reference)]).await;
        says(&bed, name, Says::SYNCED).await;
    }
    wait_kept_values(&operator, 2.0).await;
    let before = versions(&bed, &["good", "other"]).await;
    for value in ["first", "second"] {
        let annotations = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: value}}});
        bed.connect.reset_requests();
        bed.patch_request("good", annotations).await;
        let handled = |r: &portcullis::api::CredentialRequest| {
            r.status.as_ref().and_then(|s| s.last_handled_refresh_request.as_deref()) == Some(value)
        };
        bed.wait_request("good", &format!("to have handled {value}"), handled).await;
        let log = bed.connect.requests();
        assert_eq!(log.route(ITEM), 1, "its item, once: {:?}", log.by_route);
        assert!(log.log.iter().all(|r| !r.target.ends_with(&bed.item_id("orders-api"))));
        assert_eq!(kept_values(&operator), 2.0);
    }
    let after = versions(&bed, &["good", "other"]).await;
    for unchanged in ["Secret good", "Secret other", "request other"] {
        assert_eq!(after[unchanged], before[unchanged], "{unchanged}");
    }
    says(&bed, "good", Says::SYNCED).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_of_a_server_polls_and_lists_it_and_evicts_nothing() {
    let bed = Bed::new("fc-relist").await;
    bed.patch_server(json!({"spec": {"pollInterval": "1h"}})).await;
    let operator = bed.operator().await;
    for (name, reference) in [("good", DB), ("other", API)] {
        bed.request_data(name, &[("k", reference)]).await;
        says(&bed, name, Says::SYNCED).await;
    }
    wait_kept_values(&operator, 2.0).await;
    let refresh = async |value: &str| {
        bed.connect.reset_requests();
        bed.patch_server(json!({"metadata": {"annotations": {REFRESH_ANNOTATION: value}}})).await;
        wait::until("the refresh to be handled", wait::WAIT, async || {
            let handled =
                bed.get_server().await.status.and_then(|s| s.last_handled_refresh_request);
            if handled.as_deref() == Some(value) { Ok(()) } else { Err(format!("{handled:?}")) }
        })
        .await;
        asked(&bed, LIST, 1).await;
    };
    let before = versions(&bed, &["good", "other"]).await;
    refresh("first").await;
    let counts = bed.connect.requests();
    assert_eq!((counts.route(VAULTS), counts.route(LIST), counts.route(ITEM)), (1, 1, 0));
    assert_eq!(kept_values(&operator), 2.0);
    // What is new since comes with it, without a poll of its own.
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-db", &rotated);
    refresh("second").await;
    bed.wait_value("good", "k", &rotated).await;
    says(&bed, "good", Says::SYNCED).await;
    let counts = bed.connect.requests();
    assert_eq!((counts.route(VAULTS), counts.route(LIST), counts.route(ITEM)), (1, 1, 1));
    let after = versions(&bed, &["good", "other"]).await;
    for unchanged in ["Secret other", "request other"] {
        assert_eq!(after[unchanged], before[unchanged], "{unchanged}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_the_cache_stands_in_for_is_not_done_and_is_asked_for_until_it_is() {
    let bed = Bed::new("fc-stands-in").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    bed.connect.fault(FaultSpec::new(status(503)).on(ITEM));
    let annotation = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: "now"}}});
    bed.patch_request("good", annotation).await;
    let request = says(&bed, "good", Says::CACHED).await;
    assert_eq!(request.status.unwrap().last_handled_refresh_request, None);
    bed.connect.reset_requests();
    asked(&bed, ITEM, 1).await;
    bed.connect.clear_faults();
    let request = says(&bed, "good", Says::SYNCED).await;
    assert_eq!(request.status.unwrap().last_handled_refresh_request.as_deref(), Some("now"));
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_in_an_outage_takes_nothing_away_and_is_done_when_it_ends() {
    let bed = Bed::new("fc-later").await;
    let operator = bed.operator().await;
    bed.request_data("good", &[("k", DB)]).await;
    says(&bed, "good", Says::SYNCED).await;
    let good = bed.secret("good").await;
    bed.connect.stop();
    says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    let annotation = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: "now"}}});
    bed.requests()
        .patch("good", &PatchParams::default(), &Patch::Merge(annotation.clone()))
        .await
        .unwrap();
    bed.patch_server(annotation).await;
    bed.request_data("cached", &[("k", DB)]).await;
    says(&bed, "cached", Says::CACHED).await;
    let request = says(&bed, "good", Says::kept(Reason::ConnectUnavailable)).await;
    assert_eq!(request.status.unwrap().last_handled_refresh_request, None);
    assert_eq!(bed.secret("good").await, good);
    bed.connect.reset_requests();
    bed.connect.restart().unwrap();
    bed.wait_request("good", "to have handled it", |r| {
        r.status.as_ref().and_then(|s| s.last_handled_refresh_request.as_deref()) == Some("now")
    })
    .await;
    says(&bed, "good", Says::SYNCED).await;
    assert_eq!(bed.connect.requests().route(ITEM), 1);
    assert_eq!(bed.secret("good").await, good);
    operator.stop().await;
}
