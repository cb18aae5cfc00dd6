//! Acceptance of an operation: its plan, the reasons against it, and the transaction that begins it.

use bus;
use bus::{Error, Result};
use model::messages::{OperationPlan, PlannedAction, PlannedHost, UnavailableHost};
use model::{
    Address, AlarmView, ClusterHead, ClusterName, Drain, FailureReason, HostPlacement, Lease,
    Operation, OperationKind, OperationStatus, Options, RebootWhen, Stamp, abridged, ident,
};
use storage_client::lease::Held;
use storage_client::{Revised, Transaction, queries};
use tokio::time::Instant;

use crate::context::Context;
use crate::journal::{accepted, save_newest};
use crate::members;
use crate::node_plan::NodePlan;
use crate::nodes::Nodes;
use crate::quorum::tolerated;
use crate::rejection::Rejection;
use crate::schedule::{Availability, Member, order};
use crate::unfinished::Unfinished;

/// A request for an operation.
#[derive(Debug)]
pub struct OperationRequest {
    /// The name of the cluster.
    pub cluster: ClusterName,
    /// The kind of operation.
    pub kind: OperationKind,
    /// The version to deploy; empty for other kinds.
    pub version: String,
    /// The options of the operation.
    pub options: Options,
    /// The operation that it continues.
    pub continues: Option<Revised<Operation>>,
}

/// The plan of an operation.
#[derive(Debug)]
pub struct Plan {
    /// Checks that the cluster is unchanged when the operation begins.
    unchanged: Transaction,
    /// In the order of their turns.
    members: Vec<Member>,
    /// Unavailable members of the cluster, including those without a turn, each with the reason.
    unavailable: Vec<(Address, String)>,
    budget: usize,
    /// Why the operation would be rejected, if so.
    pub refused: Option<Rejection>,
    /// The operation would wait until this alarm ends.
    alarm: Option<AlarmView>,
    skip_unreachable: bool,
    nodes: NodePlan,
}

impl OperationRequest {
    /// Validates the options, and adds the configured defaults.
    ///
    /// # Errors
    /// When an option is invalid.
    pub(crate) fn complete(mut self, defaults: &Options) -> Result<Self> {
        self.options.known().and_then(|()| self.options.validate()).map_err(Error::invalid)?;
        let (kind, given) = (self.kind, &self.options);
        if kind.facts().takes_version {
            ident::version(&self.version).map_err(Error::invalid)?;
        } else {
            self.version.clear();
        }
        if given.reboot.is_some() && kind != OperationKind::Upgrade {
            let message =
                format!("reboot: is an option of an upgrade; a {kind} ends with one anyway");
            return Err(Error::invalid(message));
        }
        if given.if_needed == Some(true) && kind != OperationKind::Restart {
            return Err(Error::invalid(format!(
                "if_needed: is an option of a restart, not of a {kind}"
            )));
        }
        if given.packages.is_some() && kind != OperationKind::Upgrade {
            let message = format!("packages: is an option of an upgrade, not of a {kind}");
            return Err(Error::invalid(message));
        }
        if !kind.facts().reboots && given.drain == Some(Drain::Off) {
            return Err(Error::invalid("drain: false is no option of a drain"));
        }
        self.options = self.options.or(defaults);
        if let Some(ready) = &self.options.ready {
            ready.check_timeout().map_err(Error::invalid)?;
        }
        // Defaults are for all kinds of operations.
        self.options.reboot = self.options.reboot.filter(|_| kind == OperationKind::Upgrade);
        self.options.packages = self.options.packages.filter(|_| kind == OperationKind::Upgrade);
        self.options.if_needed = self.options.if_needed.filter(|_| kind == OperationKind::Restart);
        Ok(self)
    }
}

impl Plan {
    /// The record of the operation.
    pub fn operation(
        &self,
        id: &str,
        request: &OperationRequest,
        caller: &bus::Context,
        now: Stamp,
    ) -> Operation {
        let (left_out, turns): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|member| self.is_left_out(member));
        let addresses = |members: Vec<&Member>| {
            members.into_iter().map(|member| member.address.clone()).collect::<Vec<_>>()
        };
        let unhealthy = turns
            .iter()
            .take_while(|member| member.availability == Availability::Unhealthy)
            .count();
        Operation {
            id: id.to_owned(),
            cluster: request.cluster.clone(),
            kind: request.kind,
            version: request.version.clone(),
            options: request.options.clone(),
            status: OperationStatus::InProcess,
            reason: String::new(),
            started_by: caller.principal.clone(),
            request_id: caller.request_id.clone(),
            started_at: now,
            finished_at: None,
            hosts: addresses(turns),
            sick: unhealthy,
            left_out: addresses(left_out),
            continues: request.continues.as_ref().map(|before| before.record.id.clone()),
            continued_by: None,
        }
    }

    fn is_left_out(&self, member: &Member) -> bool {
        self.skip_unreachable && member.availability == Availability::Unavailable
    }

    /// The answer to a dry run.
    pub(crate) fn answer(&self, request: &OperationRequest) -> OperationPlan {
        let hosts = self.members.iter().map(|member| self.planned(member, request));
        let unavailable = self.unavailable.iter().map(|(address, reason)| UnavailableHost {
            address: address.clone(),
            reason: reason.clone(),
        });
        OperationPlan {
            cluster: request.cluster.clone(),
            kind: request.kind,
            would_start: self.refused.is_none(),
            refused: self.refused.as_ref().map(|refused| refused.error.to_string()),
            reason: self.refused.as_ref().map(|refused| refused.reason.word().to_owned()),
            max_unavailable: u64::try_from(self.budget).unwrap_or(u64::MAX),
            unavailable: unavailable.collect(),
            hosts: hosts.collect(),
            warnings: self.nodes.warnings.clone(),
            alarm: self.alarm.clone(),
        }
    }

    fn planned(&self, member: &Member, request: &OperationRequest) -> PlannedHost {
        let node = self.nodes.node(&member.address);
        let is_foreign = node.and_then(|node| node.skipped.as_deref());
        let left_out = self.is_left_out(member) || is_foreign.is_some();
        let action = if left_out { PlannedAction::Skip } else { PlannedAction::Work(request.kind) };
        let reason = match (member.availability, &request.options) {
            (Availability::Unhealthy, _) => "it is sick, but can be reached: it goes first",
            (_, Options { if_needed: Some(true), .. }) if !left_out => {
                "only if it says that it needs it"
            }
            (_, Options { reboot: Some(RebootWhen::Always), .. }) if !left_out => {
                "restarted afterwards"
            }
            _ => member.reason.as_str(),
        };
        let reason = is_foreign.unwrap_or(reason).to_owned();
        let node = node.map(|node| node.name.clone());
        PlannedHost { address: member.address.clone(), action, reason, node }
    }
}

/// Plans an operation, without any effect.
///
/// # Errors
/// When there is no such cluster, a host is not a member of it, or the storage service fails.
pub async fn plan(context: &Context, request: &OperationRequest) -> Result<Plan> {
    let (storage, name) = (&context.storage, &request.cluster);
    let unknown = |_| Error::not_found(format!("there is no cluster {name}"));
    ident::name(name).map_err(unknown)?;
    let cluster = storage.find::<ClusterHead>(name).await?;
    let cluster = cluster.ok_or_else(|| unknown(String::new()))?;
    // After the cluster: a member that leaves now raises its revision.
    let (hostset, options) = (context.members_of(name).await?, &request.options);
    let mut members = members::probed(context, &hostset, &[], request.kind).await?;
    let unavailable = members
        .iter()
        .filter(|member| member.availability == Availability::Unavailable)
        .map(|member| (member.address.clone(), member.reason.clone()))
        .collect();
    if let Some(only) = &options.hosts {
        if let Some(stranger) =
            only.iter().find(|address| !hostset.iter().any(|host| *host == **address))
        {
            return Err(Error::invalid(format!(
                "hosts: {stranger} is no member of the cluster {name}"
            )));
        }
        members.retain(|member| only.iter().any(|address| member.address == *address));
    }
    let placements = placements(context).await?;
    let rejection = match storage.find::<Lease>(&Unfinished::Operation(name).lease_name()).await? {
        Some(_) => Some(already_in_process(context, name).await?),
        None => cluster
            .record
            .refusal()
            .map(|message| Rejection::new(FailureReason::ClusterIsChanging, message)),
    };
    let manager = &cluster.record.container_manager;
    // A container manager that does not answer is not waited for if the operation is rejected anyway.
    let nodes = if manager.is_empty() || rejection.is_some() {
        NodePlan::default()
    } else {
        let instance = queries::instance(storage).await?.id;
        let nodes = Nodes::new(&context.deps.bus, manager);
        NodePlan::new(&nodes, &members, request.kind, options, &instance, &placements).await
    };
    let place = |address: &str| nodes.place(address);
    order(&mut members, options.order.unwrap_or_default(), place);
    let mut plan = Plan {
        unchanged: Transaction::default().check::<ClusterHead>(name, Some(cluster.revision)),
        members,
        unavailable,
        budget: options.budget(hostset.len()),
        refused: None,
        alarm: context.alarm(name).await?.map(AlarmView::from),
        skip_unreachable: options.skip_unreachable == Some(true),
        nodes,
    };
    plan.refused = rejection
        .or_else(|| refusal(&plan, options, hostset.len()))
        .or_else(|| plan.nodes.refused.take())
        .or_else(|| too_small_group(&plan.members, &placements));
    Ok(plan)
}

async fn placements(context: &Context) -> Result<Vec<HostPlacement>> {
    let found = context.storage.list::<HostPlacement>().await?;
    Ok(found.into_iter().map(|found| found.record).collect())
}

/// The rejection of an operation on a member of a quorum group that has no majority without it.
fn too_small_group(members: &[Member], placements: &[HostPlacement]) -> Option<Rejection> {
    let size = |group: &str| placements.iter().filter(|other| other.quorum_group == group).count();
    let HostPlacement { address, quorum_group, .. } = placements.iter().find(|placement| {
        !placement.quorum_group.is_empty()
            && tolerated(size(&placement.quorum_group)) == 0
            && members.iter().any(|member| member.address == placement.address)
    })?;
    let message = format!(
        "{address} is one of {} hosts of the quorum group {quorum_group}, which has no majority without it: add \
         hosts to the group, or take {address} out of it with `commctl host place`",
        size(quorum_group)
    );
    Some(Rejection::new(FailureReason::QuorumTooSmall, message))
}

/// A conflict that names the operation that is in process.
async fn already_in_process(context: &Context, cluster: &ClusterName) -> Result<Rejection> {
    let all = context.storage.list::<Operation>().await?.into_iter().map(|found| found.record);
    let running = all.into_iter().find(|operation| {
        operation.cluster == *cluster && operation.status == OperationStatus::InProcess
    });
    let what = running.map_or("an operation".to_owned(), |operation| {
        let Operation { kind, id, started_at, started_by, .. } = operation;
        format!("the {kind} {id}, started at {started_at} by {started_by},")
    });
    let message = format!(
        "{what} of the cluster {cluster} is in process already: wait for its end, or abort it"
    );
    Ok(Rejection::new(FailureReason::InProcess, message))
}

/// Begins an operation: its lease, its records, and the link from the one that it continues, in one transaction.
///
/// # Errors
/// A conflict if the cluster has changed or another operation has begun; or the storage service fails.
pub async fn begin(
    context: &Context,
    plan: Plan,
    operation: &Operation,
    continues: Option<&Revised<Operation>>,
) -> Result<Held> {
    let name = Unfinished::Operation(&operation.cluster).lease_name();
    let lease = Lease { operation: operation.id.clone(), ..context.leases.fresh(&name) };
    let mut transaction = plan.unchanged.create(&lease)?.create(operation)?;
    if let Some(Revised { record, revision }) = continues {
        let continued_by = Some(operation.id.clone());
        let record = Operation { continued_by, ..record.clone() };
        transaction = transaction.update(&Revised { record, revision: *revision })?;
    }
    let transaction = transaction.create(&accepted(operation, plan.budget))?;
    let transaction = save_newest(transaction, operation)?;
    let since = Instant::now();
    let revision = context.storage.transact(&transaction).await?;
    Ok(context.leases.adopt(lease, revision, since))
}

/// Why the operation is rejected, if so.
fn refusal(plan: &Plan, options: &Options, total: usize) -> Option<Rejection> {
    let own = plan.members.iter().find(|member| member.is_self);
    if let Some(Member { address, .. }) = own.filter(|_| options.include_self != Some(true)) {
        let message = format!(
            "{address} is the machine that this is run from: with include_self it is done as the last \
             one; or name the other hosts, or take it out of the cluster"
        );
        return Some(Rejection::new(FailureReason::ControllerIsMember, message));
    }
    let unavailable = &plan.unavailable;
    if unavailable.len() >= plan.budget.min(total) && !unavailable.is_empty() {
        let message = format!(
            "{} of {total} hosts cannot be used already ({}), and at most {} may be unavailable at a \
             time: bring them back, or take them out of the cluster, or raise max_unavailable (with \
             skip_unreachable they are left out, but count all the same)",
            unavailable.len(),
            abridged(unavailable.iter().map(|(address, why)| format!("{address}: {why}")), "; "),
            plan.budget
        );
        return Some(Rejection::new(FailureReason::BudgetUsedUp, message));
    }
    let all_left_out = !plan.members.is_empty() && plan.members.iter().all(|m| plan.is_left_out(m));
    let message = "none of the hosts can be reached";
    all_left_out.then(|| Rejection::new(FailureReason::NoneReachable, message))
}
