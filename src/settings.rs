//! Every interval, limit and duration of the operator, in one place.

use std::time::Duration;

/// How the operator behaves in time and size. None of this is a command-line flag: these are safety
/// windows, chosen together. Tests run at a thirtieth of the scale.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Reconciles at the same time.
    pub workers: usize,
    /// How many of the workers only take requests that someone waits for.
    pub interactive_workers: usize,
    /// How many of the workers the requests of one namespace may hold. Those that wait for their server
    /// hold none.
    pub flow_workers: usize,
    /// How often one request may be reconciled without a pause.
    pub object_burst: u32,
    /// The time after which a request that has used up its burst is reconciled once more.
    pub object_interval: Duration,
    /// The longest that one reconcile may take before it is abandoned and tried again.
    pub reconcile_timeout: Duration,
    /// The first delay before a failed request is tried again; it doubles with each failure.
    pub retry_first: Duration,
    /// The longest delay before a failed request is tried again.
    pub retry_max: Duration,

    /// The time between two polls of a server that sets none.
    pub poll_interval: Duration,
    /// Requests in flight to a server that sets no limit.
    pub server_concurrency: usize,
    /// The least time between two looks for something that was not in the last list of a vault.
    pub look_interval: Duration,
    /// How long a connection to Connect may take to open.
    pub connect_timeout: Duration,
    /// How long a call to Connect may take in all.
    pub call_timeout: Duration,
    /// The largest item body that is read, in bytes.
    pub item_body_limit: usize,
    /// The largest list that is read, in bytes.
    pub list_body_limit: usize,
    /// How long a refusal (401, 403, 404) must last until it is believed. Connect refuses valid tokens
    /// now and then: <https://github.com/1Password/connect/issues/82>.
    pub refusal_confirm: Duration,
    /// How long a Secret whose content cannot be confirmed still counts as good.
    pub max_staleness: Duration,

    /// How long a deleted policy still counts, so that delete-and-create opens no gap.
    pub policy_settle: Duration,
    /// How long after a Secret was first written a withdrawn grant takes it back: what was withdrawn
    /// before the write is observed a little later.
    pub undo_window: Duration,

    /// Writes to the API server in flight.
    pub write_concurrency: usize,
    /// How long one write to the API server may take.
    pub write_timeout: Duration,
    /// Events that wait to be sent; what comes on top is dropped and counted.
    pub event_queue: usize,
    /// How long a stop waits for reconciles that are under way.
    pub shutdown_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 32,
            interactive_workers: 8,
            flow_workers: 16,
            object_burst: 5,
            object_interval: Duration::from_secs(1),
            reconcile_timeout: Duration::from_secs(60),
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(300),
            poll_interval: Duration::from_secs(30),
            server_concurrency: 8,
            look_interval: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(15),
            item_body_limit: 4 << 20,
            list_body_limit: 16 << 20,
            refusal_confirm: Duration::from_secs(60),
            max_staleness: Duration::from_secs(24 * 3600),
            policy_settle: Duration::from_secs(10),
            undo_window: Duration::from_secs(2),
            write_concurrency: 16,
            write_timeout: Duration::from_secs(10),
            event_queue: 1024,
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

impl Settings {
    /// The defaults with every window that a test would have to wait for at a thirtieth; the time that
    /// a real part may need to answer stays.
    #[must_use]
    pub fn for_tests() -> Self {
        let full = Self::default();
        Self {
            object_interval: full.object_interval / 30,
            retry_first: full.retry_first / 30,
            retry_max: full.retry_max / 30,
            poll_interval: full.poll_interval / 30,
            look_interval: full.look_interval / 30,
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(2),
            refusal_confirm: full.refusal_confirm / 30,
            policy_settle: full.policy_settle / 30,
            shutdown_grace: Duration::from_secs(5),
            ..full
        }
    }
}
