//! When the generation marks of hosts are compared. Pure.

use std::time::Duration;

use model::{HostState, Status};

use super::{Roster, Watched};
use crate::config::Config;
use crate::schedule::{Micros, SLOWED};

/// How often the generation mark of a host is confirmed, and a fenced host is looked at.
pub(super) const CLAIM_PAUSE: Micros = 10 * 60 * 1_000_000;

/// How long ago the mark of a host may have been confirmed if an installation with this configuration has it and runs. Marks are
/// confirmed by checks, which are rarer after a restore; one of them may fail.
pub fn active_within(config: &Config) -> Duration {
    let between = Duration::from_micros(CLAIM_PAUSE.unsigned_abs()) + config.interval.0 * SLOWED;
    between * 2 + Duration::from_mins(5)
}

impl Watched {
    /// Failed, for another installation has it.
    pub(super) fn is_fenced(&self) -> bool {
        self.status == Status::Failed && self.reason == HostState::FENCED
    }
}

impl Roster {
    /// Whether the generation mark of a host is to be compared with its next check.
    pub fn is_claim_due(&self, address: &str, now: Micros) -> bool {
        let claimed = self.hosts.get(address).and_then(|host| host.claimed);
        claimed.is_none_or(|claimed| now - claimed >= CLAIM_PAUSE)
    }

    /// Takes note that the generation mark of a host was compared.
    pub fn has_claimed(&mut self, address: &str, now: Micros) {
        if let Some(host) = self.hosts.get_mut(address) {
            host.claimed = Some(now);
        }
    }
}
