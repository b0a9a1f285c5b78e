//! A list that has an id twice is damaged: it says of nothing what it is, and is not believed in any part.

use portcullis::api::Reason;
use portcullis_test_support::Bed;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec};

use super::{
    API, DB, ITEM, LIST, Says, VAULTS, asked, fresh, kept_values, says, server_says, set,
    wait_kept_values,
};

/// What is delivered and what is kept stay, nobody gets anything else, and the next whole list heals it all.
async fn damaged(name: &str, route: &str, server: &str) {
    let bed = Bed::new(name).await;
    let operator = bed.operator().await;
    bed.request_data("db", &[("k", DB)]).await;
    bed.request_data("api", &[("k", API)]).await;
    for name in ["db", "api"] {
        says(&bed, name, Says::SYNCED).await;
    }
    wait_kept_values(&operator, 2.0).await;
    let history = bed.observe_secrets().await;
    bed.connect.fault(FaultSpec::new(FaultKind::Repeated).on(route));
    let rotated = fresh(&bed, "rotated");
    set(&bed, "orders-db", &rotated);
    for name in ["db", "api"] {
        says(&bed, name, Says::kept(Reason::InvalidResponse)).await;
    }
    bed.request_data("new", &[("k", API)]).await;
    says(&bed, "new", Says::waits(Reason::InvalidResponse)).await;
    server_says(&bed, "Ready", server).await;
    bed.connect.reset_requests();
    asked(&bed, route, 3).await;
    assert_eq!(bed.connect.requests().route(ITEM), 0);
    assert_eq!(kept_values(&operator), 2.0);
    for name in ["db", "api", "new"] {
        assert!(history.of(name).is_empty(), "{name} was written");
    }
    bed.connect.clear_faults();
    for name in ["db", "api", "new"] {
        says(&bed, name, Says::SYNCED).await;
    }
    let value = bed.value("orders-api", "password");
    for (name, value) in [("db", &rotated), ("api", &value), ("new", &value)] {
        bed.wait_value(name, "k", value).await;
    }
    assert!(history.of("api").is_empty(), "what did not change was written");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_items_that_has_an_id_twice_is_not_believed() {
    damaged("fd-items", LIST, "True Connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_vaults_that_has_an_id_twice_is_not_believed() {
    damaged("fd-vaults", VAULTS, "False InvalidResponse").await;
}
