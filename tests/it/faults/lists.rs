//! The list of one vault fails, or is more than is read of a list: nobody else notices.

use std::time::Duration;

use portcullis::api::Reason;
use portcullis::settings::Settings;
use portcullis_test_support::connect_dev::{FaultKind, FaultSpec, ItemSpec};
use portcullis_test_support::{Bed, condition};
use serde_json::json;

use super::{DB, ITEM, LIST, Says, VAULTS, asked, fresh, says, server_says, set, status};

const ROOT: &str = "op://infra/root/password";

/// A vault whose list cannot be had for a while, to an operator of these settings.
struct Row {
    name: &'static str,
    settings: Settings,
    /// What the message says besides the vault.
    says_so: &'static str,
    reason: Reason,
    /// What a request says that is made meanwhile.
    new: Says,
}

impl Row {
    /// The list may be had in a moment: what is kept serves until then.
    fn passing(name: &'static str, says_so: &'static str) -> Self {
        let (settings, reason) = (Settings::for_tests(), Reason::ConnectUnavailable);
        Self { name, settings, says_so, reason, new: Says::CACHED }
    }

    /// The list is more than is read of one: somebody has to change something, and nothing serves instead.
    fn too_much(name: &'static str, settings: Settings, says_so: &'static str) -> Self {
        let reason = Reason::InvalidResponse;
        Self { name, settings, says_so, reason, new: Says::waits(reason) }
    }

    async fn run(self, breaks: impl FnOnce(&Bed), heals: impl FnOnce(&Bed)) {
        let bed = Bed::new(self.name).await;
        let vaults = json!([{"name": "services"}, {"name": "infra"}]);
        let row =
            json!({"name": "tenant", "namespaces": {"names": [bed.namespace]}, "vaults": vaults});
        bed.set_access(json!([row])).await;
        let operator = bed.operator_with(self.settings).await;
        for (name, reference) in [("good", ROOT), ("other", DB)] {
            bed.request_data(name, &[("k", reference)]).await;
            says(&bed, name, Says::SYNCED).await;
        }
        let good = bed.secret("good").await;
        breaks(&bed);
        let rotated = fresh(&bed, "rotated");
        bed.connect.set_field("infra", "root", "password", &rotated).unwrap();
        let request = says(&bed, "good", Says::kept(self.reason)).await;
        let message = &condition(&request, "Synced").unwrap().message;
        let vault = bed.connect.vault_id("infra").unwrap();
        assert!(message.contains(self.says_so) && message.contains(&vault), "{message}");
        bed.request_data("new", &[("k", ROOT)]).await;
        says(&bed, "new", self.new).await;
        bed.request_data("unknown", &[("k", "op://infra/no-such-item/password")]).await;
        says(&bed, "unknown", Says::waits(self.reason)).await;
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
        // The list is asked for once a poll; what may pass, three times.
        bed.connect.reset_requests();
        asked(&bed, VAULTS, 4).await;
        let counts = bed.connect.requests();
        assert!(counts.route(LIST) <= 3 * (counts.route(VAULTS) + 1), "{:?}", counts.by_route);
        assert_eq!(counts.route(ITEM), 0, "{:?}", counts.by_route);
        assert_eq!(bed.secret("good").await, good);
        assert_eq!(operator.metric("portcullis_connect_breaker_open", &[]), 0.0);
        heals(&bed);
        for name in ["good", "new"] {
            bed.wait_value(name, "k", &rotated).await;
            says(&bed, name, Says::SYNCED).await;
        }
        says(&bed, "unknown", Says::stalled(Reason::ItemNotFound)).await;
        operator.stop().await;
    }

    /// The vault grows by a hundred items.
    async fn outgrown(self) {
        let fillers = || (0..100).map(|n| format!("filler-{n}"));
        let grow = |bed: &Bed| {
            for title in fillers() {
                bed.connect.add_item("infra", ItemSpec::new(&title)).unwrap();
            }
        };
        let shrink = |bed: &Bed| {
            for title in fillers() {
                bed.connect.delete_item("infra", &title).unwrap();
            }
        };
        Box::pin(self.run(grow, shrink)).await;
    }
}

/// Every call for the list fails in some way.
async fn faulty(name: &'static str, kind: FaultKind, says_so: &'static str) {
    let breaks = |bed: &Bed| {
        let vault = bed.connect.vault_id("infra").unwrap();
        bed.connect.fault(FaultSpec::new(kind).under(&format!("/v1/vaults/{vault}/items")));
    };
    Row::passing(name, says_so).run(breaks, |bed| bed.connect.clear_faults()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_too_many_bytes_hurts_its_vault_alone_and_says_so() {
    let settings = Settings { list_body_limit: 8 << 10, ..Settings::for_tests() };
    Row::too_much("fl-bytes", settings, "larger than 8192 bytes").outgrown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_too_many_entries_hurts_its_vault_alone_and_says_so() {
    let settings = Settings { list_entries: 50, ..Settings::for_tests() };
    Row::too_much("fl-entries", settings, "more than 50 entries").outgrown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_hangs_hurts_its_vault_alone() {
    faulty("fl-hang", FaultKind::Hang, "no answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_hurts_its_vault_alone() {
    faulty("fl-reset", FaultKind::Reset, "no answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_cut_short_hurts_its_vault_alone() {
    faulty("fl-cut", FaultKind::Truncated, "not as Connect's").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_a_page_hurts_its_vault_alone() {
    faulty("fl-page", FaultKind::Html { code: 200 }, "not JSON").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_says_500_hurts_its_vault_alone() {
    faulty("fl-500", status(500), "500").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_says_503_and_when_to_come_back_hurts_its_vault_alone() {
    let (message, retry_after) = ("an upstream body".to_owned(), Duration::from_secs(1));
    faulty(
        "fl-503",
        FaultKind::RetryAfter { code: 503, message, retry_after },
        "the items of vault",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_many_wait_for_is_asked_for_once() {
    let bed = Bed::new("fl-many").await;
    let slow = FaultKind::Latency(Duration::from_millis(700));
    bed.connect.fault(FaultSpec::new(slow).on(LIST));
    let operator = bed.operator().await;
    let names: Vec<String> = (0..20).map(|n| format!("orders-{n}")).collect();
    for name in &names {
        bed.request_data(name, &[("k", DB)]).await;
    }
    for name in &names {
        says(&bed, name, Says::SYNCED).await;
    }
    assert_eq!(bed.connect.requests().route(LIST), 1);
    operator.stop().await;
}
