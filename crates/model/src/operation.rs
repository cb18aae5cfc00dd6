//! An operation as the executor works on it. What happens to each host, and the log, are records of their
//! own: a step costs the same however many hosts there are.

mod control;
mod kind;
mod node;
mod options;
mod progress;
mod result;
mod wait;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Address, ClusterName, ClusterRecord, Failure, Model, OperationStatus, Stamp, ident};

pub use control::{Freeze, OperationControl, Wanted};
pub(crate) use kind::records;
pub use kind::{KindFacts, OperationKind, Work, work};
pub use node::HostNode;
pub use options::{
    ADDRESS, Drain, DrainCheck, DrainOptions, Limit, OnDrainTimeout, Options, Order,
    PackageOptions, ReadyOptions, RebootWhen, ResumeAfterAlarm,
};
pub use progress::{OperationEvent, OperationHost, Outcome, Step};
pub use result::{HostResult, PackageChange, PackageChanges, Tree, TreeChange};
pub use wait::{OperationWait, Wait};

/// A rolling operation over a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// A UUID.
    pub id: String,
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// What is done.
    pub kind: OperationKind,
    /// The version to deploy; empty for other work.
    #[serde(default)]
    pub version: String,
    /// What was asked for, with the configured defaults.
    #[serde(default)]
    pub options: Options,
    /// Where it is.
    #[serde(default)]
    pub status: OperationStatus,
    /// Why it ended before every host had its turn.
    #[serde(default)]
    pub reason: String,
    /// Who started it.
    #[serde(default)]
    pub started_by: String,
    /// The request that started it.
    #[serde(default)]
    pub request_id: String,
    /// When it was accepted.
    #[schema(value_type = String)]
    pub started_at: Stamp,
    /// When it ended.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Stamp>,
    /// The hosts, in the order in which they are worked on.
    #[schema(value_type = Vec<String>)]
    pub hosts: Vec<Address>,
    /// So many of them, the first ones, were sick but reachable at the start: they cost nothing.
    #[serde(default)]
    pub sick: usize,
    /// Members that were unreachable at the start and are left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub left_out: Vec<Address>,
    /// The operation whose unfinished hosts this one works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// The operation that works on the unfinished hosts of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_by: Option<String>,
}

impl Operation {
    /// The same operation as it was when it was accepted.
    #[must_use]
    pub fn as_accepted(self) -> Self {
        let (status, reason) = (OperationStatus::InProcess, String::new());
        Self { status, reason, finished_at: None, continued_by: None, ..self }
    }

    /// The hosts as they are without a record of their own: pending, or skipped once the operation has ended.
    pub fn untouched(&self) -> Vec<OperationHost> {
        let ended = self.status != OperationStatus::InProcess;
        let untouched = |address: &Address| {
            let mut host = OperationHost::pending(&self.id, address);
            if ended {
                host.step = Step::Skipped;
                host.skipped = Some(OperationHost::ENDED_BEFORE.to_owned());
            }
            host
        };
        self.hosts.iter().map(untouched).collect()
    }

    /// The documented record that goes with it, and with where its hosts are.
    pub fn record<W: Work>(&self, hosts: &[OperationHost]) -> ClusterRecord<W> {
        let addresses = |wanted: fn(Step) -> bool| {
            let hosts = hosts.iter().filter(|host| wanted(host.step));
            hosts.map(|host| host.address.clone()).collect::<Vec<_>>()
        };
        let mut failures = Vec::new();
        if self.status == OperationStatus::Failed {
            failures.extend(hosts.iter().filter_map(|host| host.failure.clone()));
            if !self.reason.is_empty() {
                let (host, step, reason) = (Address::default(), String::new(), self.reason.clone());
                failures.push(Failure { host, step, reason });
            }
        }
        ClusterRecord {
            name: self.cluster.clone(),
            status: self.status,
            version: self.version.clone(),
            started_at: self.started_at.clone(),
            finished_at: self.finished_at.clone(),
            in_process: addresses(|step| step.is_under_way() || step == Step::Failed),
            done: addresses(|step| step == Step::Done),
            failures,
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
        ident::name(&self.id)?;
        ident::name(&self.cluster)?;
        if self.kind.facts().takes_version {
            ident::version(&self.version)?;
        }
        self.options.validate()?;
        self.hosts.iter().chain(&self.left_out).try_for_each(|host| ident::address(host))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::work::Restart;
    use super::*;

    #[test]
    fn the_documented_record_follows_from_the_hosts() {
        let mut operation: Operation = serde_json::from_value(json!({
            "id": "1", "cluster": "c1", "kind": "restart", "status": "failed",
            "started_at": "t0", "finished_at": "t1", "hosts": ["a", "b", "c", "d"],
        }))
        .unwrap();
        let mut hosts = operation.untouched();
        assert_eq!(hosts[2].skipped.as_deref(), Some(OperationHost::ENDED_BEFORE));
        let failure = Failure { host: "b".into(), step: "verify".into(), reason: "gone".into() };
        hosts[0].step = Step::Done;
        hosts[1].step = Step::Failed;
        hosts[1].failure = Some(failure.clone());
        hosts[3].step = Step::Skipped;
        let record = operation.record::<Restart>(&hosts);
        assert_eq!((record.done, record.in_process), (vec!["a".into()], vec!["b".into()]));
        assert_eq!(record.failures, std::slice::from_ref(&failure));
        operation.reason = "aborted by admin".into();
        let failures = operation.record::<Restart>(&hosts).failures;
        assert_eq!((failures.len(), failures[1].reason.as_str()), (2, "aborted by admin"));
        operation.status = OperationStatus::InProcess;
        assert!(operation.record::<Restart>(&hosts).failures.is_empty());
        assert_eq!(operation.untouched()[2].step, Step::Pending);
    }

    #[test]
    fn what_belongs_to_an_operation_is_told_apart_from_what_belongs_to_another() {
        assert_eq!(OperationHost::key("1-2.fe80::1"), "/commissaire/operation_hosts/1-2.fe80::1");
        assert_eq!(
            OperationEvent::key(&OperationEvent::id_of("1-2", 7)),
            "/commissaire/operation_events/1-2.0000000007"
        );
        for id in ["1", "1.", ".a", "1.a/b", "1/2.a"] {
            assert!(
                OperationHost::validate_id(id).is_err() && OperationEvent::validate_id(id).is_err(),
                "{id}"
            );
        }
    }
}
