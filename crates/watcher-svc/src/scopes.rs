//! Groups of hosts that an alarm may be about, beside the fleet: large clusters, and container managers. Pure.

use std::collections::{BTreeMap, HashMap};

use model::{Address, Alarm, Cluster};

/// A cluster or a container manager with fewer hosts has no alarm of its own.
const HOSTS_MIN: usize = 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Scopes {
    /// The addresses of each scope's hosts.
    hosts: BTreeMap<String, Vec<Address>>,
    /// The scopes of each host.
    of_host: HashMap<Address, Vec<String>>,
}

impl Scopes {
    /// The scopes that these clusters make.
    pub fn new<'a>(clusters: impl IntoIterator<Item = &'a Cluster>) -> Self {
        let mut hosts = BTreeMap::<String, Vec<Address>>::new();
        for Cluster { name, hostset, container_manager, .. } in clusters {
            hosts.insert(Alarm::cluster(name), hostset.clone());
            if !container_manager.is_empty() {
                hosts
                    .entry(Alarm::manager(container_manager))
                    .or_default()
                    .extend_from_slice(hostset);
            }
        }
        hosts.retain(|_, hosts| hosts.len() >= HOSTS_MIN);
        let mut of_host = HashMap::<Address, Vec<String>>::new();
        for (scope, hosts) in &hosts {
            for host in hosts {
                of_host.entry(host.clone()).or_default().push(scope.clone());
            }
        }
        Self { hosts, of_host }
    }

    /// The scopes of a host: the fleet, and its cluster and container manager where these are large enough.
    pub fn of(&self, address: &str) -> impl Iterator<Item = &str> {
        let narrow = self.of_host.get(address).into_iter().flatten().map(String::as_str);
        std::iter::once(Alarm::FLEET).chain(narrow)
    }

    /// The hosts of a scope but the fleet; none where the scope is no more.
    pub fn hosts(&self, scope: &str) -> &[Address] {
        self.hosts.get(scope).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, manager: &str, hosts: std::ops::Range<usize>) -> Cluster {
        Cluster {
            name: name.into(),
            container_manager: manager.to_owned(),
            hostset: hosts.map(|host| format!("h{host}").into()).collect(),
            ..Cluster::default()
        }
    }

    #[test]
    fn clusters_and_managers_of_ten_hosts_are_scopes() {
        let scopes = Scopes::new(&[
            cluster("large", "", 0..10),
            cluster("small", "m", 10..16),
            cluster("other", "m", 16..20),
            cluster("few", "n", 20..29),
        ]);
        let of = |host| scopes.of(host).collect::<Vec<_>>();
        assert_eq!(of("h0"), ["fleet", "cluster.large"]);
        assert_eq!(of("h10"), ["fleet", "manager.m"]);
        assert_eq!(of("h16"), ["fleet", "manager.m"]);
        assert_eq!(of("h20"), ["fleet"]);
        assert_eq!(of("in no cluster"), ["fleet"]);
        assert_eq!(scopes.hosts("manager.m").len(), 10);
        assert_eq!(scopes.hosts("cluster.few"), [""; 0]);
    }
}
