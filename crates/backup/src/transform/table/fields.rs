//! The fields of the larger record types.

use super::{Content, Fields};

use Content::{
    Address, AlarmScope, ClusterPattern, Command, CordonOwner, OtherAddress, Plain, Sentence,
    SortedAddress, Subject, User, WebhookId,
};

pub(super) const CLUSTER: Fields = &[
    ("name", Content::Cluster),
    ("status", Plain),
    ("network", Plain),
    ("hostset[]", SortedAddress),
    ("container_manager", Plain),
    ("change.kind", Plain),
    ("change.hostset[]", SortedAddress),
];

/// Of a documented record of an operation, and of what is kept in its place.
pub(super) const CLUSTER_RECORD: Fields = &[
    ("name", Content::Cluster),
    ("operation", Plain),
    ("status", Plain),
    ("version", Plain),
    ("started_at", Plain),
    ("finished_at", Plain),
    ("in_process[]", Address),
    ("restarted[]", Address),
    ("upgraded[]", Address),
    ("deployed[]", Address),
    ("drained[]", Address),
    ("failures[].host", Address),
    ("failures[].step", Plain),
    ("failures[].reason", Sentence),
];

pub(super) const OPERATION: Fields = &[
    ("id", Plain),
    ("cluster", Content::Cluster),
    ("kind", Plain),
    ("version", Plain),
    ("options.max_unavailable", Plain),
    ("options.health_command", Command),
    ("options.health_url", Command),
    ("options.order", Plain),
    ("options.hosts[]", Address),
    ("options.reboot", Plain),
    ("options.resume_after_alarm", Plain),
    ("options.drain", Plain),
    ("options.drain.on_timeout", Plain),
    ("options.drain.check", Plain),
    ("options.drain.skip_selector", Plain),
    ("status", Plain),
    ("reason", Sentence),
    ("started_by", User),
    ("request_id", Plain),
    ("started_at", Plain),
    ("finished_at", Plain),
    ("hosts[]", Address),
    ("left_out[]", Address),
    ("continues", Plain),
    ("continued_by", Plain),
];

pub(super) const OPERATION_HOST: Fields = &[
    ("id", Content::OperationHost),
    ("address", Address),
    ("step", Plain),
    ("started_at", Plain),
    ("finished_at", Plain),
    ("rebooted_at", Plain),
    ("waiting_for", Sentence),
    ("wait.reason", Plain),
    ("wait.detail", Sentence),
    ("wait.since", Plain),
    ("boot_id_before", Plain),
    ("failed_units_before[]", Plain),
    ("boot_id_after", Plain),
    ("result.packages.installed[].name", Plain),
    ("result.packages.installed[].before", Plain),
    ("result.packages.installed[].after", Plain),
    ("result.packages.upgraded[].name", Plain),
    ("result.packages.upgraded[].before", Plain),
    ("result.packages.upgraded[].after", Plain),
    ("result.packages.removed[].name", Plain),
    ("result.packages.removed[].before", Plain),
    ("result.packages.removed[].after", Plain),
    ("result.tree.before.checksum", Plain),
    ("result.tree.before.version", Plain),
    ("result.tree.after.checksum", Plain),
    ("result.tree.after.version", Plain),
    ("result.failed_units[]", Plain),
    ("skipped", Sentence),
    ("failure.host", Address),
    ("failure.step", Plain),
    ("failure.reason", Sentence),
    ("reason", Plain),
    ("node.kubernetes", Plain),
    ("node.name", Plain),
    ("node.uid", Plain),
    ("node.cordoned_at", Plain),
    ("node.drain_began", Plain),
    ("node.heartbeat", Plain),
    ("node.pods[]", Plain),
    ("node.drivers[]", Plain),
    ("node.workloads.**", Plain),
    ("claims[]", Plain),
    ("postponed", Sentence),
];

pub(super) const HOST_STATE: Fields = &[
    ("address", Address),
    ("reason", Plain),
    ("detail", Sentence),
    ("failed_at", Plain),
    ("seen_host_key", Plain),
    ("previous_status", Plain),
    ("failing.reason", Plain),
    ("boot_id", Plain),
    ("machine_id", Plain),
    ("rebooters[]", Plain),
    ("bootstrap", Plain),
    ("addresses[]", OtherAddress),
    ("reboots[].time", Plain),
    ("reboots[].before", Plain),
    ("reboots[].after", Plain),
    ("operations.**", Plain),
    ("enrolled.id", Plain),
    ("enrolled.cluster", Content::Cluster),
    ("enrolled.since", Plain),
    ("registered_at", Plain),
];

pub(super) const CONTAINER_MANAGER: Fields = &[
    ("name", Plain),
    ("type", Plain),
    ("options.server_url", Command),
    ("options.apiserver", Command),
    ("options.token", Plain),
    ("options.token_path", Plain),
    ("options.kubeconfig_path", Plain),
    ("options.kubeconfig_context", Plain),
    ("options.certificate_data", Plain),
    ("options.certificate_key_data", Plain),
    ("options.certificate_path", Plain),
    ("options.certificate_key_path", Plain),
    ("options.certificate_authority_path", Plain),
    ("options.certificate_authority_data", Plain),
    ("options.max_unavailable", Plain),
    // A trivial one keeps any.
    ("options.**", Command),
    ("clusters[]", ClusterPattern),
];

pub(super) const API_TOKEN: Fields = &[
    ("id", Plain),
    ("name", Plain),
    ("token_hash", Plain),
    ("owner", User),
    ("login.kind", Plain),
    ("login.groups[]", Plain),
    ("login.issuer", Plain),
    ("login.name", Plain),
    ("role", Plain),
    ("clusters[]", ClusterPattern),
    ("from[]", Content::Network),
    ("expires", Plain),
    ("created_at", Plain),
    ("voided_at", Plain),
];

pub(super) const ENROLLMENT: Fields = &[
    ("id", Plain),
    ("token_hash", Plain),
    ("cluster", Content::Cluster),
    ("expires", Plain),
    ("from[]", Content::Network),
    ("hosts[]", Address),
    ("created_by", User),
    ("created_at", Plain),
    ("voided_at", Plain),
];

pub(super) const BINDING: Fields = &[
    ("name", Plain),
    ("kind", Plain),
    ("subject", Subject),
    ("role", Plain),
    ("clusters[]", ClusterPattern),
    ("changed_by", User),
    ("changed_at", Plain),
];

pub(super) const CORDON_DEBT: Fields = &[
    ("id", Plain),
    ("container_manager", Plain),
    ("node", Plain),
    ("node_uid", Plain),
    ("address", Address),
    ("cluster", Content::Cluster),
    ("cordoned_by", CordonOwner),
    ("operation", Plain),
    ("since", Plain),
    ("state", Plain),
    ("reason", Sentence),
];

pub(super) const PENDING_WEBHOOK: Fields = &[
    ("id", WebhookId),
    ("event", Plain),
    ("operation.id", Plain),
    // An explanation: sentences, words, and names of clusters, which a name without a dot may be.
    ("operation.explanation.**", Command),
    ("alarm.scope", AlarmScope),
    ("alarm.since", Plain),
    ("alarm.reason", Sentence),
];

pub(super) const EVENT: Fields = &[
    ("id", Plain),
    ("time", Plain),
    ("host", Address),
    ("step", Plain),
    ("outcome", Plain),
    ("reason", Plain),
    ("detail", Sentence),
];

pub(super) const HOST: Fields = &[
    ("address", Address),
    ("status", Plain),
    ("os", Plain),
    ("last_check", Plain),
    ("source", Plain),
];

pub(super) const BY_AND_REASON: Fields = &[
    ("id", Plain),
    ("name", Plain),
    ("wanted", Plain),
    ("by", User),
    ("at", Plain),
    ("reason", Sentence),
    ("code", Plain),
];

pub(super) const IDEMPOTENT_REQUEST: Fields = &[
    ("id", Plain),
    ("request", Plain),
    ("operation_id", Plain),
    ("expires_at", Plain),
    // JSON, with names of clusters, too.
    ("answer.body", Command),
    ("answer.location", Plain),
];

pub(super) const INSTANCE: Fields = &[
    ("name", Plain),
    ("id", Plain),
    ("generation_id", Plain),
    ("restored.at", Plain),
    ("restored.taken_at", Plain),
];
