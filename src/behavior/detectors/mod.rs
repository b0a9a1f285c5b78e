//! The detectors. Each looks at an attempt with what is known and says what it saw, or nothing.

mod breadth_over_vaults;
mod breadth_within_vault;
mod burst_over_baseline;
mod burst_over_ceiling;
mod ceiling;
mod denied_then_edited;
mod dormant_waking;
mod far_over_ceiling;
mod first_appearance;
mod lost_profile;
mod new_environment;
mod new_vault;
mod recreation_churn;
mod slow_drip;
mod unusual_hour;
mod vault_burst;
mod vault_drip;
mod vault_spread;
mod words;

use super::sight::Sight;
use super::{Anomaly, Detector};

type Detect = fn(&Sight<'_>) -> Option<String>;

/// What is seen where nothing like it was seen before. The first that fires stands for all: to appear in a new
/// place is one thing, however much of it is new.
const NOVELTIES: [(Detector, Detect); 6] = [
    (Detector::ForeignProfile, lost_profile::is_foreign),
    (Detector::BrokenProfile, lost_profile::is_broken),
    (Detector::MissingProfile, lost_profile::is_missing),
    (Detector::FirstAppearance, first_appearance::detect),
    (Detector::NewVault, new_vault::detect),
    (Detector::NewEnvironment, new_environment::detect),
];

/// The others, each for itself.
const OTHERS: [(Detector, Detect); 13] = [
    (Detector::BurstOverBaseline, burst_over_baseline::detect),
    (Detector::BurstOverCeiling, burst_over_ceiling::detect),
    (Detector::SlowDrip, slow_drip::detect),
    (Detector::UnusualHour, unusual_hour::detect),
    (Detector::BreadthOverVaults, breadth_over_vaults::detect),
    (Detector::BreadthWithinVault, breadth_within_vault::detect),
    (Detector::VaultSpread, vault_spread::detect),
    (Detector::VaultBurst, vault_burst::detect),
    (Detector::VaultDrip, vault_drip::detect),
    (Detector::FarOverCeiling, far_over_ceiling::detect),
    (Detector::RecreationChurn, recreation_churn::detect),
    (Detector::DormantWaking, dormant_waking::detect),
    (Detector::DeniedThenEdited, denied_then_edited::detect),
];

/// What is unusual about an attempt.
pub(super) fn detect(sight: &Sight<'_>) -> Vec<Anomaly> {
    let run = |&(detector, detect): &(Detector, Detect)| {
        detect(sight).map(|message| Anomaly { detector, message })
    };
    NOVELTIES.iter().find_map(run).into_iter().chain(OTHERS.iter().filter_map(run)).collect()
}
