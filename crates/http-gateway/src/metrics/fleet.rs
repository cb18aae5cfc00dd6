//! The fleet in numbers, as it is at the time of a scrape: read from the store, so that each gateway shows the same.

use std::collections::{BTreeMap, HashMap, HashSet};

use bus::presence::Presence;
use metrics::{Gauge, Label, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use model::explain::OperationState;
use model::{
    Address, ClusterMember, ClusterName, CordonDebt, DebtState, Host, Lease, LeasePurpose,
    Operation, OperationHost, Status, Step,
};
use storage_client::queries;

use crate::api::Api;
use crate::error::ApiError;
use crate::handlers::operations::known::{self, Known};
use crate::readiness::Checks;
use crate::state::AppState;

/// The records that a scrape shows.
#[derive(Debug)]
pub(super) struct Fleet {
    hosts: Vec<Host>,
    clusters: HashMap<Address, ClusterName>,
    operations: Vec<Running>,
    debts: Vec<CordonDebt>,
    leases: Vec<Lease>,
    is_frozen: bool,
}

/// An operation in process.
#[derive(Debug)]
struct Running {
    operation: Operation,
    state: OperationState,
    hosts: Vec<OperationHost>,
}

/// As Prometheus reads it. It has a recorder of its own, so that deleted objects have no figures any more.
pub(super) fn render(fleet: Option<&Fleet>, checks: &Checks, replicas: &[Presence]) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        set(&gauge!("commissaire_fleet_readable"), usize::from(fleet.is_some()));
        if let Some(fleet) = fleet {
            fleet.hosts();
            fleet.operations();
            fleet.rest();
        }
        for (part, state) in checks.parts.iter().filter(|(_, state)| *state != "unknown") {
            set(&gauge!("commissaire_part_up", "part" => part.clone()), usize::from(state == "ok"));
        }
        let mut counts = BTreeMap::<_, usize>::new();
        for Presence { service, version, .. } in replicas {
            *counts.entry((service.clone(), version.clone())).or_default() += 1;
        }
        for ((service, version), count) in counts {
            let gauge =
                gauge!("commissaire_service_replicas", "service" => service, "version" => version);
            set(&gauge, count);
        }
    });
    recorder.handle().render()
}

impl Fleet {
    /// Reads all of it.
    ///
    /// # Errors
    /// When the storage service fails.
    pub(super) async fn read(api: &Api, state: &AppState) -> Result<Self, ApiError> {
        let storage = &api.storage;
        let (hosts, members, debts, leases, freeze) = tokio::try_join!(
            storage.list::<Host>(),
            storage.list::<ClusterMember>(),
            storage.list::<CordonDebt>(),
            storage.list::<Lease>(),
            queries::freeze(storage),
        )?;
        let members = members.into_iter().map(|found| found.record);
        let clusters: HashMap<_, _> =
            members.map(|member| (member.address, member.cluster)).collect();
        let leases: Vec<_> = leases.into_iter().map(|found| found.record).collect();
        let mut operations = Vec::new();
        for lease in &leases {
            let Some(LeasePurpose::Operation(cluster)) = lease.name.purpose() else { continue };
            if let Some(operation) = known::in_process(api, &cluster.into()).await? {
                let known = Known::read(api, state, operation).await?;
                let (state, _) = known.explain();
                let (operation, hosts) = known.into_parts();
                operations.push(Running { operation, state, hosts });
            }
        }
        Ok(Self {
            hosts: hosts.into_iter().map(|found| found.record).collect(),
            clusters,
            operations,
            debts: debts.into_iter().map(|found| found.record).collect(),
            leases,
            is_frozen: freeze.is_some(),
        })
    }

    fn hosts(&self) {
        let mut counts = BTreeMap::<_, usize>::new();
        for host in &self.hosts {
            *counts.entry((self.cluster_of(host), host.status.to_string())).or_default() += 1;
        }
        for ((cluster, status), count) in counts {
            let labels = [Label::new("cluster", cluster), Label::new("status", status)];
            set(&gauge!("commissaire_hosts", labels.iter()), count);
        }
        // A failed host is checked as well, but nothing is wrong if that takes longer.
        let checked = self.hosts.iter().filter(|host| host.status != Status::Failed);
        if let Some(oldest) = checked.filter_map(|host| host.last_check.timestamp()).min() {
            let oldest = oldest.as_duration().as_secs_f64();
            gauge!("commissaire_oldest_check_timestamp_seconds").set(oldest);
        }
    }

    fn operations(&self) {
        for Running { operation, state, hosts } in &self.operations {
            let labels = [
                Label::new("cluster", operation.cluster.to_string()),
                Label::new("kind", operation.kind.to_string()),
            ];
            let and = |name, value: String| labels.iter().cloned().chain([Label::new(name, value)]);
            let state = and("state", state.word().to_owned());
            set(&gauge!("commissaire_operations", state.collect::<Vec<_>>()), 1);
            if let Some(started) = operation.started_at.timestamp() {
                gauge!("commissaire_operation_started_timestamp_seconds", labels.iter())
                    .set(started.as_duration().as_secs_f64());
            }
            let mut steps = BTreeMap::<_, usize>::new();
            for host in hosts {
                *steps.entry(host.step.to_string()).or_default() += 1;
            }
            for (step, count) in steps {
                let labels = and("step", step).collect::<Vec<_>>();
                set(&gauge!("commissaire_operation_hosts", labels), count);
            }
            let is_member = |host: &&Host| {
                self.clusters.get(&host.address).is_some_and(|name| *name == operation.cluster)
            };
            let members: Vec<_> = self.hosts.iter().filter(is_member).collect();
            let unavailable = unavailable(&members, hosts);
            set(&gauge!("commissaire_operation_unavailable_hosts", labels.iter()), unavailable);
            let budget = operation.options.budget(members.len());
            set(&gauge!("commissaire_operation_max_unavailable_hosts", labels.iter()), budget);
        }
    }

    fn rest(&self) {
        set(&gauge!("commissaire_frozen"), usize::from(self.is_frozen));
        for (word, state) in
            [("held", DebtState::Held), ("due", DebtState::Due), ("kept", DebtState::Kept)]
        {
            let count = self.debts.iter().filter(|debt| debt.state == state).count();
            set(&gauge!("commissaire_cordoned_nodes", "state" => word), count);
        }
        let mut leases = BTreeMap::<_, usize>::new();
        for lease in self.leases.iter().filter(|lease| lease.name.purpose().is_some()) {
            let word = lease.name.split('.').next().unwrap_or_default();
            *leases.entry(word.to_owned()).or_default() += 1;
        }
        for (purpose, count) in leases {
            set(&gauge!("commissaire_leases", "purpose" => purpose), count);
        }
    }

    /// Empty for a host in no cluster.
    fn cluster_of(&self, host: &Host) -> String {
        self.clusters.get(&host.address).map(ClusterName::to_string).unwrap_or_default()
    }
}

/// Members that cannot be used, or that an operation has under way.
fn unavailable(members: &[&Host], hosts: &[OperationHost]) -> usize {
    let is_down =
        |step: Step| matches!(step, Step::Reboot | Step::Verify | Step::Settle | Step::Failed);
    let down: HashSet<_> =
        hosts.iter().filter(|host| is_down(host.step)).map(|host| &host.address).collect();
    members.iter().filter(|host| !host.status.is_ready() || down.contains(&host.address)).count()
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(u32::try_from(count).unwrap_or(u32::MAX));
}
