//! What a record is about: a host, a cluster, an operation.

use model::{
    ClusterMember, CordonDebt, Enrollment, IdempotentRequest, LeasePurpose, Model as _, Operation,
    OperationControl, OperationEvent, OperationHost, OperationWait,
};
use serde::Deserialize;

use super::super::TransformError;
use super::super::table::{Content, RecordType};
use crate::format::Record;

/// What the scope of an alarm about a cluster begins with, in the id of a pending webhook.
const CLUSTER_ALARM: &str = "alarm.cluster.";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Subject {
    /// What identifies the record.
    pub(super) id: Option<String>,
    /// The host that it belongs to.
    pub(super) host: Option<String>,
    /// The cluster that it belongs to.
    pub(super) cluster: Option<String>,
    /// The operation that it belongs to.
    pub(super) operation: Option<String>,
}

/// The fields that name a cluster, a host or an operation, in the types that have one of them beside the id.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    cluster: String,
    address: String,
    operation_id: String,
}

/// What a record is about.
///
/// # Errors
/// When this version does not know its type.
pub(super) fn of(record: &Record) -> Result<Subject, TransformError> {
    let (kind, id) = super::super::identified(record)?;
    let mut subject = Subject { id: Some(id.to_owned()), ..Subject::default() };
    match kind.id_content() {
        Content::Address => subject.host = Some(id.to_owned()),
        Content::Cluster => subject.cluster = Some(id.to_owned()),
        Content::AlarmScope => subject.cluster = id.strip_prefix("cluster.").map(str::to_owned),
        Content::LeaseName => subject.note_lease(id),
        Content::WebhookId => subject.note_webhook(id),
        _ => subject.note_fields(kind, id, record),
    }
    if kind.name == ClusterMember::TYPE {
        subject.cluster = some(names(record).cluster);
    }
    Ok(subject)
}

impl Subject {
    fn note_lease(&mut self, name: &str) {
        match LeasePurpose::of(name) {
            Some(LeasePurpose::Operation(cluster) | LeasePurpose::Change(cluster)) => {
                self.cluster = Some(cluster.to_owned());
            }
            Some(LeasePurpose::Investigation(address)) => self.host = Some(address.to_owned()),
            Some(LeasePurpose::LateHosts(id)) => self.operation = Some(id.to_owned()),
            Some(LeasePurpose::Webhook(id)) => self.note_webhook(id),
            Some(LeasePurpose::Watcher(_) | LeasePurpose::Compaction(_)) | None => {}
        }
    }

    fn note_webhook(&mut self, id: &str) {
        self.cluster = id.strip_prefix(CLUSTER_ALARM).map(str::to_owned);
        self.operation = first(id).filter(|operation| operation != "alarm");
    }

    fn note_fields(&mut self, kind: &RecordType, id: &str, record: &Record) {
        match kind.name {
            Operation::TYPE => {
                self.operation = Some(id.to_owned());
                self.cluster = some(names(record).cluster);
            }
            OperationControl::TYPE | OperationWait::TYPE => self.operation = Some(id.to_owned()),
            OperationHost::TYPE | OperationEvent::TYPE => self.operation = first(id),
            IdempotentRequest::TYPE => self.operation = some(names(record).operation_id),
            Enrollment::TYPE => self.cluster = some(names(record).cluster),
            CordonDebt::TYPE => {
                let Names { cluster, address, .. } = names(record);
                (self.cluster, self.host) = (some(cluster), some(address));
            }
            _ => {}
        }
    }
}

/// A record that cannot be read names nothing.
fn names(record: &Record) -> Names {
    serde_json::from_str(record.value.get()).unwrap_or_default()
}

fn some(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

/// The part of an id before the first dot.
fn first(id: &str) -> Option<String> {
    id.split_once('.').map(|(first, _)| first.to_owned())
}
