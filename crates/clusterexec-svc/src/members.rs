//! The members of a cluster as they are now: by their records, and by whether anybody listens there.
//!
//! The watcher takes a minute or two to call a host unreachable. That is too late for whoever is about to
//! take another one down, so the ports of all members are looked at before.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use host_access::Hosts;
use service_core::model::{Host, HostCreds, HostState, OperationKind};
use service_core::{Result, StorageClient};
use tokio::time::Instant;

use crate::rollout::{Fitness, Member, fitness};

/// For how long a port that was open counts as open: an sshd may hold it against us when we come and go
/// without logging in, so not at every look.
pub(crate) const FRESH: Duration = Duration::from_secs(3);

/// How long a connection may take: one that is lost is sent again after a second.
const CONNECT: Duration = Duration::from_millis(2500);

/// How long the second look before a go-ahead waits for a member: a few of its round trips, at least and at most.
const SECOND_LOOK: Duration = Duration::from_millis(150);
const SECOND_LOOK_MAX: Duration = Duration::from_millis(500);

/// Connections that are tried at a time.
const AT_A_TIME: usize = 256;

/// Credentials that are read at a time: the ports are part of them.
const CREDS_AT_A_TIME: usize = 500;

/// Why a member counts as unavailable that nobody listens on.
pub(crate) const SILENT: &str = "its SSH port does not answer";

/// The hosts' SSH ports, and what is remembered of them.
#[derive(Debug)]
pub(crate) struct Ports {
    hosts: Arc<dyn Hosts>,
    known: Mutex<HashMap<String, Port>>,
}

#[derive(Debug, Clone, Copy)]
struct Port {
    number: u16,
    /// When it was last found open.
    open: Option<Instant>,
}

impl Ports {
    pub(crate) fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Port>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `addresses` on which nobody listens.
    async fn silent(&self, storage: &StorageClient, addresses: Vec<String>) -> Result<Vec<String>> {
        self.learn(storage, &addresses).await?;
        let look = |address: String| async move {
            let listens = self.listens(&address).await;
            (!listens).then_some(address)
        };
        let looks = stream::iter(addresses).map(look).buffer_unordered(AT_A_TIME);
        Ok(looks.filter_map(std::future::ready).collect().await)
    }

    /// Reads the numbers of ports that are not known.
    async fn learn(&self, storage: &StorageClient, addresses: &[String]) -> Result<()> {
        let unknown: Vec<_> = {
            let known = self.known();
            addresses.iter().filter(|address| !known.contains_key(*address)).cloned().collect()
        };
        for part in unknown.chunks(CREDS_AT_A_TIME) {
            let creds = storage.get_many::<HostCreds>(part).await?;
            let mut known = self.known();
            for creds in creds.into_iter().flatten() {
                let port = Port { number: creds.record.ssh_port, open: None };
                known.insert(creds.record.address, port);
            }
        }
        Ok(())
    }

    /// Those of `addresses` on which something listens, each with the time that the connection took.
    pub(crate) async fn answering(
        &self,
        storage: &StorageClient,
        addresses: Vec<String>,
    ) -> Result<HashMap<String, Duration>> {
        self.learn(storage, &addresses).await?;
        let looks = addresses.into_iter().map(|address| async move {
            let took = self.connect(&address, CONNECT).await;
            if took.is_none() {
                // It may have another port by now, and must not count as open.
                self.forget(&address);
            }
            took.map(|took| (address, took))
        });
        let looks = stream::iter(looks).buffer_unordered(AT_A_TIME);
        Ok(looks.filter_map(std::future::ready).collect().await)
    }

    /// Those that still answer, within a few of their round trips.
    pub(crate) async fn still_answering(
        &self,
        members: HashMap<String, Duration>,
    ) -> HashSet<String> {
        let looks = members.into_iter().map(|(address, round_trip)| async move {
            let within = (round_trip * 4).clamp(SECOND_LOOK, SECOND_LOOK_MAX);
            let answers = self.connect(&address, within).await.is_some();
            if !answers {
                self.forget(&address);
            }
            answers.then_some(address)
        });
        let looks = stream::iter(looks).buffer_unordered(AT_A_TIME);
        looks.filter_map(std::future::ready).collect().await
    }

    /// How long a connection took; none where the port is not known or not open within that time.
    async fn connect(&self, address: &str, within: Duration) -> Option<Duration> {
        let number = self.known().get(address)?.number;
        let begun = Instant::now();
        self.hosts.is_port_open(address, number, within).await.then(|| begun.elapsed())
    }

    fn forget(&self, address: &str) {
        self.known().remove(address);
    }

    async fn listens(&self, address: &str) -> bool {
        let port = self.known().get(address).copied();
        // One without credentials is not registered any more.
        let Some(port) = port else { return false };
        if port.open.is_some_and(|open| open.elapsed() < FRESH) {
            return true;
        }
        let listens = self.hosts.is_port_open(address, port.number, CONNECT).await;
        let mut ports = self.known();
        if listens {
            ports.insert(address.to_owned(), Port { open: Some(Instant::now()), ..port });
        } else {
            // It may have another port by now.
            ports.remove(address);
        }
        listens
    }
}

/// The hosts `addresses`, in that order, as far as their turns depend on them; `own_boot_id` is that of
/// the machine that this runs on. Those in `spared` are not looked at: they are away as it is.
///
/// # Errors
/// When the storage service cannot say.
pub(crate) async fn look(
    storage: &StorageClient,
    ports: &Ports,
    addresses: &[String],
    spared: &[&str],
    kind: OperationKind,
    own_boot_id: &str,
) -> Result<Vec<Member>> {
    let mut members = recorded(storage, addresses, kind, own_boot_id).await?;
    let seem_there = members.iter().filter(|member| member.fitness != Fitness::Unavailable);
    let seem_there = seem_there.map(|member| member.address.clone());
    let looked_at = seem_there.filter(|address| !spared.contains(&address.as_str())).collect();
    let silent = ports.silent(storage, looked_at).await?;
    silence(&mut members, spared, |address| !silent.iter().any(|silent| silent == address));
    Ok(members)
}

/// The hosts `addresses`, in that order, by their records alone.
///
/// # Errors
/// When the storage service cannot say.
pub(crate) async fn recorded(
    storage: &StorageClient,
    addresses: &[String],
    kind: OperationKind,
    own_boot_id: &str,
) -> Result<Vec<Member>> {
    let hosts = storage.get_many::<Host>(addresses).await?;
    let states = storage.get_many::<HostState>(addresses).await?;
    let members = addresses
        .iter()
        .zip(hosts.iter().zip(&states))
        .map(|(address, (host, state))| {
            let (host, state) =
                (host.as_ref().map(|h| &h.record), state.as_ref().map(|s| &s.record));
            member(address, host, state, kind, own_boot_id)
        })
        .collect();
    Ok(members)
}

/// Makes members unavailable that do not answer, except for those in `spared`, which hold a place anyway.
pub(crate) fn silence(members: &mut [Member], spared: &[&str], answers: impl Fn(&str) -> bool) {
    let candidates = members.iter_mut().filter(|member| member.fitness != Fitness::Unavailable);
    for member in candidates.filter(|member| !spared.contains(&member.address.as_str())) {
        if !answers(&member.address) {
            member.fitness = Fitness::Unavailable;
            SILENT.clone_into(&mut member.reason);
        }
    }
}

fn member(
    address: &str,
    host: Option<&Host>,
    state: Option<&HostState>,
    kind: OperationKind,
    own_boot_id: &str,
) -> Member {
    let fitness = fitness(host, state);
    let reason = match (fitness, host) {
        (Fitness::Unavailable, None) => "it is not registered any more".to_owned(),
        (Fitness::Unavailable, Some(host)) => {
            let why = state.map(|state| state.reason.as_str()).filter(|reason| !reason.is_empty());
            let why = why.map(|reason| format!(", {reason}")).unwrap_or_default();
            format!("its status is {}{why}", host.status)
        }
        _ => String::new(),
    };
    let done = state.and_then(|state| state.operations.get(&kind.to_string()));
    Member {
        address: address.to_owned(),
        fitness,
        reason,
        boot_id: state.map(|state| state.boot_id.clone()).unwrap_or_default(),
        is_self: state.is_some_and(|state| state.boot_id == own_boot_id),
        last_done: done.cloned().unwrap_or_default(),
    }
}
