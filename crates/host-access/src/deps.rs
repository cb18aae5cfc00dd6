//! What a service that works on hosts is given.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use runtime::Clock;
use secrecy::SecretString;

use crate::hosts::Hosts;
use crate::ledger::LogInLedger;

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
