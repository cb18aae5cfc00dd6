//! A host's part in an operation, and the log of what happened.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Address, Failure, Model, Stamp, ident};
use super::{HostNode, HostResult, Wait};

/// Where a host is in an operation. It is saved before its effect: a step that is written down may
/// have happened, one that is not has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its turn has not come.
    #[default]
    Pending,
    /// Log in and read the boot id; nothing has been done to it.
    Probe,
    /// Its node is being cordoned.
    Cordon,
    /// Pods are being evicted from its node.
    Drain,
    /// The upgrade or the deployment is under way, or done.
    Apply,
    /// The reboot command is on its way, or arrived.
    Reboot,
    /// Waiting until it is back with another boot id, and healthy.
    Verify,
    /// Back and healthy; it has to stay up for a while.
    Settle,
    /// Its node has to be ready for a while.
    Ready,
    /// Its node is being uncordoned, and the evicted pods have to be ready elsewhere.
    Uncordon,
    /// Proven back.
    Done,
    /// Left as it was, with a reason.
    Skipped,
    /// Given up, with a reason.
    Failed,
    /// A step of a later version, in a record that this has written.
    #[serde(other)]
    Unknown,
}

impl Step {
    /// Between its turn and its end.
    pub fn is_under_way(self) -> bool {
        match self {
            Self::Pending | Self::Done | Self::Skipped | Self::Failed => false,
            Self::Probe
            | Self::Cordon
            | Self::Drain
            | Self::Apply
            | Self::Reboot
            | Self::Verify
            | Self::Settle
            | Self::Ready
            | Self::Uncordon
            | Self::Unknown => true,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Probe => "probe",
            Self::Cordon => "cordon",
            Self::Drain => "drain",
            Self::Apply => "apply",
            Self::Reboot => "reboot",
            Self::Verify => "verify",
            Self::Settle => "settle",
            Self::Ready => "ready",
            Self::Uncordon => "uncordon",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// A host's part in an operation. There is no record of one whose turn has not come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationHost {
    /// The operation's, a dot, and the host's address.
    #[serde(default)]
    #[schema(ignore)]
    pub id: String,
    /// The host.
    #[schema(value_type = String)]
    pub address: Address,
    /// Where it is.
    pub step: Step,
    /// When its turn came.
    #[serde(default)]
    #[schema(required, value_type = Option<String>)]
    pub started_at: Option<Stamp>,
    /// When it was done or given up.
    #[serde(default)]
    #[schema(required, value_type = Option<String>)]
    pub finished_at: Option<Stamp>,
    /// When the reboot was allowed: a take-over counts the deadline of `verify` from here.
    #[serde(default)]
    #[schema(required, value_type = Option<String>)]
    pub rebooted_at: Option<Stamp>,
    /// Why its next command is delayed, such as a pause; absent when nothing delays it. Until then nothing is done to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// What it waits for at the moment, including waits of a command that is under way; absent when it waits for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Its boot id before.
    #[serde(default)]
    #[schema(required)]
    pub boot_id_before: Option<String>,
    /// The systemd units that had failed on it before anything was done; at most 100 names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_units_before: Option<Vec<String>>,
    /// Its boot id after.
    #[serde(default)]
    #[schema(required)]
    pub boot_id_after: Option<String>,
    /// What an upgrade or a deployment has done to it.
    #[serde(default)]
    #[schema(required)]
    pub result: Option<HostResult>,
    /// Why it was left as it was.
    #[serde(default)]
    #[schema(required)]
    pub skipped: Option<String>,
    /// Why it failed.
    #[serde(default)]
    #[schema(required)]
    pub failure: Option<Failure>,
    /// The reason of the failure, in one stable word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its node, in a cluster with a Kubernetes or OpenShift container manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<HostNode>,
    /// The ids of the claims by which it has places in budgets that clusters share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(ignore)]
    pub claims: Vec<String>,
    /// Why its turn was not finished and comes again after the other hosts; absent if it was not postponed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postponed: Option<String>,
    /// How often it was postponed; begins again when the operation is resumed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub postponements: u32,
    /// It was given up, came back by itself and is `done` since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl OperationHost {
    /// Why a host was skipped whose turn did not come.
    pub const ENDED_BEFORE: &str = "the operation ended before its turn";

    /// A host whose turn has not come.
    pub fn pending(operation: &str, address: &str) -> Self {
        let id = Self::id_of(operation, address);
        Self { id, address: address.into(), ..Self::default() }
    }

    /// Whether something is being done to it.
    pub fn is_worked_on(&self) -> bool {
        self.step.is_under_way() && self.waiting_for.is_none()
    }

    /// The id of a host's part in an operation.
    pub fn id_of(operation: &str, address: &str) -> String {
        format!("{operation}.{address}")
    }
}

impl Model for OperationHost {
    const TYPE: &'static str = "OperationHost";
    const LIST_TYPE: &'static str = "OperationHosts";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/operation_hosts/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        part_of_an_operation(id)
    }
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// It was left out.
    Skipped,
    /// It was not finished, and comes again after the other hosts.
    Postponed,
    /// An outcome of a later version, in a record that this has written.
    #[serde(other)]
    Unknown,
}

/// A line of an operation's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationEvent {
    /// The operation's, a dot, and ten digits of `seq`.
    #[schema(ignore)]
    pub id: String,
    /// Its place in the log, from 1, without gaps.
    pub seq: u64,
    /// When.
    #[schema(value_type = String)]
    pub time: Stamp,
    /// The host; empty for the operation as a whole.
    #[schema(value_type = String)]
    pub host: Address,
    /// The step.
    pub step: String,
    /// How it went.
    pub outcome: Outcome,
    /// Why it failed or waits, in one stable word; empty otherwise, and in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// More about it, for a person.
    #[serde(default)]
    #[schema(required)]
    pub detail: String,
}

impl OperationEvent {
    /// The id of an operation's event.
    pub fn id_of(operation: &str, seq: u64) -> String {
        format!("{operation}.{seq:010}")
    }
}

impl Model for OperationEvent {
    const TYPE: &'static str = "OperationEvent";
    const LIST_TYPE: &'static str = "OperationEvents";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/operation_events/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        if self.host.is_empty() { Ok(()) } else { ident::address(&self.host) }
    }

    fn validate_id(id: &str) -> Result<(), String> {
        part_of_an_operation(id)
    }
}

/// An operation's id, which has no dot, then a dot and what part of it is meant.
fn part_of_an_operation(id: &str) -> Result<(), String> {
    let (operation, part) = id.split_once('.').ok_or("an operation and a part of it, by a dot")?;
    ident::name(operation)?;
    ident::token(part)
}
