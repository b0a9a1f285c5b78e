//! Every interval, limit and duration of the operator, in one place.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::behavior;
use crate::leader::LeaseTiming;

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
    /// How many such looks a namespace has at once; one more comes after each `look_interval`.
    pub look_burst: NonZeroU32,
    /// The time after which a vault in use is listed again, though it did not move.
    pub relist_interval: Duration,
    /// The time between two looks at what Connect says of itself.
    pub health_interval: Duration,
    /// How long a failed fetch of an item is believed by others who want it.
    pub failed_for: Duration,
    /// How long a connection to Connect may take to open.
    pub connect_timeout: Duration,
    /// How long one request to Connect may take in all. A call, which may ask several hosts, takes twice
    /// that at most.
    pub call_timeout: Duration,
    /// How many times the hosts of a server are gone through again when none of them answers.
    pub connect_retries: usize,
    /// The longest pause before the first of these times; it doubles with each.
    pub connect_retry_first: Duration,
    /// The longest pause between two of them.
    pub connect_retry_max: Duration,
    /// How long a host that seems to be down is left alone; doubles as long as it stays down.
    pub cool_down_first: Duration,
    /// How long a host that stays down is left alone at most.
    pub cool_down_max: Duration,
    /// The largest item body that is read, in bytes.
    pub item_body_limit: usize,
    /// The largest file that is read, in bytes: a Secret holds no more.
    pub file_body_limit: usize,
    /// The largest list that is read, in bytes. Lists are read as they come: this much is never held.
    pub list_body_limit: usize,
    /// The largest entry of a list, in bytes.
    pub list_entry_limit: usize,
    /// The most entries of a list.
    pub list_entries: usize,
    /// How long a refusal (401, 403, 404) must last until it is believed. Connect refuses valid tokens
    /// now and then: <https://github.com/1Password/connect/issues/82>.
    pub refusal_confirm: Duration,
    /// How long a Secret whose content cannot be confirmed still counts as good, and a cached value may serve,
    /// where neither server nor request says less.
    pub max_staleness: Duration,
    /// The most that the cache holds, in sealed bytes.
    pub cache_bytes: usize,
    /// The time between two looks for cached values that are of no use any more.
    pub cache_sweep: Duration,
    /// The least time between two writes of the record of a vault, where the cache survives a restart.
    pub persist_interval: Duration,
    /// The time after which the record of a vault is written for the sake of when it was confirmed alone.
    pub persist_confirmed: Duration,

    /// How long after its installation Portcullis learns what is usual before anything unusual denies or defers.
    pub learning: Duration,
    /// The windows and ceilings of the detectors.
    pub behavior: behavior::Limits,

    /// How long a deleted policy still counts, so that delete-and-create opens no gap.
    pub policy_settle: Duration,
    /// The time after which a request is decided on again where rules read what passes.
    pub redecide_interval: Duration,
    /// The least time between two writes of what a policy came to for how many requests.
    pub tally_interval: Duration,
    /// How long a change of an access profile that nobody waits for may stay unwritten.
    pub profile_interval: Duration,
    /// The time between two looks whether the admission policy is in force that vouches for requesters.
    pub guard_interval: Duration,
    /// How long after a Secret was first written a withdrawn grant takes it back: what was withdrawn
    /// before the write is observed a little later.
    pub undo_window: Duration,

    /// Writes to the API server in flight.
    pub write_concurrency: usize,
    /// How long one write to the API server may take.
    pub write_timeout: Duration,
    /// How long the Lease is held of which one of several replicas holds; the times of client-go. A write is sent only where
    /// `write_timeout` is left of it.
    pub lease: LeaseTiming,
    /// Events that wait to be sent; what comes on top is dropped and counted.
    pub event_queue: usize,
    /// Audit records that wait to be written, without denials; whoever brings another one waits for room.
    pub audit_room: usize,
    /// Denials that wait to be written one by one; what comes on top is counted by namespace.
    pub audit_denial_room: usize,
    /// How long an audit record may take to be written before it counts as not written.
    pub audit_wait: Duration,
    /// The pause before a write of the audit stream that failed is tried again.
    pub audit_retry: Duration,
    /// The least time between two writes of the audit stream's checkpoint.
    pub audit_checkpoint: Duration,
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
            look_burst: const { NonZeroU32::new(12).unwrap() },
            relist_interval: Duration::from_secs(3600),
            health_interval: Duration::from_secs(300),
            failed_for: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(15),
            connect_retries: 2,
            connect_retry_first: Duration::from_millis(200),
            connect_retry_max: Duration::from_secs(2),
            cool_down_first: Duration::from_secs(5),
            cool_down_max: Duration::from_secs(60),
            item_body_limit: 4 << 20,
            file_body_limit: 1 << 20,
            list_body_limit: 256 << 20,
            list_entry_limit: 64 << 10,
            list_entries: 200_000,
            refusal_confirm: Duration::from_secs(60),
            max_staleness: Duration::from_secs(24 * 3600),
            cache_bytes: 16 << 20,
            cache_sweep: Duration::from_secs(1),
            persist_interval: Duration::from_secs(10),
            persist_confirmed: Duration::from_secs(15 * 60),
            learning: Duration::from_secs(14 * 24 * 3600),
            behavior: behavior::Limits::default(),
            policy_settle: Duration::from_secs(10),
            redecide_interval: Duration::from_secs(60),
            tally_interval: Duration::from_secs(30),
            profile_interval: Duration::from_secs(30),
            guard_interval: Duration::from_secs(60),
            undo_window: Duration::from_secs(2),
            write_concurrency: 16,
            write_timeout: Duration::from_secs(10),
            lease: LeaseTiming {
                duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry: Duration::from_secs(2),
                call: Duration::from_secs(5),
            },
            event_queue: 1024,
            audit_room: 256,
            audit_denial_room: 256,
            audit_wait: Duration::from_secs(3),
            audit_retry: Duration::from_millis(300),
            audit_checkpoint: Duration::from_secs(5),
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
            relist_interval: full.relist_interval / 30,
            health_interval: full.health_interval / 30,
            failed_for: full.failed_for / 30,
            cache_sweep: full.cache_sweep / 30,
            persist_interval: full.persist_interval / 30,
            persist_confirmed: full.persist_confirmed / 30,
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(2),
            connect_retry_first: full.connect_retry_first / 30,
            connect_retry_max: full.connect_retry_max / 30,
            cool_down_first: full.cool_down_first / 30,
            cool_down_max: full.cool_down_max / 30,
            refusal_confirm: full.refusal_confirm / 30,
            policy_settle: full.policy_settle / 30,
            redecide_interval: full.redecide_interval / 30,
            tally_interval: full.tally_interval / 30,
            profile_interval: full.profile_interval / 30,
            guard_interval: full.guard_interval / 30,
            audit_wait: Duration::from_secs(1),
            audit_retry: full.audit_retry / 30,
            audit_checkpoint: full.audit_checkpoint / 30,
            shutdown_grace: Duration::from_secs(5),
            ..full
        }
    }
}
