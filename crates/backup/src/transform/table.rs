//! What the fields of each record type hold: declared once, here.
//!
//! A field that is missing in this table is an error as soon as a name is mapped: it may hold one. The tests of the storage
//! service compare the table with its record types and with the examples of records.

mod fields;

use std::sync::LazyLock;

use model::{
    Alarm, ApiToken, ApiTokenUse, Binding, BudgetClaims, CheckReport, CheckRoster, Cluster,
    ClusterHead, ClusterMember, ClusterRecord, ContainerManagerConfig, ContainerManagerNodes,
    ContainerManagerSecret, CordonDebt, Enrollment, Freeze, HealthCheck, Host, HostCreds,
    HostPlacement, HostState, IdempotentRequest, Instance, LastBackup, Lease, Model, Network,
    NewestOperation, Operation, OperationControl, OperationEvent, OperationHost, OperationKind,
    OperationWait, PendingWebhook, RefusedLogIns, ServerKeys, WriteProbe, each_kind,
};

use Content::{Address, AlarmScope, Command, LeaseName, Plain, Sentence, SortedAddress, User};
use fields::{
    API_TOKEN, BINDING, BY_AND_REASON, CLUSTER, CLUSTER_RECORD, CONTAINER_MANAGER, CORDON_DEBT,
    ENROLLMENT, EVENT, HOST, HOST_STATE, IDEMPOTENT_REQUEST, INSTANCE, OPERATION, OPERATION_HOST,
    PENDING_WEBHOOK,
};

/// What a text in a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// No name that can be mapped: a word, a time, an id, a checksum, a name of another kind.
    Plain,
    /// The address of a host.
    Address,
    /// The same, in a list that is sorted.
    SortedAddress,
    /// An address that several hosts may have, such as that of a bridge for containers.
    OtherAddress,
    /// A network in CIDR notation.
    Network,
    /// The name of a cluster, or empty.
    Cluster,
    /// The name of a cluster, or a pattern of names.
    ClusterPattern,
    /// A user, as logs name it.
    User,
    /// A user, if the field `kind` beside it is `user`.
    Subject,
    /// `INSTANCE/manual/USER`, or `INSTANCE/OPERATION`.
    CordonOwner,
    /// A text for people that may name hosts.
    Sentence,
    /// A command, a URL, an option or another text that may name hosts, and in which a word without a dot may be something
    /// else.
    Command,
    /// `cluster.NAME`, or another scope of alarms.
    AlarmScope,
    /// `OPERATION.ADDRESS`
    OperationHost,
    /// The name of a lease, which may end with an address or a cluster.
    LeaseName,
    /// `OPERATION.EVENT`, or `alarm.` and a scope.
    WebhookId,
}

/// The fields of a record type: a path, `[]` being the items of a list and a last `.**` everything below, and its content.
/// An exact path comes before one with `.**`.
type Fields = &'static [(&'static str, Content)];

/// A record type.
#[derive(Debug)]
pub(super) struct RecordType {
    pub(super) name: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    /// The field that identifies a record, and is a part of its key.
    pub(super) id: &'static str,
    /// Whether its records are sealed.
    pub(super) is_sealed: bool,
    fields: Fields,
}

impl RecordType {
    const fn of<T: Model>(fields: Fields) -> Self {
        Self {
            name: T::TYPE,
            prefix: T::PREFIX,
            suffix: T::SUFFIX,
            id: T::ID,
            is_sealed: T::SECRET,
            fields,
        }
    }

    /// The type with this name; `None` if this version does not know it.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|kind| kind.name == name)
    }

    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = &'static Self> {
        TYPES.iter().copied()
    }

    /// What identifies the record under a key; `None` if it is not the key of such a record.
    pub(super) fn id_in<'a>(&self, key: &'a str) -> Option<&'a str> {
        let id = key.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
        (!id.is_empty() && !id.contains('/')).then_some(id)
    }

    /// The key of a record.
    pub(super) fn key(&self, id: &str) -> String {
        format!("{}{id}{}", self.prefix, self.suffix)
    }

    /// What the id holds.
    pub(super) fn id_content(&self) -> Content {
        self.content(self.id).unwrap_or(Content::Plain)
    }

    /// What the texts at a path hold; `None` if that is not known.
    pub(super) fn content(&self, path: &str) -> Option<Content> {
        let exact = self.fields.iter().find(|(field, _)| *field == path);
        let found = exact.or_else(|| {
            self.fields.iter().find(|(field, _)| {
                let below = field.strip_suffix(".**").and_then(|field| path.strip_prefix(field));
                below.is_some_and(|below| below.starts_with(['.', '[']))
            })
        });
        found.map(|(_, content)| *content)
    }
}

/// The documented records of operations.
static CLUSTER_RECORDS: [RecordType; OperationKind::ALL.len()] =
    each_kind!(W => RecordType::of::<ClusterRecord<W>>(CLUSTER_RECORD));

/// What is kept under their keys.
static NEWEST_OPERATIONS: [RecordType; OperationKind::ALL.len()] =
    each_kind!(W => RecordType::of::<NewestOperation<W>>(CLUSTER_RECORD));

/// All others.
static OTHERS: [RecordType; 35] = [
    RecordType::of::<Alarm>(&[("scope", AlarmScope), ("since", Plain), ("reason", Sentence)]),
    RecordType::of::<ApiToken>(API_TOKEN),
    RecordType::of::<ApiTokenUse>(&[("id", Plain), ("at", Plain)]),
    RecordType::of::<Binding>(BINDING),
    RecordType::of::<BudgetClaims>(&[
        ("id", Plain),
        ("claims[].address", Address),
        ("claims[].operation", Plain),
        ("claims[].node", Plain),
    ]),
    RecordType::of::<CheckReport>(&[
        ("watcher", Plain),
        ("at", Plain),
        ("roster", Plain),
        ("checks", Plain),
    ]),
    RecordType::of::<CheckRoster>(&[("id", Plain), ("hosts[]", Address)]),
    RecordType::of::<Cluster>(CLUSTER),
    RecordType::of::<ClusterHead>(CLUSTER),
    RecordType::of::<ClusterMember>(&[("address", Address), ("cluster", Content::Cluster)]),
    RecordType::of::<ContainerManagerConfig>(CONTAINER_MANAGER),
    RecordType::of::<ContainerManagerNodes>(&[("name", Plain), ("nodes[]", SortedAddress)]),
    RecordType::of::<ContainerManagerSecret>(&[("name", Plain), ("options.**", Plain)]),
    RecordType::of::<CordonDebt>(CORDON_DEBT),
    RecordType::of::<Enrollment>(ENROLLMENT),
    RecordType::of::<Freeze>(BY_AND_REASON),
    RecordType::of::<HealthCheck>(&[
        ("name", Plain),
        ("command", Command),
        ("changed_by", User),
        ("changed_at", Plain),
    ]),
    RecordType::of::<Host>(HOST),
    RecordType::of::<HostCreds>(&[
        ("address", Address),
        ("ssh_priv_key", Plain),
        ("remote_user", Plain),
        ("ssh_host_key", Plain),
    ]),
    RecordType::of::<HostPlacement>(&[
        ("address", Address),
        ("node_name", Plain),
        ("quorum_group", Plain),
    ]),
    RecordType::of::<HostState>(HOST_STATE),
    RecordType::of::<IdempotentRequest>(IDEMPOTENT_REQUEST),
    RecordType::of::<Instance>(INSTANCE),
    RecordType::of::<LastBackup>(&[("name", Plain), ("taken_at", Plain), ("by", User)]),
    RecordType::of::<Lease>(&[("name", LeaseName), ("owner", Plain), ("operation", Plain)]),
    RecordType::of::<Network>(&[
        ("name", Plain),
        ("type", Plain),
        ("options.address", Command),
        ("options.**", Command),
    ]),
    RecordType::of::<Operation>(OPERATION),
    RecordType::of::<OperationControl>(BY_AND_REASON),
    RecordType::of::<OperationWait>(&[
        ("id", Plain),
        ("reason", Plain),
        ("detail", Sentence),
        ("since", Plain),
    ]),
    RecordType::of::<PendingWebhook>(PENDING_WEBHOOK),
    RecordType::of::<OperationHost>(OPERATION_HOST),
    RecordType::of::<OperationEvent>(EVENT),
    RecordType::of::<WriteProbe>(&[("name", Plain), ("written_at", Plain)]),
    RecordType::of::<RefusedLogIns>(&[("address", Address), ("stamps[]", Plain)]),
    RecordType::of::<ServerKeys>(&[("name", Plain), ("fingerprints[]", Plain)]),
];

/// The documented records before those that may be under their keys.
static TYPES: LazyLock<Vec<&'static RecordType>> =
    LazyLock::new(|| OTHERS.iter().chain(&CLUSTER_RECORDS).chain(&NEWEST_OPERATIONS).collect());
