//! Finding hosts to look at, and claiming each by a lease.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bus::{Call, Result, presence, topology, warn_unless_outage};
use host_access::Deps;
use model::{Address, Cluster, Host, HostState, Lease, LeasePurpose};
use runtime::claims::{Claim, Claims};
use runtime::{Lifecycle, random};
use serde_json::Value;
use storage_client::Transaction;
use storage_client::lease::{Held, Leases};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::context::Context;
use crate::enrollment;
use crate::registration::{self, is_waiting};
use crate::{investigation, login};

/// How often all hosts are looked through for work, whatever messages say.
const SCAN: Duration = Duration::from_secs(30);

/// How soon they are looked through again while somebody else holds the lease of one: whether that
/// somebody is alive shows only over time.
const SCAN_CLAIMED: Duration = Duration::from_secs(1);

/// Hosts that are registered with container managers at a time.
const REGISTRATIONS: usize = 16;

/// Messages taken at a time: each only wakes the scan.
const PREFETCH: usize = 32;

/// Finds the work and starts it.
#[derive(Debug)]
struct Investigator {
    context: Context,
    deadlines: enrollment::Deadlines,
    leases: Leases,
    slots: Arc<Semaphore>,
    /// Not those of investigations: a container manager that hangs holds up no host.
    registration_slots: Semaphore,
    /// Hosts that this process works on.
    busy: Claims,
    wake: Notify,
}

/// Investigates hosts until the daemon is told to stop.
///
/// # Errors
/// When the bus cannot be reached.
pub async fn run(deps: Deps, config: Config, lifecycle: &Lifecycle) -> Result<()> {
    let context = Context::new(deps, config, lifecycle);
    let Context { config, deps, storage, .. } = &context;
    let owner = format!("investigator:{}", random::uuid());
    let investigator = Arc::new(Investigator {
        leases: Leases::new(storage.clone(), lifecycle.clone(), owner, deps.lease_ttl),
        slots: Arc::new(Semaphore::new(config.concurrency.max(1))),
        registration_slots: Semaphore::new(REGISTRATIONS),
        deadlines: enrollment::Deadlines::default(),
        busy: Claims::default(),
        wake: Notify::new(),
        context,
    });
    let woken = Arc::clone(&investigator);
    let handler = move |_: Call| {
        woken.wake.notify_one();
        async { Ok(Value::Null) }
    };
    let Context { config, deps, .. } = &investigator.context;
    deps.bus.serve(topology::INVESTIGATOR, PREFETCH, lifecycle, handler).await?;
    login::serve(deps.clone(), config.connect_timeout(), lifecycle).await?;
    presence::answer_pings(&deps.bus, topology::INVESTIGATOR.name, lifecycle);
    deps.ledger.clone().sweep(lifecycle);
    lifecycle.spawn_critical("investigator", investigator.work());
    Ok(())
}

impl Investigator {
    async fn work(self: Arc<Self>) {
        let stopping = self.context.lifecycle.stopping();
        tokio::pin!(stopping);
        loop {
            let pause = match self.scan().await {
                Ok(all_claimed) if all_claimed => SCAN,
                Ok(_) => SCAN_CLAIMED,
                Err(error) => {
                    warn_unless_outage!(error, "cannot look for hosts to investigate");
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

    /// Starts the work on every host that needs it and that nobody works on, each as soon as there is
    /// a slot for it; false when somebody else holds the lease of one.
    async fn scan(self: &Arc<Self>) -> Result<bool> {
        let hosts = self.context.storage.list::<Host>().await?;
        enrollment::sweep(&self.context, &self.deadlines, &hosts).await?;
        let mut hosts: Vec<_> = hosts.into_iter().map(|host| host.record).collect();
        // So that replicas do not run after each other for the same leases.
        random::shuffle(&mut hosts);
        let mut all_claimed = true;
        for host in hosts.iter().filter(|host| host.status.is_under_investigation()) {
            if self.busy.holds(&host.address) {
                continue;
            }
            // The slot comes first: a lease that is held has to be renewed, whatever it waits for.
            let slot = tokio::select! {
                slot = Arc::clone(&self.slots).acquire_owned() => slot,
                () = self.context.lifecycle.stopping() => return Ok(true),
            };
            let Ok(slot) = slot else { return Ok(true) };
            match self.claim(&host.address).await? {
                Claimed::Here => {}
                Claimed::Elsewhere => all_claimed = false,
                Claimed::Now(claim, held) => {
                    self.investigate(host.address.clone(), (slot, claim), held);
                }
            }
        }
        all_claimed &= self.sweep_leases(&hosts).await?;
        for address in self.waiting_for_managers(&hosts).await? {
            // Kept beyond the work itself, until it is time for another try; no address has a slash.
            let Some(rest) = self.busy.claim(&format!("registration/{address}")) else { continue };
            match self.claim(&address).await? {
                Claimed::Here => {}
                Claimed::Elsewhere => all_claimed = false,
                Claimed::Now(claim, held) => self.register(address, rest, claim, held),
            }
        }
        Ok(all_claimed)
    }

    /// Removes what killed processes left: leases on hosts that others have brought to an end, or that
    /// are gone; false while one may be somebody's.
    async fn sweep_leases(&self, hosts: &[Host]) -> Result<bool> {
        let waiting = hosts.iter().filter(|host| host.status.is_under_investigation());
        let waiting: HashSet<_> = waiting.map(|host| host.address.as_str()).collect();
        let mut all_swept = true;
        for lease in self.context.storage.list::<Lease>().await? {
            let name = lease.record.name;
            let Some(LeasePurpose::Investigation(address)) = name.purpose() else { continue };
            let Some(_claim) = self.busy.claim(address).filter(|_| !waiting.contains(address))
            else {
                continue;
            };
            match self.leases.try_acquire(&name).await? {
                Some(held) => held.release(Transaction::default()).await?,
                None => all_swept = false,
            }
        }
        Ok(all_swept)
    }

    /// The hosts that are set up, and that the container manager of their cluster does not have yet.
    async fn waiting_for_managers(&self, hosts: &[Host]) -> Result<Vec<Address>> {
        let clusters = self.context.storage.list::<Cluster>().await?;
        let managed = clusters.into_iter().map(|cluster| cluster.record);
        let members: HashSet<_> = managed
            .filter(|cluster| !cluster.container_manager.is_empty())
            .flat_map(Cluster::into_staying)
            .collect();
        let members: Vec<_> = hosts.iter().filter(|host| members.contains(&host.address)).collect();
        let addresses: Vec<_> = members.iter().map(|host| host.address.clone()).collect();
        if addresses.is_empty() {
            return Ok(addresses);
        }
        let states = self.context.storage.get_many::<HostState>(&addresses).await?;
        let states = states.into_iter().map(|state| state.map(|state| state.record));
        let waiting = members.into_iter().zip(states);
        let waiting = waiting.filter(|(host, state)| is_waiting(host, state.as_ref()));
        Ok(waiting.map(|(host, _)| host.address.clone()).collect())
    }

    async fn claim(&self, address: &str) -> Result<Claimed> {
        let Some(claim) = self.busy.claim(address) else { return Ok(Claimed::Here) };
        let held = self.leases.try_acquire(&LeasePurpose::Investigation(address).name()).await?;
        Ok(held.map_or(Claimed::Elsewhere, |held| Claimed::Now(claim, held)))
    }

    fn investigate(
        self: &Arc<Self>,
        address: Address,
        kept: (OwnedSemaphorePermit, Claim),
        held: Held,
    ) {
        let investigator = Arc::clone(self);
        self.context.lifecycle.spawn("investigation", async move {
            investigation::run(&investigator.context, &address, &held).await;
            drop(kept);
            // The host may need another look: it was changed while we worked, or is to be registered.
            investigator.wake.notify_one();
        });
    }

    fn register(self: &Arc<Self>, address: Address, rest: Claim, claim: Claim, held: Held) {
        let investigator = Arc::clone(self);
        self.context.lifecycle.spawn("registration", async move {
            let Ok(slot) = investigator.registration_slots.acquire().await else { return };
            let pause = registration::run(&investigator.context, &address, held).await;
            drop((slot, claim));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = investigator.context.lifecycle.stopping() => {}
            }
            drop(rest);
            investigator.wake.notify_one();
        });
    }
}

/// Who works on a host.
enum Claimed {
    /// This process already.
    Here,
    /// Another one, or one that is gone.
    Elsewhere,
    /// This process from now on.
    Now(Claim, Held),
}
