//! Past behaviour of a namespace, and what is unusual about a request in its light. Pure.

/// Something unusual about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What found it.
    pub detector: Detector,
    /// What was seen, and against what.
    pub message: String,
}

/// What looks for something unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detector {
    /// A vault that the namespace was never granted anything of.
    NewVault,
}

impl Detector {
    /// The name that rules, metrics and status know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        "NewVault"
    }
}

/// What is known of a namespace's past, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Whether the installation is still learning.
    pub learning: bool,
    /// Items of the namespace that were first granted in the last hour.
    pub new_items_last_hour: i64,
    /// Items of this request that the namespace was never granted before.
    pub new_items: i64,
}
