//! Serves the methods of `jobs.clusterexec`, and finds operations that nobody works on any more.

use std::sync::Arc;
use std::time::Duration;

use host_access::Deps;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_core::bus::{Call, Context, topology};
use service_core::claims::{Claim, Claims};
use service_core::lease::{Held, Leases};
use service_core::model::{
    Alarm, Cluster, Lease, Operation, OperationKind, OperationStatus, Options, ident, work,
};
use service_core::storage::{Revised, Transaction};
use service_core::warn_unless_outage;
use service_core::{Error, Kind, Lifecycle, Result, StorageClient, alarms, presence, random};
use tokio::time::Instant;

use crate::accept::{Plan, Wanted};
use crate::config::Config;
use crate::members::Ports;
use crate::{continuation, executor, history, late, webhook};

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

/// What all operations share.
#[derive(Debug)]
pub(crate) struct ClusterExec {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    pub(crate) storage: StorageClient,
    pub(crate) lifecycle: Lifecycle,
    /// What is known of the hosts' SSH ports.
    pub(crate) ports: Ports,
    /// The boot id of the machine that this runs on.
    pub(crate) own_boot_id: String,
    leases: Leases,
    /// Clusters whose operation this process carries out, and operations whose end it tells about.
    busy: Claims,
}

/// Work that a lease stands for.
enum Unfinished<'a> {
    /// The operation of this cluster.
    Operation(&'a str),
    /// The webhook about the end of this operation.
    Webhook(&'a str),
    /// Failed hosts of this operation that may still come back.
    LateHosts(&'a str),
}

impl<'a> Unfinished<'a> {
    fn of(lease: &'a str) -> Option<Self> {
        let cluster = lease.strip_prefix(Lease::OPERATION).map(Self::Operation);
        let webhook = || lease.strip_prefix(webhook::DUE).map(Self::Webhook);
        let late = || lease.strip_prefix(late::DUE).map(Self::LateHosts);
        cluster.or_else(webhook).or_else(late)
    }

    /// What this process claims while it works on it: a cluster, or the lease itself.
    fn claimed(&self, lease: &'a str) -> &'a str {
        if let Self::Operation(cluster) = self { cluster } else { lease }
    }
}

/// The parameters of a request.
#[derive(Deserialize)]
struct Params {
    cluster_name: String,
    /// What to deploy.
    #[serde(default)]
    version: String,
    /// Given by whoever may have to ask again: what has been started once is not started twice.
    #[serde(default)]
    operation_id: Option<String>,
    #[serde(default)]
    options: Options,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// The parameters of a request to continue an operation that has ended.
#[derive(Deserialize)]
struct Continue {
    /// The operation that has ended.
    id: String,
    /// Work on the hosts that failed, too.
    #[serde(default)]
    retry_failed: bool,
    /// The id of the new operation, as for a start.
    #[serde(default)]
    operation_id: Option<String>,
    /// Only answer what would happen.
    #[serde(default)]
    dry_run: bool,
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
    let service = Arc::new(ClusterExec::new(deps, config, own_boot_id, lifecycle));
    let (bus, serving) = (service.deps.bus.clone(), Arc::clone(&service));
    let handler = move |call| {
        let service = Arc::clone(&serving);
        async move { service.call(call).await }
    };
    bus.serve(topology::CLUSTEREXEC, PREFETCH, lifecycle, handler).await?;
    presence::answer_pings(&bus, topology::CLUSTEREXEC.name, lifecycle);
    lifecycle.spawn_critical("clusterexec", service.look_for_orphans());
    Ok(())
}

impl ClusterExec {
    pub(crate) fn new(
        deps: Deps,
        config: Config,
        own_boot_id: String,
        lifecycle: &Lifecycle,
    ) -> Self {
        let storage = StorageClient::new(deps.bus.clone(), Context::service("clusterexec"));
        let owner = format!("clusterexec:{}", random::uuid());
        Self {
            leases: Leases::new(storage.clone(), lifecycle.clone(), owner, deps.lease_ttl),
            busy: Claims::default(),
            ports: Ports::new(Arc::clone(&deps.hosts)),
            own_boot_id,
            lifecycle: lifecycle.clone(),
            config,
            storage,
            deps,
        }
    }

    async fn call(self: &Arc<Self>, call: Call) -> Result<Value> {
        const NAMES: [&str; 5] = ["cluster_name", "version", "operation_id", "options", "dry_run"];
        const NO_VERSION: [&str; 4] = ["cluster_name", "operation_id", "options", "dry_run"];
        let (kind, order): (_, &[&str]) = match call.method.as_str() {
            "restart" => (OperationKind::Restart, &NO_VERSION),
            "upgrade" => (OperationKind::Upgrade, &NO_VERSION),
            "deploy" => (OperationKind::Deploy, &NAMES),
            "continue" => return self.continue_operation(call).await,
            other => {
                let message = format!("the cluster executor has no method {other:?}");
                return Err(Error::new(Kind::MethodNotFound, message));
            }
        };
        let Params { cluster_name: cluster, version, operation_id, options, dry_run } =
            call.params.parse(order)?;
        let wanted = Wanted { cluster, kind, version, options, continues: None };
        let wanted = wanted.complete(&self.config.defaults)?;
        if dry_run {
            return Ok(self.plan(&wanted).await?.shown(&wanted));
        }
        shown(&self.accept(&wanted, operation_id, &call.context).await?)
    }

    async fn continue_operation(self: &Arc<Self>, call: Call) -> Result<Value> {
        const NAMES: [&str; 4] = ["id", "retry_failed", "operation_id", "dry_run"];
        let params: Continue = call.params.parse(&NAMES)?;
        let wanted = continuation::wanted(&self.storage, &params.id, params.retry_failed).await;
        // Looked for last: the same request, accepted in the meantime, is why this one is refused.
        if let Some(id) = &params.operation_id
            && let Some(accepted) = self.storage.find::<Operation>(id).await?
        {
            return continued_before(accepted.record, &params.id);
        }
        let wanted = wanted?;
        if params.dry_run {
            return Ok(self.plan(&wanted).await?.shown(&wanted));
        }
        let accepted = self.accept(&wanted, params.operation_id, &call.context).await?;
        as_json(&accepted)
    }

    /// Accepts an operation: the lock, the operation and its documented record in one write. One that was
    /// accepted before is answered again.
    async fn accept(
        self: &Arc<Self>,
        wanted: &Wanted,
        operation_id: Option<String>,
        context: &Context,
    ) -> Result<Operation> {
        let id = operation_id.unwrap_or_else(|| random::uuid().to_string());
        ident::name(&id).map_err(|e| Error::invalid(format!("operation_id: {e}")))?;
        let cluster = wanted.cluster.as_str();
        for _ in 0..ACCEPT_ATTEMPTS {
            let planned = self.plan(wanted).await;
            // Looked for last: an operation that was accepted meanwhile is why another is refused.
            if let Some(accepted) = self.storage.find::<Operation>(&id).await? {
                return accepted_before(accepted.record, wanted);
            }
            let mut plan = planned?;
            if let Some(refused) = plan.refused.take() {
                return Err(refused);
            }
            // From before the write until the executor has begun, so that the scan keeps off.
            let Some(claim) = self.busy.claim(cluster) else {
                // Another request is being accepted: which one shows in a moment.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let now = self.deps.clock.stamp();
            let operation = plan.operation(&id, wanted, context, now);
            match self.write_down(plan, &operation, wanted.continues.as_ref()).await {
                Ok(held) => {
                    tracing::info!(cluster.name = cluster, operation.id = id, "accepted");
                    self.carry_out(claim, held, operation.clone(), true);
                    return Ok(operation);
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("the cluster {cluster} keeps being changed by others")))
    }

    /// Writes an accepted operation down, linked with the one that it continues.
    pub(crate) async fn write_down(
        &self,
        plan: Plan,
        operation: &Operation,
        continues: Option<&Revised<Operation>>,
    ) -> Result<Held> {
        let name = format!("{}{}", Lease::OPERATION, operation.cluster);
        let lease = Lease { operation: operation.id.clone(), ..self.leases.fresh(&name) };
        let mut transaction = plan.unchanged.create(&lease)?.create(operation)?;
        if let Some(Revised { record, revision }) = continues {
            let continued_by = Some(operation.id.clone());
            let record = Operation { continued_by, ..record.clone() };
            transaction = transaction.update(&Revised { record, revision: *revision })?;
        }
        let transaction = transaction.create(&executor::accepted(operation, plan.budget))?;
        let transaction = executor::save_record(transaction, operation, &operation.untouched())?;
        let since = Instant::now();
        let revision = self.storage.transact(&transaction).await?;
        Ok(self.leases.adopt(lease, revision, since))
    }

    /// The members of an operation's cluster as they are now: hosts that were removed from it do not count.
    pub(crate) async fn members_of(&self, operation: &Operation) -> Result<Vec<String>> {
        let cluster = self.storage.find::<Cluster>(&operation.cluster).await?;
        Ok(cluster.map(|cluster| cluster.record.hostset).unwrap_or_default())
    }

    /// The alarm that concerns a cluster, if there is one.
    pub(crate) async fn alarm(&self, cluster: &str) -> Result<Option<Alarm>> {
        alarms::concerning(&self.storage, cluster).await
    }

    /// Carries an operation out in a task of its own.
    fn carry_out(self: &Arc<Self>, claim: Claim, held: Held, operation: Operation, fresh: bool) {
        let service = Arc::clone(self);
        self.lifecycle.spawn("operation", async move {
            let (id, cluster) = (operation.id.clone(), operation.cluster.clone());
            executor::run(&service, &held, operation, fresh).await;
            drop(held);
            drop(claim);
            service.clean_up(&id, &cluster).await;
        });
    }

    /// What follows the end of an operation, if that is what it has come to.
    async fn clean_up(self: &Arc<Self>, id: &str, cluster: &str) {
        if let Err(error) =
            history::prune(&self.storage, cluster, self.config.keep_operations).await
        {
            warn_unless_outage!(error, "old operations are not removed yet");
        }
        let due = format!("{}{id}", webhook::DUE);
        match self.take(&due).await {
            Ok(Some((claim, held))) => self.tell(claim, held, id).await,
            Ok(None) => {}
            Err(error) => {
                warn_unless_outage!(error, "the webhook is not called; it is tried again later");
            }
        }
    }

    /// A lease that exists and that nobody holds, if this process does not hold it already.
    pub(crate) async fn take(&self, name: &str) -> Result<Option<(Claim, Held)>> {
        if self.storage.find::<Lease>(name).await?.is_none() {
            return Ok(None);
        }
        let Some(claim) = self.busy.claim(name) else { return Ok(None) };
        Ok(self.leases.try_acquire(name).await?.map(|held| (claim, held)))
    }

    /// Tells the webhook how an operation has ended.
    async fn tell(&self, claim: Claim, held: Held, id: &str) {
        let told = match &self.config.webhook_url {
            Some(url) => webhook::tell(&self.storage, url, id).await,
            None => Ok(true),
        };
        match told {
            Ok(true) => {}
            Ok(false) => tracing::error!(operation.id = id, "the webhook was not told: given up"),
            Err(error) => {
                warn_unless_outage!(
                    error,
                    operation.id = id,
                    "the webhook is not called; it is tried again later"
                );
                return;
            }
        }
        if let Err(error) = held.release(Transaction::default()).await {
            warn_unless_outage!(
                error,
                operation.id = id,
                "the webhook may be called a second time"
            );
        }
        drop(claim);
    }

    async fn look_for_orphans(self: Arc<Self>) {
        let stopping = self.lifecycle.stopping();
        tokio::pin!(stopping);
        loop {
            let pause = match self.adopt_orphans().await {
                Ok(true) => SCAN,
                Ok(false) => SCAN_HELD,
                Err(error) => {
                    warn_unless_outage!(error, "cannot look for operations to take over");
                    SCAN_HELD
                }
            };
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes over operations whose executor is gone, and what follows their ends; false while another replica holds
    /// one that must not wait.
    async fn adopt_orphans(self: &Arc<Self>) -> Result<bool> {
        let mut none_held = true;
        for lease in self.storage.list::<Lease>().await? {
            let name = &lease.record.name;
            let Some(work) = Unfinished::of(name) else { continue };
            let Some(claim) = self.busy.claim(work.claimed(name)) else { continue };
            let Some(held) = self.leases.try_acquire(name).await? else {
                // Late hosts are watched for a day: they are no reason to scan every second.
                none_held &= matches!(work, Unfinished::LateHosts(_));
                continue;
            };
            let service = Arc::clone(self);
            match work {
                Unfinished::Operation(cluster) => self.adopt(claim, held, cluster).await?,
                Unfinished::Webhook(id) => {
                    let id = id.to_owned();
                    self.lifecycle.spawn("webhook", async move {
                        service.tell(claim, held, &id).await;
                    });
                }
                Unfinished::LateHosts(id) => {
                    let id = id.to_owned();
                    self.lifecycle.spawn("late hosts", async move {
                        late::run(&service, &held, &id).await;
                        drop(claim);
                    });
                }
            }
        }
        Ok(none_held)
    }

    async fn adopt(self: &Arc<Self>, claim: Claim, held: Held, cluster: &str) -> Result<()> {
        let operations = self.storage.list::<Operation>().await?.into_iter();
        let orphan = operations.map(|operation| operation.record).find(|operation| {
            operation.cluster == cluster && operation.status == OperationStatus::InProcess
        });
        let Some(operation) = orphan else { return held.release(Transaction::default()).await };
        tracing::info!(operation.id = operation.id, cluster.name = cluster, "taken over");
        self.carry_out(claim, held, operation, false);
        Ok(())
    }
}

/// The answer to a request that was carried out before: the first one's.
fn accepted_before(operation: Operation, wanted: &Wanted) -> Result<Operation> {
    if operation.cluster == wanted.cluster && operation.kind == wanted.kind {
        return Ok(operation.as_accepted());
    }
    Err(Error::conflict("the id belongs to another operation"))
}

/// The answer to a request to continue `id` that was carried out before.
fn continued_before(operation: Operation, id: &str) -> Result<Value> {
    if operation.continues.as_deref() == Some(id) {
        return as_json(&operation.as_accepted());
    }
    Err(Error::conflict("the id belongs to another operation"))
}

/// The documented record of an operation that has just been accepted.
fn shown(operation: &Operation) -> Result<Value> {
    let hosts = operation.untouched();
    match operation.kind {
        OperationKind::Restart => as_json(&operation.record::<work::Restart>(&hosts)),
        OperationKind::Upgrade => as_json(&operation.record::<work::Upgrade>(&hosts)),
        OperationKind::Deploy => as_json(&operation.record::<work::Deploy>(&hosts)),
    }
}

fn as_json(record: &impl Serialize) -> Result<Value> {
    serde_json::to_value(record)
        .map_err(|e| Error::internal("cannot write the record as JSON").with_source(e))
}
