//! The records: what is kept, under which key, and what makes one valid.
//!
//! A record is checked whenever it enters or leaves the store. The wire form is a JSON object; members
//! that are missing get their defaults, unknown members are ignored.
//!
//! The types at the root are the records. Beside them:
//!
//! - [`messages`][]: the messages on the bus that are no records
//! - [`explain`][]: the state of an object and the reason for it, in sentences
//! - [`ident`][]: names, addresses and identifiers
//! - [`networks`][]: sets of addresses
//! - [`host_keys`][]: SSH host keys as text
//! - [`stamp`][]: times as text
//! - [`json`][]: messages about JSON, without the names of Rust's types
//! - [`mod@abridged`][]: lists in sentences
//!
//! All of it is pure: it reads no file, waits for nothing and knows no time but the one that it is given.

pub mod abridged;
mod access;
mod address;
mod alarm;
mod api_token;
mod check_report;
mod cluster;
mod cluster_name;
mod cluster_record;
mod container_manager;
mod enrollment;
pub mod explain;
mod health_check;
mod host;
pub mod host_keys;
mod host_placement;
mod idempotency;
pub mod ident;
mod instance;
pub mod json;
mod kubernetes;
mod last_backup;
mod lease;
mod lease_name;
pub mod messages;
mod network;
pub mod networks;
mod operation;
mod pending_webhook;
mod reason;
mod refused_log_ins;
mod server_keys;
pub mod stamp;
mod text;
mod watcher_record;
mod write_probe;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use abridged::abridged;
pub use access::{Binding, ClusterPatterns, Role, SubjectKind};
pub use address::Address;
pub use alarm::{Alarm, AlarmView};
pub use api_token::{ApiToken, ApiTokenUse, TokenLogin};
pub use check_report::{CheckReport, CheckRoster};
pub use cluster::{Cluster, ClusterChange, ClusterHead, ClusterMember, Failure, OperationStatus};
pub use cluster_name::ClusterName;
pub use cluster_record::{ClusterRecord, NewestOperation};
pub use container_manager::{
    Authority, ClientCertificate, ContainerManagerConfig, ContainerManagerNodes,
    ContainerManagerSecret, ContainerManagerType, KubeconfigFile, KubernetesOptions, MASK, Secrets,
};
pub use enrollment::{Enrolled, Enrollment};
pub use health_check::HealthCheck;
pub use host::{Bootstrap, Failing, Host, HostCreds, HostState, Reboot, Status};
pub use host_placement::HostPlacement;
pub use idempotency::{IdempotentRequest, KeptAnswer};
pub use instance::{Instance, Restored};
pub use kubernetes::{
    BudgetClaim, BudgetClaims, Controller, CordonDebt, CordonOwner, DebtState, NodeState, PodClass,
    PodKind, PodState, UNAVAILABLE_NODES,
};
pub use last_backup::LastBackup;
pub use lease::Lease;
pub use lease_name::{LeaseName, LeasePurpose};
pub use network::{Network, NetworkType};
pub use networks::Networks;
pub use operation::records::*;
pub use operation::{
    ADDRESS, Drain, DrainCheck, DrainOptions, Freeze, HostNode, HostResult, KindFacts, Limit,
    OnDrainTimeout, Operation, OperationControl, OperationEvent, OperationHost, OperationKind,
    OperationWait, Options, Order, Outcome, PackageChange, PackageChanges, PackageOptions,
    ReadyOptions, RebootWhen, ResumeAfterAlarm, Step, Tree, TreeChange, Wait, Wanted, Work, work,
};
pub use pending_webhook::{PendingWebhook, WebhookEvent, WebhookSubject};
pub use reason::{FailureReason, Subject, WaitReason, Words};
pub use refused_log_ins::RefusedLogIns;
pub use server_keys::ServerKeys;
pub use stamp::Stamp;
pub use watcher_record::WatcherRecord;
pub use write_probe::WriteProbe;

/// The format of records, as docs/formats.md describes it: raised when programs of the version before would misunderstand
/// a record.
pub const RECORD_FORMAT: u32 = 2;

/// A record that the storage service keeps.
pub trait Model: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its name on the bus: `Host`.
    const TYPE: &'static str;
    /// The name of a list of them: `Hosts`.
    const LIST_TYPE: &'static str;
    /// The member that identifies it: `address`.
    const ID: &'static str;
    /// Its key in the store is `PREFIX`, the identifier, `SUFFIX`.
    const PREFIX: &'static str;
    /// See [`Self::PREFIX`].
    const SUFFIX: &'static str = "";
    /// The type of the documented record that it is a part of: it is kept in the same store, and the same accounts may
    /// read and write it.
    const PART_OF: &'static str = Self::TYPE;
    /// Members that notifications leave out.
    const HIDDEN: &'static [&'static str] = &[];
    /// Encrypted before it reaches the store, and never part of a notification.
    const SECRET: bool = false;

    /// Whether a request that saves a record of this type may hold secrets: its parameters go through no queue then.
    const CONFIDENTIAL: bool = Self::SECRET;

    /// What identifies it.
    fn id(&self) -> &str;

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// A sentence that names the member and what is wrong with it.
    fn validate(&self) -> Result<(), String>;

    /// Checks an identifier before it becomes part of a key.
    ///
    /// # Errors
    /// A sentence that says what an identifier looks like.
    fn validate_id(id: &str) -> Result<(), String> {
        ident::name(id)
    }

    /// The key in the store.
    fn key(id: &str) -> String {
        format!("{}{id}{}", Self::PREFIX, Self::SUFFIX)
    }
}
