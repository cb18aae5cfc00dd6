//! How a host is reached: over SSH, or simulated where the watcher itself is measured or tested.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use host_access::credentials::target;
use host_access::{AccessError, Deps, Probe, probe};
use service_core::model::HostCreds;

/// The answer of a simulated host, by its address.
pub type Simulation = Arc<dyn Fn(&str) -> Result<Probe, AccessError> + Send + Sync>;

/// Logs in to hosts.
#[derive(Clone, Default)]
pub enum Prober {
    /// Over SSH.
    #[default]
    Ssh,
    /// Not at all: the function says what a host answers.
    Simulated(Simulation),
}

impl Prober {
    /// Logs in and reads the boot id.
    ///
    /// # Errors
    /// As [`host_access::probe`].
    pub(crate) async fn probe(
        &self,
        deps: &Deps,
        creds: &HostCreds,
        timeout: Duration,
    ) -> Result<Probe, AccessError> {
        match self {
            Self::Ssh => probe(&deps.run_dir, &target(creds, &deps.own_key)?, timeout).await,
            Self::Simulated(answer) => answer(&creds.address),
        }
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ssh => "Ssh",
            Self::Simulated(_) => "Simulated",
        })
    }
}
