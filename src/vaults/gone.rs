use std::time::{Duration, SystemTime};

use super::VaultEntry;

/// A vault that requests use and that is not in the last list of vaults any more.
#[derive(Clone, Debug)]
pub struct GoneVault {
    /// As it was.
    pub vault: VaultEntry,
    /// Since when it is gone.
    pub since: SystemTime,
    /// The last poll that it was not in; nothing where an outage came before that was believed.
    missed: Option<SystemTime>,
}

impl GoneVault {
    /// A vault that a poll has not any more.
    pub(super) fn new(vault: &VaultEntry, polled: SystemTime) -> Self {
        Self { vault: vault.clone(), since: polled, missed: Some(polled) }
    }

    /// The same after another poll that has it not.
    pub(super) fn still(&self, polled: SystemTime) -> Self {
        let since = self.missed.map_or(polled, |_| self.since);
        Self { since, ..Self::new(&self.vault, polled) }
    }

    /// After an outage: what was not believed before has to last anew.
    pub(super) fn interrupted(&self, confirm: Duration) -> Self {
        let missed = self.missed.filter(|_| self.lasted() >= confirm);
        Self { missed, ..self.clone() }
    }

    /// How long it has been gone, by what polls said: time in which nobody asked makes it no truer.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        let missed = self.missed.and_then(|at| at.duration_since(self.since).ok());
        missed.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRM: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn gone(polled: u64) -> GoneVault {
        let (id, name) = ("v".into(), "services".into());
        GoneVault::new(&VaultEntry { id, name, content_version: None, listing: None }, at(polled))
    }

    #[test]
    fn a_vault_is_gone_from_the_first_poll_without_it_to_the_last() {
        assert_eq!(gone(10).lasted(), Duration::ZERO);
        assert_eq!(gone(10).still(at(40)).still(at(80)).lasted(), Duration::from_secs(70));
    }

    #[test]
    fn an_outage_makes_nobody_believe_that_a_vault_is_gone() {
        let doubted = gone(10).still(at(60)).interrupted(CONFIRM);
        assert_eq!(doubted.lasted(), Duration::ZERO);
        assert_eq!(doubted.still(at(500)).lasted(), Duration::ZERO);
        assert_eq!(doubted.still(at(500)).still(at(530)).lasted(), Duration::from_secs(30));
    }

    #[test]
    fn a_vault_that_was_believed_to_be_gone_is_so_after_an_outage() {
        let believed = gone(10).still(at(70)).interrupted(CONFIRM);
        assert_eq!(believed.lasted(), CONFIRM);
        assert_eq!(believed.still(at(500)).lasted(), Duration::from_secs(490));
    }
}
