//! Any ceiling is passed more than twice over. To be a little over one can happen to anybody, and one anomaly says
//! so; whoever goes on is to be stopped.

use super::ceiling::Count;
use super::words;
use super::{
    breadth_within_vault, burst_over_ceiling, slow_drip, vault_burst, vault_drip, vault_spread,
};
use crate::behavior::sight::Sight;

pub(super) fn detect(sight: &Sight<'_>) -> Option<String> {
    let counts = [
        burst_over_ceiling::count(sight),
        slow_drip::count(sight),
        breadth_within_vault::count(sight),
        vault_spread::count(sight),
        vault_burst::count(sight),
        vault_drip::count(sight),
    ];
    counts.into_iter().flatten().find(Count::is_far_over).map(|over| {
        let of = match over.vault {
            Some(_) => format!("new items of {}", words::vault(over.vault)),
            None => "items new to this namespace".to_owned(),
        };
        format!("{of}: more than twice the limit of {} {}", over.most, over.in_window())
    })
}
