use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The windows and ceilings of the detectors.
///
/// A new item is one that the namespace was never granted before. What was first granted in the learning period
/// counts for no ceiling after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How old a namespace must be for the absence of its profile to mean something: 7 days.
    pub old_namespace: Duration,
    /// How long a profile that was missing, foreign or broken is an anomaly of each attempt: 1 day.
    pub rebuilt_window: Duration,
    /// How long the profile of a namespace that is no more is kept after it last asked: 90 days.
    pub gone: Duration,

    /// The time in which new items are held against what is usual for the namespace: 7 days.
    pub baseline_window: Duration,
    /// How far back what is usual is taken from, before that: 8 weeks.
    pub baseline_past: Duration,
    /// How many times the usual number of new items is a burst: 4.
    pub baseline_factor: usize,
    /// New items that are no burst for anybody: 30.
    pub baseline_floor: usize,

    /// The most new items of a namespace in `burst_window`: 35.
    pub burst_items: usize,
    /// A short while: 1 hour.
    pub burst_window: Duration,
    /// The most new items of a namespace in `day_window`: 40.
    pub day_items: usize,
    /// The most new items of one consumer in `day_window`: 30.
    pub consumer_items: usize,
    /// A day.
    pub day_window: Duration,
    /// The most new items of a namespace in `drip_window`: 60.
    pub drip_items: usize,
    /// A long while: 30 days.
    pub drip_window: Duration,

    /// How many grants it takes to know the usual hours of a namespace: 24.
    pub hour_grants: usize,
    /// An hour is unusual when it and its neighbours have less than one grant in so many: 100.
    pub hour_share: usize,

    /// The most vaults that a namespace takes to in `breadth_window`: 4.
    pub breadth_vaults: usize,
    /// The most new items of one vault that a namespace takes to in `breadth_window`: 15.
    pub breadth_items: usize,
    /// A week.
    pub breadth_window: Duration,

    /// The most new items of one vault in `breadth_window` over all namespaces, of which each counts for at most
    /// `spread_share`: 20, or what `vault_factor` allows.
    pub spread_items: usize,
    /// The most that one namespace counts for in that: 5.
    pub spread_share: usize,
    /// The most new items of one vault in `day_window` over all namespaces: 40.
    pub vault_day_items: usize,
    /// The most new items of one vault in `drip_window` over all namespaces: 60, or what `vault_factor` allows.
    pub vault_drip_items: usize,
    /// How many times what was usual for a vault it may give out, where that is more: 3.
    pub vault_factor: usize,
    /// How far back what is usual for a vault is taken from: 90 days before the window.
    pub vault_past: Duration,

    /// How often a request may be created anew, in a count that halves each hour: 6.
    pub recreations: usize,

    /// How long a namespace is silent before it counts as dormant: 60 days, and longer than usual.
    pub dormant: Duration,

    /// How long a denial is held against the next try: 1 day.
    pub denied_window: Duration,
    /// The denials of a namespace in that time from which any try for something new is one too many: 8.
    pub denied_tries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            old_namespace: 7 * DAY,
            rebuilt_window: DAY,
            gone: 90 * DAY,
            baseline_window: 7 * DAY,
            baseline_past: 56 * DAY,
            baseline_factor: 4,
            baseline_floor: 30,
            burst_items: 35,
            burst_window: HOUR,
            day_items: 40,
            consumer_items: 30,
            day_window: DAY,
            drip_items: 60,
            drip_window: 30 * DAY,
            hour_grants: 24,
            hour_share: 100,
            breadth_vaults: 4,
            breadth_items: 15,
            breadth_window: 7 * DAY,
            spread_items: 20,
            spread_share: 5,
            vault_day_items: 40,
            vault_drip_items: 60,
            vault_factor: 3,
            vault_past: 90 * DAY,
            recreations: 6,
            dormant: 60 * DAY,
            denied_window: DAY,
            denied_tries: 8,
        }
    }
}
