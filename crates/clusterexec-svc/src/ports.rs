//! The SSH ports of hosts: whether something listens on them.
//!
//! The watcher takes a minute or two to report a host as unreachable. That is too late before another host is taken
//! down, so the ports of all members are connected to before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Result;
use futures_util::{StreamExt as _, stream};
use host_access::Hosts;
use model::{Address, HostCreds};
use storage_client::StorageClient;
use tokio::time::Instant;

/// For how long a port that was open counts as open: an sshd penalises clients that connect often without a log-in.
pub const FRESH: Duration = Duration::from_secs(3);

/// Timeout of a connection; a lost packet is sent again after one second.
const CONNECT: Duration = Duration::from_millis(2500);

/// The bounds of the timeout of a connection right before a go-ahead, which is four round trips of the host.
const RECHECK: Duration = Duration::from_millis(150);
const RECHECK_MAX: Duration = Duration::from_millis(500);

/// Limit of concurrent connections.
const CONCURRENT: usize = 256;

/// Credentials per request to storage: the port numbers are part of them.
const CREDS_PER_REQUEST: usize = 500;

/// The SSH ports of hosts, with a cache of their numbers and of recent answers.
#[derive(Debug)]
pub(crate) struct Ports {
    hosts: Arc<dyn Hosts>,
    known: Mutex<HashMap<Address, Port>>,
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

    fn known(&self) -> MutexGuard<'_, HashMap<Address, Port>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `addresses` on which nothing listens.
    pub(crate) async fn silent(
        &self,
        storage: &StorageClient,
        addresses: Vec<Address>,
    ) -> Result<Vec<Address>> {
        self.learn(storage, &addresses).await?;
        let look = |address: Address| async move {
            let listens = self.listens(&address).await;
            (!listens).then_some(address)
        };
        let looks = stream::iter(addresses).map(look).buffer_unordered(CONCURRENT);
        Ok(looks.filter_map(std::future::ready).collect().await)
    }

    /// Reads the port numbers that are not in the cache.
    async fn learn(&self, storage: &StorageClient, addresses: &[Address]) -> Result<()> {
        let unknown: Vec<_> = {
            let known = self.known();
            addresses.iter().filter(|address| !known.contains_key(*address)).cloned().collect()
        };
        for part in unknown.chunks(CREDS_PER_REQUEST) {
            let creds = storage.get_many::<HostCreds>(part).await?;
            let mut known = self.known();
            for creds in creds.into_iter().flatten() {
                let port = Port { number: creds.record.ssh_port, open: None };
                known.insert(creds.record.address, port);
            }
        }
        Ok(())
    }

    /// Those of `addresses` on which something listens, each with its round trip.
    pub(crate) async fn answering(
        &self,
        storage: &StorageClient,
        addresses: Vec<Address>,
    ) -> Result<BTreeMap<Address, Duration>> {
        self.learn(storage, &addresses).await?;
        let looks = addresses.into_iter().map(|address| async move {
            let took = self.connect(&address, CONNECT).await;
            if took.is_none() {
                // It may have another port number by now, and must not count as open.
                self.forget(&address);
            }
            took.map(|took| (address, took))
        });
        let looks = stream::iter(looks).buffer_unordered(CONCURRENT);
        Ok(looks.filter_map(std::future::ready).collect().await)
    }

    /// Those that still answer within four of their round trips.
    pub(crate) async fn still_answering(
        &self,
        members: BTreeMap<Address, Duration>,
    ) -> HashSet<Address> {
        let looks = members.into_iter().map(|(address, round_trip)| async move {
            let within = (round_trip * 4).clamp(RECHECK, RECHECK_MAX);
            let answers = self.connect(&address, within).await.is_some();
            if !answers {
                self.forget(&address);
            }
            answers.then_some(address)
        });
        let looks = stream::iter(looks).buffer_unordered(CONCURRENT);
        looks.filter_map(std::future::ready).collect().await
    }

    /// The round trip of a connection; `None` where the port is unknown or not open within that time.
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
        // A host without credentials is not registered any more.
        let Some(port) = port else { return false };
        if port.open.is_some_and(|open| open.elapsed() < FRESH) {
            return true;
        }
        let listens = self.hosts.is_port_open(address, port.number, CONNECT).await;
        let mut ports = self.known();
        if listens {
            ports.insert(address.into(), Port { open: Some(Instant::now()), ..port });
        } else {
            // It may have another port number by now.
            ports.remove(address);
        }
        listens
    }
}
