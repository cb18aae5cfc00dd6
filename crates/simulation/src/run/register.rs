//! The registration of hosts, clusters and container managers, as it would be after their set-up.

use std::sync::Arc;

use bus::{Bus, Context};
use model::{
    Cluster, ContainerManagerConfig, Host, HostCreds, HostPlacement, HostState,
    Network as NetworkRecord, NetworkType, Status,
};
use serde_json::{Map, Value, json};
use simulated_hosts::Apply;
use storage_client::{StorageClient, Transaction};

use super::World;
use crate::kubernetes::{Kubernetes, machine_id, node_name};
use crate::processes::Ground;
use crate::scenario::kubernetes::KubernetesTraits;
use crate::scenario::{Flaw, HostTraits, address, cluster_name};

/// Hosts that are registered in one transaction.
const HOSTS_PER_WRITE: usize = 40;

impl World<'_> {
    /// Registers all hosts in their clusters, as they would be after their set-up.
    pub(super) async fn register(&mut self) -> anyhow::Result<()> {
        let Ground { network, hosts, .. } = self.processes.ground();
        let traits_of_nodes = self.scenario.kubernetes.as_ref();
        let link = network.link("administrator", &[]);
        let bus = Bus::over_transport(Arc::new(link));
        let storage = StorageClient::new(bus, Context::service("administrator"));
        http_gateway::make_default_network(&storage, NetworkType::None).await?;
        let all: Vec<usize> = (0..self.scenario.hosts.len()).collect();
        for part in all.chunks(HOSTS_PER_WRITE) {
            let mut transaction = Transaction::default();
            for host in part {
                let traits = &self.scenario.hosts[*host];
                let address = address(*host);
                hosts.add(&address);
                let key = hosts.edit(&address, |machine| {
                    apply_traits(machine, traits);
                    machine.host_key.clone()
                });
                self.truth.has_key(&address, Some(key.clone()));
                let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(&address) };
                let status = match traits_of_nodes {
                    Some(_) => Status::Active,
                    None => Status::Disassociated,
                };
                let os = "debian".to_owned();
                let record = Host { address: address.into(), status, os, ..Host::default() };
                transaction = transaction.save(&record)?.save(&creds)?;
            }
            storage.transact(&transaction).await?;
        }
        if let Some(kubernetes) = traits_of_nodes {
            register_nodes(&storage, kubernetes).await?;
        }
        for cluster in 0..self.scenario.clusters {
            let of_cluster = |host: &usize| self.scenario.cluster_of[*host] == cluster;
            let hostset =
                all.iter().copied().filter(of_cluster).map(|host| address(host).into()).collect();
            let (name, network) = (cluster_name(cluster).into(), NetworkRecord::DEFAULT.to_owned());
            let manager = traits_of_nodes.map(|kubernetes| kubernetes.manager_of[cluster]);
            let container_manager = manager.map(manager_name).unwrap_or_default();
            let record =
                Cluster { name, network, hostset, container_manager, ..Cluster::default() };
            storage.save(&record).await?;
        }
        for (host, traits) in self.scenario.hosts.iter().enumerate() {
            if traits.flaw == Some(Flaw::Down) {
                hosts.power_off(&address(host));
            }
        }
        if let Some(traits) = traits_of_nodes {
            let kubernetes = self.start_kubernetes(traits);
            self.processes.ground_mut().kubernetes = Some(kubernetes);
        }
        Ok(())
    }

    fn start_kubernetes(&self, traits: &KubernetesTraits) -> Kubernetes {
        let Ground { hosts, clock, .. } = self.processes.ground();
        let (seed, start) = (self.scenario.seed, clock.wall());
        let kubernetes = Kubernetes::start(seed, traits, hosts, &self.truth, start);
        tokio::task::spawn_local(kubernetes.clone().run());
        kubernetes
    }
}

fn manager_name(number: usize) -> String {
    format!("k{number}")
}

/// Registers the container managers, what is known of the hosts that are nodes, and the quorum groups.
async fn register_nodes(storage: &StorageClient, traits: &KubernetesTraits) -> anyhow::Result<()> {
    for (number, manager) in traits.managers.iter().enumerate() {
        let mut options = json!({"server_url": "https://api.test", "create_nodes": false,
            "single_node": manager.single_node});
        if let Some(max_unavailable) = manager.max_unavailable {
            options["max_unavailable"] = json!(max_unavailable);
        }
        let name = manager_name(number);
        let config = json!({"name": name, "type": "kubernetes", "options": options});
        storage.save(&serde_json::from_value::<ContainerManagerConfig>(config)?).await?;
    }
    let groups = traits.quorum_groups.iter().enumerate();
    let groups: Vec<_> =
        groups.flat_map(|(it, of)| of.iter().map(move |host| (*host, it))).collect();
    for (host, node) in traits.nodes.iter().enumerate() {
        if let Some(node) = node {
            let (address, machine_id) = (address(host).into(), machine_id(node.machine_id));
            let known =
                HostState { address, machine_id, runs_kubelet: true, ..HostState::default() };
            storage.save(&known).await?;
        }
        let group = groups.iter().find(|(member, _)| *member == host);
        let is_pinned = node.as_ref().is_some_and(|node| node.is_pinned);
        let placement = HostPlacement {
            address: address(host).into(),
            node_name: if is_pinned { node_name(host) } else { String::new() },
            quorum_group: group.map(|(_, group)| format!("group{group}")).unwrap_or_default(),
        };
        if is_pinned || group.is_some() {
            storage.save(&placement).await?;
        }
    }
    Ok(())
}

/// What makes a host key another one.
pub(super) const OTHER_KEY: &str = "B";

fn apply_traits(machine: &mut simulated_hosts::Machine, traits: &HostTraits) {
    machine.shutdown = traits.shutdown;
    machine.boot = traits.boot;
    machine.play_start = traits.play_start;
    machine.facts.ostree = true;
    let mut data: Map<String, Value> = Map::new();
    data.insert("commissaire_reboot_required".to_owned(), json!(true));
    let mut result = Ok(data);
    match traits.flaw {
        // It is switched off once it is registered.
        Some(Flaw::Down) | None => {}
        Some(Flaw::LosesCommand) => machine.loses_commands = 1,
        Some(Flaw::LosesAnswer) => machine.loses_answers = 1,
        Some(Flaw::IgnoresCommands) => machine.ignores_commands = true,
        Some(Flaw::DiskFull) => result = Err("no space left on device".to_owned()),
        Some(Flaw::FallsBack) => machine.falls_back = true,
        Some(Flaw::RebootsAgain(after)) => machine.reboots_again = Some(after),
        Some(Flaw::OtherKey) => {
            machine.next_host_key = Some(format!("{}{OTHER_KEY}", machine.host_key));
        }
        Some(Flaw::FailedUnit) => machine.failed_units.push("postgresql.service".to_owned()),
    }
    machine.apply = Apply { takes: traits.apply_takes, result, waits: Vec::new() };
}
