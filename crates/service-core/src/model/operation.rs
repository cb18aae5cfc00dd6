//! An operation as the executor works on it: every step of every host, and what happened when.

use serde::{Deserialize, Serialize};

use super::{ClusterRecord, Failure, Model, OperationStatus, Work, ident};

mod result;

pub use result::{HostResult, PackageChange, PackageChanges, RebootOption, Tree, TreeChange};

/// What is done to the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Reboot them.
    Restart,
    /// Bring them up to date.
    Upgrade,
    /// Have them boot a version of their tree.
    Deploy,
}

/// Where a host is in an operation. It is saved before its effect: a step that is written down may
/// have happened, one that is not has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its turn has not come.
    #[default]
    Pending,
    /// Log in and read the boot id; nothing has been done to it.
    Probe,
    /// The upgrade or the deployment is under way, or done.
    Apply,
    /// The reboot command is on its way, or arrived.
    Reboot,
    /// Waiting until it is back with another boot id.
    Verify,
    /// Proven back.
    Done,
    /// Given up, with a reason.
    Failed,
}

impl Step {
    /// Between its turn and its end.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Probe | Self::Apply | Self::Reboot | Self::Verify)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Probe => "probe",
            Self::Apply => "apply",
            Self::Reboot => "reboot",
            Self::Verify => "verify",
            Self::Done => "done",
            Self::Failed => "failed",
        })
    }
}

/// A host's part in an operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostProgress {
    /// The host.
    pub address: String,
    /// Where it is.
    pub step: Step,
    /// When its turn came.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it was done or given up.
    #[serde(default)]
    pub finished_at: Option<String>,
    /// When the reboot step was saved: its deadline counts from here, across executors.
    #[serde(default)]
    pub rebooted_at: Option<String>,
    /// Its boot id before.
    #[serde(default)]
    pub boot_id_before: Option<String>,
    /// Its boot id after.
    #[serde(default)]
    pub boot_id_after: Option<String>,
    /// What an upgrade or a deployment has done to it.
    #[serde(default)]
    pub result: Option<HostResult>,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It begins.
    Started,
    /// It is done.
    Ok,
    /// It failed.
    Failed,
    /// Another executor goes on with it.
    Resumed,
    /// Something else must be over first.
    Waiting,
}

/// A line of the operation's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: String,
    /// The host; empty for the operation as a whole.
    pub host: String,
    /// The step.
    pub step: String,
    /// How it went.
    pub outcome: Outcome,
    /// More about it, for a person.
    #[serde(default)]
    pub detail: String,
}

/// A rolling operation over a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// A UUID.
    pub id: String,
    /// The cluster.
    pub cluster: String,
    /// What is done.
    pub kind: OperationKind,
    /// The version to deploy; empty for other work.
    #[serde(default)]
    pub version: String,
    /// Where it is.
    #[serde(default)]
    pub status: OperationStatus,
    /// Who started it.
    #[serde(default)]
    pub started_by: String,
    /// The request that started it.
    #[serde(default)]
    pub request_id: String,
    /// When it was accepted.
    pub started_at: String,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<String>,
    /// The hosts, in the order in which they are worked on.
    pub hosts: Vec<HostProgress>,
    /// What happened, oldest first.
    #[serde(default)]
    pub events: Vec<Event>,
}

impl Operation {
    /// Adds a line to the log.
    pub fn log(&mut self, time: &str, host: &str, step: Step, outcome: Outcome, detail: &str) {
        self.events.push(Event {
            time: time.to_owned(),
            host: host.to_owned(),
            step: step.to_string(),
            outcome,
            detail: detail.to_owned(),
        });
    }

    /// The same operation as it was when it was accepted.
    #[must_use]
    pub fn as_accepted(mut self) -> Self {
        self.status = OperationStatus::InProcess;
        self.finished_at = None;
        for host in &mut self.hosts {
            let address = std::mem::take(&mut host.address);
            *host = HostProgress { address, ..HostProgress::default() };
        }
        self
    }

    /// The documented record that goes with it.
    pub fn record<W: Work>(&self) -> ClusterRecord<W> {
        let addresses = |wanted: fn(&HostProgress) -> bool| {
            let hosts = self.hosts.iter().filter(|host| wanted(host));
            hosts.map(|host| host.address.clone()).collect::<Vec<_>>()
        };
        let failed = self.status == OperationStatus::Failed;
        let failures = self.hosts.iter().filter(|_| failed).filter_map(|h| h.failure.clone());
        ClusterRecord {
            name: self.cluster.clone(),
            status: self.status,
            version: self.version.clone(),
            started_at: self.started_at.clone(),
            finished_at: self.finished_at.clone(),
            in_process: addresses(|host| !matches!(host.step, Step::Pending | Step::Done)),
            done: addresses(|host| host.step == Step::Done),
            failures: failures.collect(),
            work: std::marker::PhantomData,
        }
    }
}

impl Model for Operation {
    const TYPE: &'static str = "Operation";
    const LIST_TYPE: &'static str = "Operations";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/operations/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::token(&self.id)?;
        ident::name(&self.cluster)?;
        if self.kind == OperationKind::Deploy {
            ident::version(&self.version)?;
        }
        self.hosts.iter().try_for_each(|host| ident::address(&host.address))
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::token(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::work::Restart;

    #[test]
    fn the_documented_record_follows_from_the_hosts() {
        let host = |address: &str, step| HostProgress {
            address: address.into(),
            step,
            ..HostProgress::default()
        };
        let failure = Failure { host: "b".into(), step: "verify".into(), reason: "gone".into() };
        let operation = Operation {
            id: "1".into(),
            cluster: "c1".into(),
            kind: OperationKind::Restart,
            version: String::new(),
            status: OperationStatus::Failed,
            started_by: "admin".into(),
            request_id: String::new(),
            started_at: "t0".into(),
            finished_at: Some("t1".into()),
            hosts: vec![
                host("a", Step::Done),
                HostProgress { failure: Some(failure.clone()), ..host("b", Step::Failed) },
                host("c", Step::Pending),
            ],
            events: Vec::new(),
        };
        let record = operation.record::<Restart>();
        assert_eq!((record.done, record.in_process), (vec!["a".into()], vec!["b".into()]));
        assert_eq!(record.failures, [failure]);
    }
}
