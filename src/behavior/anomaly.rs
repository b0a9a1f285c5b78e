/// What about an attempt was unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Which detector saw it.
    pub detector: Detector,
    /// What it saw and against what, in our own words. It names no vault but those that the attempt names.
    pub message: String,
}

/// The detectors, in the order in which their anomalies are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detector {
    /// The profile was written or changed by somebody else.
    ForeignProfile,
    /// The profile could not be read.
    BrokenProfile,
    /// An old namespace has no profile.
    MissingProfile,
    /// The namespace was never granted anything.
    FirstAppearance,
    /// The namespace was never granted anything of this vault.
    NewVault,
    /// The namespace was never granted anything of this environment.
    NewEnvironment,
    /// The namespace asks for far more new items than it used to.
    BurstOverBaseline,
    /// The namespace, or one consumer in it, asks for more new items in a short time than anybody may.
    BurstOverCeiling,
    /// The namespace has asked for more new items over a long time than anybody may.
    SlowDrip,
    /// The namespace asks for something new in an hour in which it never does.
    UnusualHour,
    /// The namespace takes to many vaults in a short time.
    BreadthOverVaults,
    /// The namespace takes to many items of one vault.
    BreadthWithinVault,
    /// Many namespaces take to items of one vault, a few each.
    VaultSpread,
    /// A vault gives out more new items in a day, to whomever, than it may.
    VaultBurst,
    /// A vault gives out more new items over a long time, to whomever, than it may.
    VaultDrip,
    /// One of the ceilings above is passed more than twice over.
    FarOverCeiling,
    /// A request is deleted and created again and again.
    RecreationChurn,
    /// A namespace that was silent for long asks for something new.
    DormantWaking,
    /// A request that was denied is asked again, changed, or under another name.
    DeniedThenEdited,
}

impl Detector {
    /// All of them, in order.
    pub const ALL: [Self; 19] = [
        Self::ForeignProfile,
        Self::BrokenProfile,
        Self::MissingProfile,
        Self::FirstAppearance,
        Self::NewVault,
        Self::NewEnvironment,
        Self::BurstOverBaseline,
        Self::BurstOverCeiling,
        Self::SlowDrip,
        Self::UnusualHour,
        Self::BreadthOverVaults,
        Self::BreadthWithinVault,
        Self::VaultSpread,
        Self::VaultBurst,
        Self::VaultDrip,
        Self::FarOverCeiling,
        Self::RecreationChurn,
        Self::DormantWaking,
        Self::DeniedThenEdited,
    ];

    /// The detector of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detector| detector.as_str() == name)
    }

    /// The detector as it stands in policies, status, metrics and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForeignProfile => "ForeignProfile",
            Self::BrokenProfile => "BrokenProfile",
            Self::MissingProfile => "MissingProfile",
            Self::FirstAppearance => "FirstAppearance",
            Self::NewVault => "NewVault",
            Self::NewEnvironment => "NewEnvironment",
            Self::BurstOverBaseline => "BurstOverBaseline",
            Self::BurstOverCeiling => "BurstOverCeiling",
            Self::SlowDrip => "SlowDrip",
            Self::UnusualHour => "UnusualHour",
            Self::BreadthOverVaults => "BreadthOverVaults",
            Self::BreadthWithinVault => "BreadthWithinVault",
            Self::VaultSpread => "VaultSpread",
            Self::VaultBurst => "VaultBurst",
            Self::VaultDrip => "VaultDrip",
            Self::FarOverCeiling => "FarOverCeiling",
            Self::RecreationChurn => "RecreationChurn",
            Self::DormantWaking => "DormantWaking",
            Self::DeniedThenEdited => "DeniedThenEdited",
        }
    }
}
