//! What all checks share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use host_access::{Deps, Fencing};
use model::{Host, LeaseName};
use runtime::Lifecycle;
use storage_client::StorageClient;

use crate::config::Config;
use crate::roster::Roster;
use crate::schedule::Micros;
use crate::timeline::Timeline;

/// How long a host is left alone after a check without a result, in microseconds.
const PUT_OFF: Micros = 5_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    pub(crate) storage: StorageClient,
    /// The claims of this installation to hosts.
    pub(crate) fencing: Fencing,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) time: Timeline,
    roster: Mutex<Roster>,
}

impl Context {
    /// `name` is the one of this watcher's lease.
    pub(crate) fn new(
        deps: Deps,
        config: Config,
        storage: StorageClient,
        name: &LeaseName,
        lifecycle: &Lifecycle,
    ) -> Self {
        Self {
            roster: Mutex::new(Roster::new(name, &config)),
            time: Timeline::new(deps.clock.clone()),
            fencing: Fencing::new(&deps, &storage),
            lifecycle: lifecycle.clone(),
            config,
            deps,
            storage,
        }
    }

    // A std mutex: it is held for a few map operations and never across an await.
    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a host's record.
    pub(crate) fn saw(&self, host: &Host, revision: u64) {
        let now = self.time.now();
        self.roster().saw_host(host, revision, now);
    }

    /// Leaves a host alone for a moment.
    pub(crate) fn put_off(&self, address: &str) {
        let until = self.time.now().line + PUT_OFF;
        self.roster().put_off(address, until);
    }
}
