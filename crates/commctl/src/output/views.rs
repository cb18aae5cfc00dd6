//! The views of all kinds of records: which columns they have, in which order, and how important these are.

use super::view::{Column, Kind, Part, View};

const HOST_STATUS: Kind =
    Kind::State(&["new", "investigating", "bootstrapping", "disassociated", "active", "failed"]);
const CLUSTER_STATUS: Kind = Kind::State(&["ok", "degraded", "failed"]);
const OPERATION_STATE: Kind = Kind::State(&[
    "running",
    "waiting",
    "pausing",
    "paused",
    "aborting",
    "frozen",
    "abandoned",
    "finished",
    "failed",
    "aborted",
]);
const OPERATION_KIND: Kind = Kind::Word(&["restart", "upgrade", "deploy", "drain"]);
const STEP: Column = Column::new(
    "STEP",
    "step",
    Kind::State(&[
        "pending", "probe", "cordon", "drain", "apply", "reboot", "verify", "settle", "ready",
        "uncordon", "done", "skipped", "failed", "unknown",
    ]),
);
const ACTION: Column = Column::text("ACTION", "action");

const NAME: Column = Column::text("NAME", "name").shortest(8);
const ADDRESS: Column = Column::text("ADDRESS", "address").shortest(15);
const CLUSTER_NAME: Column = Column::text("CLUSTER", "cluster").rank(1).shortest(8);
const CLUSTERS: Column = Column::text("CLUSTERS", "clusters").rank(1).shortest(8);
const REASON: Column = Column::text("REASON", "reason").rank(2).shortest(16);
const SINCE: Column = Column::time("SINCE", "since").rank(1);
const ROLE: Column =
    Column::new("ROLE", "role", Kind::Word(&["enroll", "backup", "reader", "operator", "admin"]));
/// Long enough to be unambiguous in most lists.
const ID: Column = Column::text("ID", "id").shortest(9);
const STARTED: Column = Column::time("STARTED", "started_at").rank(1);
const FINISHED: Column = Column::time("FINISHED", "finished_at").rank(3);
const STARTED_BY: Column = Column::text("BY", "started_by").rank(3).shortest(6);
const VERSION: Column = Column::text("VERSION", "version").rank(3).shortest(8);
const CHANGED: Column = Column::time("CHANGED", "changed_at").rank(3);
const CHANGED_BY: Column = Column::text("BY", "changed_by").rank(3).shortest(6);

/// A host, in lists with the name of its cluster and the reason why it has failed.
pub(crate) const HOST: View = View::sorted(&[
    ADDRESS,
    Column::new("STATUS", "status", HOST_STATUS),
    CLUSTER_NAME,
    REASON,
    Column::time("LAST SEEN", "last_check").rank(1),
    Column::text("OS", "os").rank(2).shortest(6),
    Column::text("CPUS", "cpus").rank(4),
    Column::new("MEMORY", "memory", Kind::Mebibytes).rank(4),
    Column::new("DISK", "space", Kind::Bytes).rank(4),
    Column::text("SOURCE", "source").rank(5).shortest(6),
]);

/// The status of a host.
pub(crate) const HOST_DETAILS: View = View::new(&[
    Column::new("STATUS", "host.status", HOST_STATUS),
    Column::text("REASON", "host.reason"),
    Column::time("SINCE", "host.since"),
    Column::text("DETAIL", "host.detail"),
    Column::text("REMEDY", "host.remedy"),
    Column::time("LAST SEEN", "host.last_check"),
    Column::text("TYPE", "type"),
]);

/// A cluster, in lists with the operation in process.
pub(crate) const CLUSTER: View = View::sorted(&[
    NAME,
    Column::new("STATUS", "status", CLUSTER_STATUS),
    Column::new("READY", "hosts.available", Kind::OutOf("hosts.total")),
    Column::text("ALARM", "alarm.reason").rank(2).shortest(16),
    Column::text("OPERATION", "operation").rank(1).shortest(12),
    Column::text("MANAGER", "container_manager").rank(3).shortest(7),
    Column::text("NETWORK", "network").rank(4).shortest(7),
    Column::text("HOSTS", "hostset").rank(5).shortest(15),
]);

/// An operation: a line of a list, or all of it.
pub(crate) const OPERATION: View = View::new(&[
    ID,
    Column::new("KIND", "kind", OPERATION_KIND),
    CLUSTER_NAME,
    Column::new("STATE", "state", OPERATION_STATE),
    Column::new("DONE", "counts.done", Kind::OutOf("counts.total")).rank(1),
    STARTED,
    FINISHED,
    STARTED_BY,
    VERSION,
    REASON,
    Column::text("EXPLANATION", "explanation.sentence").rank(5),
    Column::text("REMEDY", "explanation.remedy").rank(5),
    Column::text("ENDS WHEN", "explanation.ends").rank(5),
])
.with(&[
    Part { field: "hosts", view: &OPERATION_HOST, group: Some(&STEP) },
    Part { field: "debts", view: &DEBT, group: None },
]);

/// A host of an operation.
const OPERATION_HOST: View = View::new(&[
    ADDRESS,
    STEP,
    Column::time("STARTED", "started_at").rank(2),
    Column::time("FINISHED", "finished_at").rank(3),
    Column::new(
        "WHY",
        "failure.reason",
        Kind::OrElse(&[
            "skipped",
            "wait.detail",
            "wait.reason",
            "waiting_for",
            "postponed",
            "reason",
        ]),
    )
    .rank(1)
    .shortest(16),
]);

/// A node that is cordoned.
const DEBT: View = View::new(&[
    Column::text("NODE", "node").shortest(12),
    Column::text("STATE", "state"),
    Column::text("HOST", "address").rank(1).shortest(15),
    SINCE,
    REASON,
]);

/// The newest restart, upgrade or deployment of a cluster, as the original shows it.
pub(crate) const ROLLOUT: View = View::new(&[
    NAME,
    Column::new("STATUS", "status", Kind::State(&["in_process", "finished", "failed"])),
    VERSION,
    STARTED,
    FINISHED,
    Column::text("IN PROCESS", "in_process"),
    Column::text("RESTARTED", "restarted"),
    Column::text("UPGRADED", "upgraded"),
    Column::text("DEPLOYED", "deployed"),
    Column::new("FAILURES", "failures", Kind::Each(&["host", "step", "reason"])),
    Column::text("REASON", "reason"),
]);

/// What an operation would do.
pub(crate) const PLAN: View = View::new(&[
    Column::text("CLUSTER", "cluster"),
    Column::new("KIND", "kind", OPERATION_KIND),
    Column::text("WOULD START", "would_start"),
    Column::text("REFUSED", "refused"),
    Column::text("REASON", "reason"),
    Column::text("MAX UNAVAILABLE", "max_unavailable"),
    Column::text("WARNINGS", "warnings"),
    Column::text("ALARM", "alarm.reason"),
])
.with(&[
    Part { field: "hosts", view: &PLANNED, group: Some(&ACTION) },
    Part { field: "unavailable", view: &UNAVAILABLE, group: None },
]);

const PLANNED: View = View::new(&[
    ADDRESS,
    ACTION,
    Column::text("NODE", "node").rank(2).shortest(8),
    Column::text("REASON", "reason").rank(1).shortest(16),
]);

const UNAVAILABLE: View = View::new(&[
    Column::text("UNAVAILABLE", "address").shortest(15),
    Column::text("REASON", "reason").rank(1).shortest(16),
]);

/// An event of an operation.
pub(crate) const EVENT: View = View::new(&[
    Column::text("SEQ", "seq"),
    Column::time("TIME", "time"),
    Column::text("HOST", "host").rank(1).shortest(15),
    Column::text("STEP", "step"),
    Column::new(
        "OUTCOME",
        "outcome",
        Kind::State(&[
            "started",
            "ok",
            "failed",
            "resumed",
            "waiting",
            "skipped",
            "postponed",
            "unknown",
        ]),
    ),
    Column::text("DETAIL", "detail").rank(1).shortest(16),
    REASON,
]);

pub(crate) const NETWORK: View = View::sorted(&[NAME, Column::text("TYPE", "type"), OPTIONS]);

pub(crate) const CONTAINER_MANAGER: View =
    View::sorted(&[NAME, Column::text("TYPE", "type"), CLUSTERS, OPTIONS]);

const OPTIONS: Column = Column::text("OPTIONS", "options").rank(1).shortest(16);

pub(crate) const HEALTH_CHECK: View = View::sorted(&[
    NAME,
    Column::text("COMMAND", "command").rank(1).shortest(16),
    CHANGED,
    CHANGED_BY,
]);

/// The roles of a user, a group or the owner of a certificate.
pub(crate) const BINDING: View = View::sorted(&[
    NAME,
    Column::new("KIND", "kind", Kind::Word(&["user", "group", "certificate"])),
    Column::text("SUBJECT", "subject").shortest(12),
    ROLE,
    CLUSTERS,
    Column::text("COMMANDS", "run_commands").rank(2),
    Column::text("PENDING", "pending").rank(1),
    CHANGED,
    CHANGED_BY,
]);

/// A token of a user.
pub(crate) const TOKEN: View = View::new(&[
    NAME,
    ID,
    Column::text("OWNER", "owner").rank(1).shortest(6),
    ROLE,
    CLUSTERS,
    Column::time("EXPIRES", "expires"),
    Column::time("LAST USED", "last_used").rank(1),
    Column::text("FROM", "from").rank(2).shortest(10),
    Column::time("CREATED", "created_at").rank(3),
    Column::time("VOIDED", "voided_at").rank(1),
    Column::text("TOKEN", "token").rank(1),
]);

/// A token with which hosts register themselves.
pub(crate) const ENROLLMENT: View = View::new(&[
    ID,
    CLUSTER_NAME,
    Column::text("USES", "uses"),
    Column::time("EXPIRES", "expires"),
    Column::text("FROM", "from").rank(2).shortest(10),
    Column::text("HOSTS", "hosts").rank(3).shortest(15),
    Column::time("CREATED", "created_at").rank(3),
    Column::text("BY", "created_by").rank(3).shortest(6),
    Column::time("VOIDED", "voided_at").rank(1),
    Column::text("TOKEN", "token").rank(1),
]);

/// The freeze of all operations.
pub(crate) const FREEZE: View = View::new(&[
    Column::text("FROZEN", "frozen"),
    Column::text("REASON", "reason"),
    Column::text("BY", "by"),
    Column::time("SINCE", "at"),
]);

/// Why something is in its state.
pub(crate) const EXPLANATION: View = View::new(&EXPLANATION_COLUMNS).with(&[Part {
    field: "related",
    view: &View::new(&EXPLANATION_COLUMNS),
    group: None,
}]);

const EXPLANATION_COLUMNS: [Column; 8] = [
    Column::text("KIND", "kind"),
    Column::text("ID", "id").shortest(9),
    Column::text("STATE", "state"),
    SINCE,
    Column::text("EXPLANATION", "sentence").rank(1).shortest(16),
    REASON,
    Column::text("REMEDY", "remedy").rank(2).shortest(16),
    Column::text("ENDS WHEN", "ends").rank(3).shortest(16),
];

/// The node of a host.
pub(crate) const NODE: View = View::new(&[
    Column::text("ADDRESS", "address"),
    Column::text("NODE", "node"),
    Column::text("CORDONED", "cordoned"),
    Column::text("WARNINGS", "warnings"),
]);

pub(crate) const PLACEMENT: View =
    View::new(&[Column::text("NODE", "node_name"), Column::text("QUORUM GROUP", "quorum_group")]);

/// The user.
pub(crate) const PRINCIPAL: View = View::new(&[
    NAME,
    ROLE,
    Column::text("GROUPS", "groups"),
    Column::text("AUTHENTICATOR", "authenticator"),
    Column::text("OWNER", "owner"),
    Column::time("EXPIRES", "until"),
    Column::text("CONTEXT", "context"),
])
.with(&[Part { field: "rights", view: &RIGHT, group: None }]);

const RIGHT: View = View::new(&[ROLE, CLUSTERS, Column::text("COMMANDS", "run_commands")]);

/// A context of commctl.
pub(crate) const CONTEXT: View = View::new(&[
    NAME,
    Column::text("CURRENT", "current"),
    Column::text("ENDPOINT", "endpoint").shortest(16),
    Column::text("USER", "user").rank(1).shortest(6),
    Column::text("PROVIDER", "provider").rank(1).shortest(6),
]);

pub(crate) const PUBLIC_KEY: View = View::new(&[Column::text("PUBLIC KEY", "public_key")]);
