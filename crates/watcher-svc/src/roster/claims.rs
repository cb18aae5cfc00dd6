//! When the generation marks of hosts are compared. Pure.

use model::{HostState, Status};

use super::{Roster, Watched};
use crate::schedule::Micros;

/// How often the generation mark of a host is confirmed, and a fenced host is looked at.
pub(super) const CLAIM_PAUSE: Micros = 10 * 60 * 1_000_000;

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
