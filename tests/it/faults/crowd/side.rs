//! One of the two servers of the crowd, and all that goes wrong with it.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::api::Reason;
use portcullis_test_support::connect_dev::{
    ConnectDev, FaultId, FaultKind, FaultSpec, ItemSpec, StateSpec,
};
use portcullis_test_support::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portcullis_test_support::{Bed, wait};
use serde_json::json;

use super::super::{ITEM, LIST, VAULTS, status};

/// Items of each vault.
pub(super) const ITEMS: usize = 8;

/// What goes wrong in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    WrongItem,
    WrongVault,
    WrongTitle,
    Dropped,
    Reset,
    Truncated,
    Page,
    Refused,
    Errors,
    RetryLater,
    TooMany,
    Hung,
    Slow,
    /// The first host is gone; the second one has not heard of anything for some time.
    Lags,
    /// Both hosts are gone.
    Gone,
}

impl Trouble {
    pub(super) const ALL: [Self; 15] = [
        Self::WrongItem,
        Self::Gone,
        Self::Dropped,
        Self::Errors,
        Self::Lags,
        Self::Reset,
        Self::RetryLater,
        Self::WrongVault,
        Self::Hung,
        Self::Truncated,
        Self::Refused,
        Self::Page,
        Self::TooMany,
        Self::WrongTitle,
        Self::Slow,
    ];

    fn faults(self) -> Vec<FaultSpec> {
        let second = Duration::from_secs(1);
        let item = |kind, times| FaultSpec::new(kind).on(ITEM).times(times);
        match self {
            Self::WrongItem => vec![item(FaultKind::WrongItem, 6)],
            Self::WrongVault => vec![item(FaultKind::WrongVault, 4)],
            Self::WrongTitle => vec![item(FaultKind::WrongTitle, 4)],
            Self::Dropped => {
                vec![item(FaultKind::Drop, 6), FaultSpec::new(FaultKind::Drop).on(VAULTS).times(1)]
            }
            Self::Reset => vec![item(FaultKind::Reset, 5)],
            Self::Truncated => vec![
                item(FaultKind::Truncated, 5),
                FaultSpec::new(FaultKind::Truncated).on(LIST).times(1),
            ],
            Self::Page => vec![
                item(FaultKind::Html { code: 200 }, 4),
                FaultSpec::new(FaultKind::Html { code: 200 }).on(LIST).times(1),
            ],
            Self::Refused => vec![item(status(401), 1), item(status(403), 1), item(status(404), 1)],
            Self::Errors => vec![
                item(status(500), 5),
                item(status(503), 3),
                FaultSpec::new(status(500)).on(LIST).times(1),
            ],
            Self::RetryLater => {
                let message = "an upstream body".to_owned();
                vec![item(FaultKind::RetryAfter { code: 503, message, retry_after: second }, 2)]
            }
            Self::TooMany => vec![item(FaultKind::RateLimited { retry_after: second }, 2)],
            Self::Hung => vec![item(FaultKind::Hang, 2)],
            Self::Slow => vec![FaultSpec::new(FaultKind::Latency(second / 20)).times(10)],
            Self::Lags | Self::Gone => Vec::new(),
        }
    }
}

/// One of the two servers.
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) server: String,
    pub(super) connect: ConnectDev,
    second: ConnectDev,
    /// What its token opens; both servers have both vaults, and items of the same ids in them.
    pub(super) vault: &'static str,
    faults: Vec<FaultId>,
    /// What went wrong to the end.
    pub(super) suffered: BTreeSet<Trouble>,
}

/// The beginning of every value that an item of a side ever has.
pub(super) fn stem(bed: &Bed, side: &str, item: usize) -> String {
    format!("{}-{side}-{item}-", bed.canary())
}

pub(super) fn value(bed: &Bed, side: &str, item: usize, round: usize) -> String {
    format!("{}{round}", stem(bed, side, item))
}

impl Side {
    pub(super) async fn new(bed: &Bed, name: &'static str, vault: &'static str) -> Self {
        let token = format!("{}-token-{name}", bed.canary());
        let items = |side: &str| -> Vec<ItemSpec> {
            let item =
                |i| ItemSpec::new(&format!("item-{i}")).field("password", &value(bed, side, i, 0));
            (0..ITEMS).map(item).collect()
        };
        let mut state = StateSpec::default().token(&token, &[vault]);
        for other in ["services", "infra"] {
            // What the token does not open must not turn up anywhere.
            let side = if other == vault { name.to_owned() } else { format!("{name}-hidden") };
            state = state.vault(other, items(&side));
        }
        let connect = ConnectDev::start(state).unwrap();
        let second = connect.replica().unwrap();
        let server = format!("{}-{name}", bed.class);
        let hosts = [connect.url(), second.url()];
        bed.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("token-{name}"), "namespace": bed.operator_namespace,
                         "labels": {"portcullis.dev/purpose": "connect-token"},
                         "annotations": {"portcullis.dev/allowed-hosts": hosts.join(",")}},
            "stringData": {"token": token},
        }))
        .await;
        let mut manifest = bed.server_manifest();
        manifest["metadata"]["name"] = json!(server);
        manifest["spec"]["hosts"] = json!([{"url": hosts[0]}, {"url": hosts[1]}]);
        manifest["spec"]["tokenSecretRef"] = json!({"name": format!("token-{name}")});
        manifest["spec"]["access"][0]["vaults"] = json!([{"name": "*"}]);
        bed.apply(manifest).await;
        let (faults, suffered) = (Vec::new(), BTreeSet::new());
        Self { name, server, connect, second, vault, faults, suffered }
    }

    pub(super) fn rotate(&self, bed: &Bed, round: usize) {
        for item in 0..ITEMS {
            let value = value(bed, self.name, item, round);
            self.connect
                .set_field(self.vault, &format!("item-{item}"), "password", &value)
                .unwrap();
        }
    }

    pub(super) fn begin(&mut self, trouble: Trouble) {
        let faults = trouble.faults().into_iter();
        self.faults = faults.map(|fault| self.connect.fault(fault)).collect();
    }

    /// Ends what is left of a trouble, and remembers it if that is nothing.
    pub(super) fn end(&mut self, trouble: Trouble) {
        let mut is_spent = !self.faults.is_empty();
        for fault in self.faults.drain(..) {
            is_spent &= !self.connect.clear_fault(fault);
        }
        if is_spent {
            self.suffered.insert(trouble);
        }
    }

    /// The first host goes for as long as it takes for polls to reach the second one, which lags behind.
    pub(super) async fn lag(&mut self) {
        self.second.reset_requests();
        self.connect.stop();
        wait::until("polls to reach the host that lags behind", wait::WAIT, async || {
            let polls = self.second.requests().route(VAULTS);
            if polls >= 2 { Ok(()) } else { Err(format!("{polls} polls")) }
        })
        .await;
        self.connect.restart().unwrap();
        self.second.sync_from(&self.connect);
        self.suffered.insert(Trouble::Lags);
    }

    /// Both hosts go, and a poll has noticed.
    pub(super) async fn go(&mut self, bed: &Bed) {
        self.connect.stop();
        self.second.stop();
        let unavailable = Reason::ConnectUnavailable.as_str();
        wait::until("a poll to notice the outage", wait::WAIT, async || {
            let server = bed.servers().get(&self.server).await.map_err(|e| e.to_string())?;
            let conditions = server.status.unwrap_or_default().conditions;
            let is_noticed = |c: &Condition| c.type_ == "Ready" && c.reason == unavailable;
            if conditions.iter().any(is_noticed) { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }

    pub(super) fn come_back(&mut self) {
        self.connect.restart().unwrap();
        self.second.restart().unwrap();
        self.suffered.insert(Trouble::Gone);
    }
}
