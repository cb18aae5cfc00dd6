//! Accepting an operation: what would happen, and why not.

use serde_json::{Value, json};
use service_core::bus::Context;
use service_core::model::{
    AlarmView, Cluster, Lease, Operation, OperationKind, OperationStatus, Options, RebootWhen,
    ident,
};
use service_core::storage::{Revised, Transaction};
use service_core::{Error, Result, abridged};

use crate::members;
use crate::rollout::{Fitness, Member, order};
use crate::service::ClusterExec;

/// An operation as it is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) cluster: String,
    pub(crate) kind: OperationKind,
    /// What to deploy; empty for other work.
    pub(crate) version: String,
    pub(crate) options: Options,
    /// The operation that it continues.
    pub(crate) continues: Option<Revised<Operation>>,
}

/// What would happen.
pub(crate) struct Plan {
    /// What must not change until the operation begins.
    pub(crate) unchanged: Transaction,
    /// In the order of their turns.
    members: Vec<Member>,
    /// Members of the cluster that are unavailable, those included that have no turn.
    unavailable: Vec<(String, String)>,
    pub(crate) budget: usize,
    pub(crate) refused: Option<Error>,
    /// While it lasts, the operation would wait.
    alarm: Option<AlarmView>,
    skip_unreachable: bool,
}

impl Wanted {
    /// Checks it, and adds the configured defaults.
    ///
    /// # Errors
    /// When an option does not make sense.
    pub(crate) fn complete(mut self, defaults: &Options) -> Result<Self> {
        self.options.validate().map_err(Error::invalid)?;
        let (kind, given) = (self.kind, &self.options);
        if kind == OperationKind::Deploy {
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
        self.options = self.options.or(defaults);
        // Defaults are for all kinds of operations.
        self.options.reboot = self.options.reboot.filter(|_| kind == OperationKind::Upgrade);
        self.options.if_needed = self.options.if_needed.filter(|_| kind == OperationKind::Restart);
        Ok(self)
    }
}

impl Plan {
    /// The operation, as it is to be written down.
    pub(crate) fn operation(
        &self,
        id: &str,
        wanted: &Wanted,
        context: &Context,
        now: String,
    ) -> Operation {
        let (left_out, turns): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|member| self.is_left_out(member));
        let addresses = |members: Vec<&Member>| {
            members.into_iter().map(|member| member.address.clone()).collect::<Vec<_>>()
        };
        let sick = turns.iter().take_while(|member| member.fitness == Fitness::Sick).count();
        Operation {
            id: id.to_owned(),
            cluster: wanted.cluster.clone(),
            kind: wanted.kind,
            version: wanted.version.clone(),
            options: wanted.options.clone(),
            status: OperationStatus::InProcess,
            reason: String::new(),
            started_by: context.principal.clone(),
            request_id: context.request_id.clone(),
            started_at: now,
            finished_at: None,
            hosts: addresses(turns),
            sick,
            left_out: addresses(left_out),
            continues: wanted.continues.as_ref().map(|before| before.record.id.clone()),
            continued_by: None,
        }
    }

    fn is_left_out(&self, member: &Member) -> bool {
        self.skip_unreachable && member.fitness == Fitness::Unavailable
    }

    /// The answer to a dry run.
    pub(crate) fn shown(&self, wanted: &Wanted) -> Value {
        let hosts: Vec<_> = self
            .members
            .iter()
            .map(|member| {
                let left_out = self.is_left_out(member);
                let action = if left_out { "skip".to_owned() } else { wanted.kind.to_string() };
                let reason = match (member.fitness, &wanted.options) {
                    (Fitness::Sick, _) => "it is sick, but can be reached: it goes first",
                    (_, Options { if_needed: Some(true), .. }) if !left_out => {
                        "only if it says that it needs it"
                    }
                    (_, Options { reboot: Some(RebootWhen::Always), .. }) if !left_out => {
                        "restarted afterwards"
                    }
                    _ => member.reason.as_str(),
                };
                json!({"address": member.address, "action": action, "reason": reason})
            })
            .collect();
        let unavailable = self.unavailable.iter();
        let unavailable =
            unavailable.map(|(address, why)| json!({"address": address, "reason": why}));
        let mut plan = json!({
            "cluster": wanted.cluster,
            "kind": wanted.kind,
            "would_start": self.refused.is_none(),
            "refused": self.refused.as_ref().map(ToString::to_string),
            "max_unavailable": self.budget,
            "unavailable": unavailable.collect::<Vec<_>>(),
            "hosts": hosts,
        });
        if let Some(alarm) = &self.alarm {
            plan["alarm"] = json!(alarm);
        }
        plan
    }
}

impl ClusterExec {
    /// Works out what would happen.
    ///
    /// # Errors
    /// When there is no such cluster, or the storage service cannot say.
    pub(crate) async fn plan(&self, wanted: &Wanted) -> Result<Plan> {
        let name = wanted.cluster.as_str();
        let unknown = |_| Error::not_found(format!("there is no cluster {name}"));
        ident::name(name).map_err(unknown)?;
        let cluster = self.storage.find::<Cluster>(name).await?;
        let cluster = cluster.ok_or_else(|| unknown(String::new()))?;
        let (hostset, options) = (&cluster.record.hostset, &wanted.options);
        let kind = wanted.kind;
        let own = &self.own_boot_id;
        let all = members::look(&self.storage, &self.ports, hostset, &[], kind, own).await?;
        let unavailable = all.iter().filter(|member| member.fitness == Fitness::Unavailable);
        let unavailable = unavailable.map(|member| (member.address.clone(), member.reason.clone()));
        let unavailable: Vec<_> = unavailable.collect();
        let mut members = all;
        if let Some(only) = &options.hosts {
            let stranger = only.iter().find(|address| !cluster.record.has(address));
            if let Some(stranger) = stranger {
                return Err(Error::invalid(format!(
                    "hosts: {stranger} is no member of the cluster {name}"
                )));
            }
            members.retain(|member| only.contains(&member.address));
        }
        order(&mut members, options.order.unwrap_or_default());
        let budget = options.budget(hostset.len());
        let mut plan = Plan {
            unchanged: Transaction::default().check::<Cluster>(name, Some(cluster.revision)),
            members,
            unavailable,
            budget,
            refused: None,
            alarm: self.alarm(name).await?.map(AlarmView::from),
            skip_unreachable: options.skip_unreachable == Some(true),
        };
        plan.refused =
            match self.storage.find::<Lease>(&format!("{}{name}", Lease::OPERATION)).await? {
                Some(_) => Some(self.already_in_process(name).await?),
                None => cluster
                    .record
                    .refusal()
                    .map(Error::conflict)
                    .or_else(|| refusal(&plan, options, hostset.len())),
            };
        Ok(plan)
    }

    /// A conflict that names the operation that is in process.
    pub(crate) async fn already_in_process(&self, cluster: &str) -> Result<Error> {
        let all = self.storage.list::<Operation>().await?.into_iter().map(|found| found.record);
        let running = all.into_iter().find(|operation| {
            operation.cluster == cluster && operation.status == OperationStatus::InProcess
        });
        let what = running.map_or("an operation".to_owned(), |operation| {
            let Operation { kind, id, started_at, started_by, .. } = operation;
            format!("the {kind} {id}, started at {started_at} by {started_by},")
        });
        Ok(Error::conflict(format!(
            "{what} of the cluster {cluster} is in process already: wait for its end, or abort it"
        )))
    }
}

/// Why the operation may not begin, if so.
fn refusal(plan: &Plan, options: &Options, total: usize) -> Option<Error> {
    let own = plan.members.iter().find(|member| member.is_self);
    if let Some(Member { address, .. }) = own.filter(|_| options.include_self != Some(true)) {
        return Some(Error::conflict(format!(
            "{address} is the machine that this is run from: with include_self it is done as the last \
             one; or name the other hosts, or take it out of the cluster"
        )));
    }
    let away = &plan.unavailable;
    if away.len() >= plan.budget.min(total) && !away.is_empty() {
        return Some(Error::conflict(format!(
            "{} of {total} hosts cannot be used already ({}), and at most {} may be unavailable at a \
             time: bring them back, or take them out of the cluster, or raise max_unavailable (with \
             skip_unreachable they are left out, but count all the same)",
            away.len(),
            abridged(away.iter().map(|(address, why)| format!("{address}: {why}")), "; "),
            plan.budget
        )));
    }
    let nobody = !plan.members.is_empty() && plan.members.iter().all(|m| plan.is_left_out(m));
    nobody.then(|| Error::conflict("none of the hosts can be reached"))
}
