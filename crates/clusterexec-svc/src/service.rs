//! Serves the methods of `jobs.clusterexec`, and takes over operations whose executor is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use bus::{Call, Error, Kind, Result, presence, topology, warn_unless_outage};
use host_access::Deps;
use model::messages::{ContinueOperation, CordonHost, StartOperation};
use model::{
    ClusterName, Lease, Operation, OperationKind, OperationStatus, PendingWebhook, by_kind, ident,
};
use runtime::claims::{Claim, Claims};
use runtime::{Lifecycle, random};
use serde::Serialize;
use serde_json::Value;
use storage_client::Transaction;
use storage_client::lease::Held;

use crate::accept::{OperationRequest, begin, plan};
use crate::config::Config;
use crate::context::Context;
use crate::unfinished::Unfinished;
use crate::web::Web;
use crate::{continuation, delivery, history, late_hosts, manual_cordon, rollout};

/// How often operations without an executor are looked for.
const SCAN: Duration = Duration::from_secs(30);

/// The same while another replica holds a lease: only an expired lease shows that the replica is gone.
const SCAN_HELD: Duration = Duration::from_secs(1);

/// Limit of concurrent requests: each is a few reads and one write.
const PREFETCH: usize = 16;

/// Attempts to accept an operation while the cluster or its hosts change.
const ACCEPT_ATTEMPTS: usize = 32;

/// The pause before another attempt while this process accepts another request for the cluster.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The executor of a process.
#[derive(Debug)]
pub(crate) struct ClusterExec {
    pub(crate) context: Context,
    /// Clusters whose operation this process carries out, and leases of other work that it does.
    busy: Claims,
}

/// Serves the methods of `jobs.clusterexec`, and carries operations out, until the daemon stops. `own_boot_id` is the
/// boot id of the machine that the executor runs on.
///
/// # Errors
/// When the bus is unavailable, or the secret of the webhook cannot be read.
pub async fn run(
    deps: Deps,
    config: Config,
    own_boot_id: String,
    lifecycle: &Lifecycle,
) -> Result<()> {
    serve(Context::new(deps, config, Web::network()?, own_boot_id, lifecycle)?).await
}

/// The same with a context of the caller's.
///
/// # Errors
/// When the bus is unavailable.
pub async fn serve(context: Context) -> Result<()> {
    let (bus, lifecycle) = (context.deps.bus.clone(), context.lifecycle.clone());
    let service = Arc::new(ClusterExec { context, busy: Claims::default() });
    let serving = Arc::clone(&service);
    let handler = move |call| {
        let service = Arc::clone(&serving);
        async move { service.call(call).await }
    };
    bus.serve(topology::CLUSTEREXEC, PREFETCH, &lifecycle, handler).await?;
    presence::answer_pings(&bus, topology::CLUSTEREXEC.name, &lifecycle);
    lifecycle.spawn_critical("clusterexec", service.look_for_orphans());
    Ok(())
}

impl ClusterExec {
    async fn call(self: &Arc<Self>, call: Call) -> Result<Value> {
        match call.method.as_str() {
            "continue" => return self.continue_operation(call).await,
            "cordon" => {
                let request = call.params.parse(CordonHost::ORDER)?;
                let cordoned = manual_cordon::cordon(&self.context, &request, &call.context);
                return as_json(&cordoned.await?);
            }
            "uncordon" => {
                let request = call.params.parse(CordonHost::ORDER)?;
                let uncordoned = manual_cordon::uncordon(&self.context, &request, &call.context);
                return as_json(&uncordoned.await?);
            }
            _ => {}
        }
        let kind = OperationKind::from_word(&call.method).ok_or_else(|| {
            let message = format!("the cluster executor has no method {:?}", call.method);
            Error::new(Kind::MethodNotFound, message)
        })?;
        let StartOperation { cluster_name: cluster, version, operation_id, options, dry_run } =
            call.params.parse(StartOperation::order(kind))?;
        let request = OperationRequest { cluster, kind, version, options, continues: None };
        let request = request.complete(&self.context.config.defaults)?;
        if dry_run {
            return as_json(&plan(&self.context, &request).await?.answer(&request));
        }
        documented(&self.accept(&request, operation_id, &call.context).await?)
    }

    async fn continue_operation(self: &Arc<Self>, call: Call) -> Result<Value> {
        let params: ContinueOperation = call.params.parse(ContinueOperation::ORDER)?;
        let storage = &self.context.storage;
        let request = continuation::request(storage, &params.id, params.retry_failed).await;
        // Read last: if the same request was accepted in the meantime, that is why this one is rejected.
        if let Some(id) = &params.operation_id
            && let Some(accepted) = storage.find::<Operation>(id).await?
        {
            return continued_before(accepted.record, &params.id);
        }
        let request = request?;
        if params.dry_run {
            return as_json(&plan(&self.context, &request).await?.answer(&request));
        }
        let accepted = self.accept(&request, params.operation_id, &call.context).await?;
        as_json(&accepted)
    }

    /// Accepts an operation and starts it. The answer to a repeated request is the operation that was accepted before.
    async fn accept(
        self: &Arc<Self>,
        request: &OperationRequest,
        operation_id: Option<String>,
        caller: &bus::Context,
    ) -> Result<Operation> {
        let id = operation_id.unwrap_or_else(|| random::uuid().to_string());
        ident::name(&id).map_err(|e| Error::invalid(format!("operation_id: {e}")))?;
        let (context, cluster) = (&self.context, request.cluster.as_str());
        for _ in 0..ACCEPT_ATTEMPTS {
            let planned = plan(context, request).await;
            // Read last: an operation that was accepted in the meantime is why another one is rejected.
            if let Some(accepted) = context.storage.find::<Operation>(&id).await? {
                return accepted_before(accepted.record, request);
            }
            let mut plan = planned?;
            if let Some(refused) = plan.refused.take() {
                return Err(refused.error);
            }
            // Held from before the write until the rollout has begun, so that the scan does not adopt the operation.
            let Some(claim) = self.busy.claim(cluster) else {
                // Another request is being accepted.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let now = context.deps.clock.stamp();
            let operation = plan.operation(&id, request, caller, now);
            match begin(context, plan, &operation, request.continues.as_ref()).await {
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

    /// Carries an operation out in a task of its own.
    fn carry_out(self: &Arc<Self>, claim: Claim, held: Held, operation: Operation, is_new: bool) {
        let service = Arc::clone(self);
        self.context.lifecycle.spawn("operation", async move {
            let cluster = operation.cluster.clone();
            rollout::run(&service.context, &held, operation, is_new).await;
            drop(held);
            drop(claim);
            service.prune(&cluster).await;
        });
    }

    /// Removes old operations of a cluster.
    async fn prune(&self, cluster: &ClusterName) {
        let Context { config, storage, .. } = &self.context;
        if let Err(error) = history::prune(storage, cluster, config.keep_operations).await {
            warn_unless_outage!(error, "old operations are not removed yet");
        }
    }

    async fn look_for_orphans(self: Arc<Self>) {
        let stopping = self.context.lifecycle.stopping();
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
                () = self.context.pending_webhooks.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes over operations whose executor is gone, and does what is pending beside them; false while another replica holds
    /// one that must not wait.
    async fn adopt_orphans(self: &Arc<Self>) -> Result<bool> {
        let mut none_held = true;
        let storage = &self.context.storage;
        let pending = storage.list::<PendingWebhook>().await?.into_iter();
        let pending = pending.map(|found| Unfinished::Webhook(&found.record.id).lease_name());
        let pending = pending.map(|name| (name, String::new()));
        let leases = storage.list::<Lease>().await?.into_iter().map(|found| found.record);
        let leases = leases.map(|lease| (lease.name, lease.operation));
        for (name, operation) in &pending.chain(leases).collect::<BTreeMap<_, _>>() {
            let Some(work) = Unfinished::of(name) else { continue };
            let claimed =
                if let Unfinished::Operation(cluster) = work { cluster } else { name.as_str() };
            let Some(claim) = self.busy.claim(claimed) else { continue };
            if !self.understands(operation).await? {
                continue;
            }
            let Some(held) = self.context.leases.try_acquire(name).await? else {
                // Late hosts are watched for a day: they are no reason to scan every second.
                none_held &= matches!(work, Unfinished::LateHosts(_));
                continue;
            };
            let service = Arc::clone(self);
            match work {
                Unfinished::Operation(cluster) => self.adopt(claim, held, cluster).await?,
                Unfinished::Webhook(id) => {
                    let id = id.to_owned();
                    self.context.lifecycle.spawn("webhook", async move {
                        delivery::run(&service.context, &held, &id).await;
                        drop(claim);
                    });
                }
                Unfinished::LateHosts(id) => {
                    let id = id.to_owned();
                    self.context.lifecycle.spawn("late hosts", async move {
                        late_hosts::run(&service.context, &held, &id).await;
                        drop(claim);
                    });
                }
            }
        }
        Ok(none_held)
    }

    /// Whether this version can carry an operation out. One with options of a later version is left to that, and so is one
    /// whose record cannot be read.
    async fn understands(&self, operation: &str) -> Result<bool> {
        if operation.is_empty() {
            return Ok(true);
        }
        let found = match self.context.storage.find::<Operation>(operation).await {
            Err(error) if error.kind() == Kind::Internal => {
                tracing::error!(operation.id = operation, error = chain(&error), "not taken over");
                return Ok(false);
            }
            found => found?,
        };
        let unknown = found.map(|found| found.record.options.known()).transpose();
        if let Err(why) = &unknown {
            tracing::warn!(
                operation.id = operation,
                why,
                "not taken over: a later version has begun it"
            );
        }
        Ok(unknown.is_ok())
    }

    async fn adopt(self: &Arc<Self>, claim: Claim, held: Held, cluster: &str) -> Result<()> {
        let operations = self.context.storage.list::<Operation>().await?.into_iter();
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
fn accepted_before(operation: Operation, request: &OperationRequest) -> Result<Operation> {
    if operation.cluster == request.cluster && operation.kind == request.kind {
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
fn documented(operation: &Operation) -> Result<Value> {
    let hosts = operation.untouched();
    by_kind!(operation.kind, W => as_json(&operation.record::<W>(&hosts)))
}

fn as_json(record: &impl Serialize) -> Result<Value> {
    serde_json::to_value(record)
        .map_err(|e| Error::internal("cannot write the record as JSON").with_source(e))
}
