//! Accepting operations, and finding those that nobody works on any more.

use std::sync::Arc;
use std::time::Duration;

use host_access::Deps;
use serde::Deserialize;
use serde_json::Value;
use service_core::bus::{Call, Context, topology};
use service_core::claims::{Claim, Claims};
use service_core::error::chain;
use service_core::lease::{Held, Leases};
use service_core::model::{
    Cluster, ClusterRecord, Host, HostProgress, HostState, Lease, Operation, OperationKind,
    OperationStatus, Work, ident, work,
};
use service_core::storage::Transaction;
use service_core::{Error, Kind, Lifecycle, Result, StorageClient};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Config;
use crate::executor;
use crate::rollout::{Fitness, MAX_UNAVAILABLE, fitness, order};

/// How often operations without an executor are looked for.
const SCAN: Duration = Duration::from_secs(30);

/// How soon again while one is held by somebody else: whether that somebody is alive shows only over
/// time.
const SCAN_HELD: Duration = Duration::from_secs(1);

/// Requests that are worked on at a time: each is a few reads and one write.
const PREFETCH: usize = 16;

/// How often accepting is tried again when the cluster or its hosts change meanwhile.
const ACCEPT_ATTEMPTS: usize = 32;

/// The pause before that when this process itself is at it.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What the lease of a cluster's operation is called, before the cluster's name.
const LOCK: &str = "operation.";

/// What all operations share.
#[derive(Debug)]
pub(crate) struct ClusterExec {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    pub(crate) storage: StorageClient,
    pub(crate) lifecycle: Lifecycle,
    leases: Leases,
    /// Clusters whose operation this process carries out.
    busy: Claims,
    /// The boot id of the machine that this runs on: it is no target.
    own_boot_id: String,
}

/// An operation as it is asked for.
#[derive(Deserialize)]
struct Wanted {
    cluster_name: String,
    /// What to deploy.
    #[serde(default)]
    version: String,
    /// Given by whoever may have to ask again: what has been started once is not started twice.
    #[serde(default)]
    operation_id: Option<String>,
}

/// Serves the methods of `jobs.clusterexec`, and carries operations out, until the daemon is told to
/// stop. `own_boot_id` is that of the machine that this runs on.
///
/// # Errors
/// When the bus cannot be reached.
pub async fn run(
    deps: Deps,
    config: Config,
    own_boot_id: String,
    lifecycle: &Lifecycle,
) -> Result<()> {
    let storage = StorageClient::new(deps.bus.clone(), Context::service("clusterexec"));
    let owner = format!("clusterexec:{}", Uuid::new_v4());
    let service = Arc::new(ClusterExec {
        leases: Leases::new(storage.clone(), lifecycle.clone(), owner, deps.lease_ttl),
        busy: Claims::default(),
        own_boot_id,
        lifecycle: lifecycle.clone(),
        config,
        storage,
        deps,
    });
    let (bus, serving) = (service.deps.bus.clone(), Arc::clone(&service));
    let handler = move |call| {
        let service = Arc::clone(&serving);
        async move { service.call(call).await }
    };
    bus.serve(topology::CLUSTEREXEC, PREFETCH, lifecycle, handler).await?;
    lifecycle.spawn_critical("clusterexec", service.look_for_orphans());
    Ok(())
}

impl ClusterExec {
    async fn call(self: &Arc<Self>, call: Call) -> Result<Value> {
        let (kind, order): (_, &[&str]) = match call.method.as_str() {
            "restart" => (OperationKind::Restart, &["cluster_name", "operation_id"]),
            "upgrade" => (OperationKind::Upgrade, &["cluster_name", "operation_id"]),
            "deploy" => (OperationKind::Deploy, &["cluster_name", "version", "operation_id"]),
            other => {
                let message = format!("the cluster executor has no method {other:?}");
                return Err(Error::new(Kind::MethodNotFound, message));
            }
        };
        let mut wanted: Wanted = call.params.parse(order)?;
        if kind == OperationKind::Deploy {
            ident::version(&wanted.version).map_err(Error::invalid)?;
        } else {
            wanted.version.clear();
        }
        shown(&self.accept(kind, wanted, &call.context).await?)
    }

    /// Accepts an operation: the lock, the operation and its documented record in one write. One that was
    /// accepted before is answered again.
    async fn accept(
        self: &Arc<Self>,
        kind: OperationKind,
        Wanted { cluster_name: cluster, version, operation_id }: Wanted,
        context: &Context,
    ) -> Result<Operation> {
        let id = operation_id.unwrap_or_else(|| Uuid::new_v4().to_string());
        ident::token(&id).map_err(Error::invalid)?;
        let cluster = cluster.as_str();
        let lock = format!("{LOCK}{cluster}");
        for _ in 0..ACCEPT_ATTEMPTS {
            let planned = self.plan(cluster).await;
            // Looked for last: an operation that was accepted meanwhile is why another is refused.
            if let Some(accepted) = self.storage.find::<Operation>(&id).await? {
                return accepted_before(accepted.record, cluster, kind);
            }
            let (transaction, hosts) = planned?;
            let operation = Operation {
                id: id.clone(),
                cluster: cluster.to_owned(),
                kind,
                version: version.clone(),
                status: OperationStatus::InProcess,
                started_by: context.principal.clone(),
                request_id: context.request_id.clone(),
                started_at: self.deps.clock.stamp(),
                finished_at: None,
                hosts,
                events: Vec::new(),
            };
            let lease = self.leases.fresh(&lock);
            let transaction = transaction.create(&lease)?.create(&operation)?;
            let transaction = executor::save_record(transaction, &operation)?;
            // From before the write until the executor has begun, so that the scan keeps off.
            let Some(claim) = self.busy.claim(cluster) else {
                // Another request is being accepted: which one shows in a moment.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let since = Instant::now();
            match self.storage.transact(&transaction).await {
                Ok(revision) => {
                    tracing::info!(cluster.name = cluster, operation.id = operation.id, "accepted");
                    let held = self.leases.adopt(lease, revision, since);
                    self.carry_out(claim, held, operation.clone());
                    return Ok(operation);
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("the cluster {cluster} keeps being changed by others")))
    }

    /// The hosts in their turns, and what must not change until the operation begins.
    async fn plan(&self, name: &str) -> Result<(Transaction, Vec<HostProgress>)> {
        let unknown = |_| Error::not_found(format!("there is no cluster {name}"));
        ident::name(name).map_err(unknown)?;
        let cluster = self.storage.find::<Cluster>(name).await?;
        let cluster = cluster.ok_or_else(|| unknown(String::new()))?;
        if self.storage.find::<Lease>(&format!("{LOCK}{name}")).await?.is_some() {
            return Err(self.already_in_process(name).await);
        }
        let members = self.fit_members(&cluster.record.hostset).await?;
        let unchanged = Transaction::default().check::<Cluster>(name, Some(cluster.revision));
        Ok((unchanged, order(members)))
    }

    /// The members with their fitness; a refusal when those that are unavailable anyway leave no room
    /// for the roll, or when this very machine is one of them.
    async fn fit_members(&self, hostset: &[String]) -> Result<Vec<(String, Fitness)>> {
        let hosts = self.storage.get_many::<Host>(hostset).await?;
        let states = self.storage.get_many::<HostState>(hostset).await?;
        let mut members = Vec::with_capacity(hostset.len());
        for ((address, host), state) in hostset.iter().zip(&hosts).zip(&states) {
            let (host, state) =
                (host.as_ref().map(|h| &h.record), state.as_ref().map(|s| &s.record));
            if state.is_some_and(|state| state.boot_id == self.own_boot_id) {
                return Err(Error::conflict(format!(
                    "{address} is the machine that this is run from: take it out of the cluster first"
                )));
            }
            members.push((address.clone(), fitness(host, state)));
        }
        let unavailable: Vec<_> = members
            .iter()
            .filter(|(_, fitness)| *fitness == Fitness::Unavailable)
            .map(|(address, _)| address.as_str())
            .collect();
        if unavailable.len() >= MAX_UNAVAILABLE {
            return Err(Error::conflict(format!(
                "{} of {} hosts cannot be used already ({}), and at most {MAX_UNAVAILABLE} may be away at \
                 a time: see their status, bring them back or take them out of the cluster",
                unavailable.len(),
                members.len(),
                unavailable.join(", ")
            )));
        }
        Ok(members)
    }

    async fn already_in_process(&self, cluster: &str) -> Error {
        let running = [
            ("a restart", self.since::<work::Restart>(cluster).await),
            ("an upgrade", self.since::<work::Upgrade>(cluster).await),
            ("a deployment", self.since::<work::Deploy>(cluster).await),
        ];
        let running = running.into_iter().find_map(|(what, since)| Some((what, since?)));
        let (what, since) = running.map_or(("an operation", String::new()), |(what, since)| {
            (what, format!(", started at {since}"))
        });
        Error::conflict(format!("{what} of the cluster {cluster} is in process already{since}"))
    }

    /// Whether a watcher that may be alive says that too many hosts are unreachable.
    pub(crate) async fn is_frozen(&self) -> Result<bool> {
        let lease = self.storage.find::<Lease>(Lease::FROZEN).await?;
        Ok(lease.is_some_and(|lease| self.leases.may_be_alive(&lease)))
    }

    /// When the operation of this kind was accepted, if one is in process.
    async fn since<W: Work>(&self, cluster: &str) -> Option<String> {
        let newest = self.storage.find::<ClusterRecord<W>>(cluster).await.ok()??.record;
        (newest.status == OperationStatus::InProcess).then_some(newest.started_at)
    }

    /// Carries an operation out in a task of its own.
    fn carry_out(self: &Arc<Self>, claim: Claim, held: Held, operation: Operation) {
        let service = Arc::clone(self);
        self.lifecycle.spawn("operation", async move {
            executor::run(&service, &held, operation).await;
            drop(claim);
        });
    }

    async fn look_for_orphans(self: Arc<Self>) {
        let stopping = self.lifecycle.stopping();
        tokio::pin!(stopping);
        loop {
            let pause = match self.adopt_orphans().await {
                Ok(true) => SCAN,
                Ok(false) => SCAN_HELD,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "cannot look for operations to take over"
                    );
                    SCAN_HELD
                }
            };
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes over operations whose executor is gone; false while somebody else holds one.
    async fn adopt_orphans(self: &Arc<Self>) -> Result<bool> {
        let mut none_held = true;
        for lease in self.storage.list::<Lease>().await? {
            let Some(cluster) = lease.record.name.strip_prefix(LOCK) else { continue };
            let Some(claim) = self.busy.claim(cluster) else { continue };
            let Some(held) = self.leases.try_acquire(&lease.record.name).await? else {
                none_held = false;
                continue;
            };
            let operations = self.storage.list::<Operation>().await?.into_iter();
            let orphan = operations.map(|operation| operation.record).find(|operation| {
                operation.cluster == cluster && operation.status == OperationStatus::InProcess
            });
            match orphan {
                Some(operation) => {
                    tracing::info!(
                        operation.id = operation.id,
                        cluster.name = cluster,
                        "taken over"
                    );
                    self.carry_out(claim, held, operation);
                }
                None => held.release(Transaction::default()).await?,
            }
        }
        Ok(none_held)
    }
}

/// The answer to a request that was carried out before: the first one's.
fn accepted_before(operation: Operation, cluster: &str, kind: OperationKind) -> Result<Operation> {
    if operation.cluster == cluster && operation.kind == kind {
        return Ok(operation.as_accepted());
    }
    Err(Error::conflict("the id belongs to another operation"))
}

/// The documented record of an operation.
fn shown(operation: &Operation) -> Result<Value> {
    match operation.kind {
        OperationKind::Restart => serde_json::to_value(operation.record::<work::Restart>()),
        OperationKind::Upgrade => serde_json::to_value(operation.record::<work::Upgrade>()),
        OperationKind::Deploy => serde_json::to_value(operation.record::<work::Deploy>()),
    }
    .map_err(|e| Error::internal("cannot write the record as JSON").with_source(e))
}
