//! What a service that works on hosts is given.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use runtime::Clock;
use secrecy::SecretString;

use crate::hosts::Hosts;
use crate::ledger::LogInLedger;
use crate::ssh::Ssh;

/// See the module. Clones are cheap and share everything.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The other services.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    /// The hosts.
    pub hosts: Arc<dyn Hosts>,
    /// The server's own SSH key.
    pub own_key: SecretString,
    /// The refused log-ins of all hosts: every log-in goes through it.
    pub ledger: LogInLedger,
    /// How long a lease lasts without a sign of life.
    pub lease_ttl: Duration,
}

impl Deps {
    /// Hosts over SSH, and the machine's clock.
    pub fn over_ssh(bus: Bus, ssh: Ssh, own_key: SecretString, lease_ttl: Duration) -> Self {
        Self {
            ledger: LogInLedger::new(&bus, Clock::System),
            bus,
            clock: Clock::System,
            hosts: Arc::new(ssh),
            own_key,
            lease_ttl,
        }
    }
}
