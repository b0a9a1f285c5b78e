use serde::Serialize;

/// What policy may know of the past of a namespace: the variable `history` of rules, by these names in camel
/// case. All of it is of before the attempt, but for the two that say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Whether Portcullis still learns what is usual: nothing unusual is held against anybody yet.
    pub learning: bool,
    /// Seconds since the namespace first asked; 0 in its first attempt.
    pub first_seen_seconds: i64,
    /// Attempts that were granted.
    pub grants: i64,
    /// Attempts that were denied in the last day.
    pub denials_last_day: i64,
    /// Items first granted to the namespace in the last hour.
    pub new_items_last_hour: i64,
    /// Items of this attempt that the namespace was never granted. They are not yet in `newItemsLastHour`: a rate
    /// is held against the sum of both.
    pub new_items: i64,
    /// The most new items that any vault of this attempt gave out in the last day over all namespaces, those of
    /// this attempt among them.
    pub vault_items_last_day: i64,
    /// Vaults that were ever granted.
    pub vaults: i64,
    /// Items that were ever granted.
    pub items: i64,
    /// Seconds since the last grant; -1 when there was none.
    pub seconds_since_last_grant: i64,
    /// The average risk of about the last 50 attempts.
    pub average_risk: i64,
    /// The highest risk of the last 90 days.
    pub max_risk: i64,
    /// Anomalies of all attempts so far.
    pub anomalies: i64,
}
