//! Finding hosts to look at, and claiming each by a lease.

use std::sync::Arc;
use std::time::Duration;

use host_access::Deps;
use serde_json::Value;
use service_core::bus::{Call, Context, topology};
use service_core::claims::Claims;
use service_core::error::chain;
use service_core::lease::Leases;
use service_core::model::Host;
use service_core::{Lifecycle, Result, StorageClient};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use crate::config::Config;
use crate::investigation;

/// How often all hosts are looked through for work, whatever messages say.
const SCAN: Duration = Duration::from_secs(30);

/// How soon they are looked through again while somebody else holds the lease of one: whether that
/// somebody is alive shows only over time.
const SCAN_CLAIMED: Duration = Duration::from_secs(1);

/// Messages taken at a time: each only wakes the scan.
const PREFETCH: usize = 32;

/// What the work on every host shares.
#[derive(Debug)]
pub(crate) struct Investigator {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    pub(crate) storage: StorageClient,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) ansible_slots: Semaphore,
    leases: Leases,
    slots: Arc<Semaphore>,
    /// Hosts that this process works on.
    busy: Claims,
    wake: Notify,
}

/// Investigates hosts until the daemon is told to stop.
///
/// # Errors
/// When the bus cannot be reached.
pub async fn run(deps: Deps, config: Config, lifecycle: &Lifecycle) -> Result<()> {
    let storage = StorageClient::new(deps.bus.clone(), Context::service("investigator"));
    let owner = format!("investigator:{}", Uuid::new_v4());
    let investigator = Arc::new(Investigator {
        leases: Leases::new(storage.clone(), lifecycle.clone(), owner, deps.lease_ttl),
        slots: Arc::new(Semaphore::new(config.concurrency.max(1))),
        ansible_slots: Semaphore::new(config.ansible_processes.max(1)),
        busy: Claims::default(),
        wake: Notify::new(),
        lifecycle: lifecycle.clone(),
        config,
        deps,
        storage,
    });
    let woken = Arc::clone(&investigator);
    let handler = move |_: Call| {
        woken.wake.notify_one();
        async { Ok(Value::Null) }
    };
    let bus = investigator.deps.bus.clone();
    bus.serve(topology::INVESTIGATOR, PREFETCH, lifecycle, handler).await?;
    lifecycle.spawn_critical("investigator", investigator.work());
    Ok(())
}

impl Investigator {
    async fn work(self: Arc<Self>) {
        let stopping = self.lifecycle.stopping();
        tokio::pin!(stopping);
        loop {
            let pause = match self.scan().await {
                Ok(all_claimed) if all_claimed => SCAN,
                Ok(_) => SCAN_CLAIMED,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot look for hosts to investigate");
                    SCAN_CLAIMED
                }
            };
            tokio::select! {
                () = &mut stopping => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts the work on every host that needs it and that nobody works on; false when somebody
    /// else holds the lease of one.
    async fn scan(self: &Arc<Self>) -> Result<bool> {
        let hosts = self.storage.list::<Host>().await?;
        let waiting = hosts.into_iter().map(|host| host.record);
        let mut all_claimed = true;
        for host in waiting.filter(|host| host.status.is_under_investigation()) {
            let Some(claim) = self.busy.claim(&host.address) else { continue };
            let lease = format!("investigation.{}", host.address);
            match self.leases.try_acquire(&lease).await? {
                None => all_claimed = false,
                Some(held) => {
                    let (investigator, slots) = (Arc::clone(self), Arc::clone(&self.slots));
                    self.lifecycle.spawn("investigation", async move {
                        let Ok(_slot) = slots.acquire_owned().await else { return };
                        investigation::run(&investigator, &host.address, &held).await;
                        drop(claim);
                        // The host may need another look: it was changed while we worked.
                        investigator.wake.notify_one();
                    });
                }
            }
        }
        Ok(all_claimed)
    }
}
