//! The documented records of the operations over a cluster: one shape for each kind of operation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Address, ClusterName, Failure, Model, OperationStatus, Stamp, Work, ident};

/// A rolling operation, as REST shows it: the newest one of its kind on a cluster. It is composed from the records of the
/// operation and its hosts when it is read; of operations of the original, and of those whose records were removed, it
/// is what is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterRecord<W: Work> {
    /// The cluster.
    pub name: ClusterName,
    /// Where it is.
    pub status: OperationStatus,
    /// The version to deploy; empty for other work.
    pub version: String,
    /// When it was accepted.
    pub started_at: Stamp,
    /// When it ended; null before.
    pub finished_at: Option<Stamp>,
    /// Hosts under way; at the end of a failed one, those that failed.
    pub in_process: Vec<Address>,
    /// Hosts that are done: `restarted`, or what its kind says.
    pub done: Vec<Address>,
    /// Only in a failed one.
    pub failures: Vec<Failure>,
    /// What it is a record of.
    pub work: PhantomData<W>,
}

/// The fields of such a record, in which the list of hosts that are done has a name of its own for each kind.
#[derive(Deserialize)]
struct Fields {
    name: ClusterName,
    #[serde(default)]
    status: OperationStatus,
    #[serde(default)]
    version: String,
    #[serde(default)]
    started_at: Stamp,
    #[serde(default)]
    finished_at: Option<Stamp>,
    #[serde(default)]
    in_process: Vec<Address>,
    #[serde(default)]
    failures: Vec<Failure>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl<'de, W: Work> Deserialize<'de> for ClusterRecord<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(deserializer)?;
        let list = W::KIND.facts().done;
        let done = fields.others.remove(list).map(serde_json::from_value).transpose();
        Ok(Self {
            done: done.map_err(|e| D::Error::custom(format!("{list}: {e}")))?.unwrap_or_default(),
            name: fields.name,
            status: fields.status,
            version: fields.version,
            started_at: fields.started_at,
            finished_at: fields.finished_at,
            in_process: fields.in_process,
            failures: fields.failures,
            work: PhantomData,
        })
    }
}

/// Which operation is the newest one of its kind on a cluster: what is kept under the key of the documented record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct NewestOperation<W: Work> {
    /// The cluster.
    pub name: ClusterName,
    /// The operation; empty where the documented record itself is kept.
    #[serde(default)]
    pub operation: String,
    /// What it is about.
    #[serde(skip)]
    pub work: PhantomData<W>,
}

impl<W: Work> Serialize for ClusterRecord<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("status", &self.status)?;
        if !self.version.is_empty() {
            map.serialize_entry("version", &self.version)?;
        }
        map.serialize_entry("started_at", &self.started_at)?;
        map.serialize_entry("finished_at", &self.finished_at)?;
        map.serialize_entry("in_process", &self.in_process)?;
        map.serialize_entry(W::KIND.facts().done, &self.done)?;
        if !self.failures.is_empty() {
            map.serialize_entry("failures", &self.failures)?;
        }
        map.end()
    }
}

impl<W: Work> PartialSchema for ClusterRecord<W> {
    fn schema() -> RefOr<Schema> {
        let (hosts, kind) = (Vec::<String>::schema, W::KIND.facts());
        let record = ObjectBuilder::new()
            .property("name", String::schema())
            .property("status", OperationStatus::schema())
            .property("started_at", String::schema())
            .property("finished_at", Option::<String>::schema())
            .property("in_process", hosts())
            .property(kind.done, hosts())
            .property("failures", Vec::<Failure>::schema());
        let record = if kind.takes_version {
            record.property("version", String::schema()).required("version")
        } else {
            record
        };
        let always = ["name", "status", "started_at", "finished_at", "in_process", kind.done];
        always.into_iter().fold(record, ObjectBuilder::required).into()
    }
}

impl<W: Work> ToSchema for ClusterRecord<W> {
    fn name() -> Cow<'static, str> {
        W::KIND.facts().record.into()
    }
}

impl<W: Work> Model for ClusterRecord<W> {
    const TYPE: &'static str = W::KIND.facts().record;
    const LIST_TYPE: &'static str = W::KIND.facts().records;
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/cluster/";
    const SUFFIX: &'static str = W::KIND.facts().suffix;

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)
    }
}

impl<W: Work> NewestOperation<W> {
    /// The operation with this id is the newest on that cluster.
    pub fn new(cluster: &ClusterName, operation: &str) -> Self {
        Self { name: cluster.clone(), operation: operation.to_owned(), work: PhantomData }
    }
}

impl<W: Work> Model for NewestOperation<W> {
    const TYPE: &'static str = W::KIND.facts().newest;
    const LIST_TYPE: &'static str = W::KIND.facts().newest;
    const ID: &'static str = "name";
    const PREFIX: &'static str = ClusterRecord::<W>::PREFIX;
    const SUFFIX: &'static str = ClusterRecord::<W>::SUFFIX;
    const PART_OF: &'static str = ClusterRecord::<W>::TYPE;

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        if self.operation.is_empty() { Ok(()) } else { ident::name(&self.operation) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ClusterDeploy, ClusterRestart, ClusterUpgrade};

    fn reads_back<W: Work>(record: &ClusterRecord<W>, written: &Value) {
        assert_eq!(&serde_json::to_value(record).unwrap(), written);
        let read: ClusterRecord<W> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(&read, record);
    }

    #[test]
    fn a_record_that_did_not_fail_has_the_documented_keys() {
        let restart = ClusterRestart { name: "c1".into(), ..Default::default() };
        let written = json!({"name": "c1", "status": "in_process", "started_at": "",
                             "finished_at": null, "in_process": [], "restarted": []});
        reads_back(&restart, &written);
        let (version, done) = ("7.2".to_owned(), vec!["a".into()]);
        let deploy = ClusterDeploy { name: "c1".into(), version, done, ..Default::default() };
        let written = json!({"name": "c1", "status": "in_process", "version": "7.2",
                             "started_at": "", "finished_at": null, "in_process": [],
                             "deployed": ["a"]});
        reads_back(&deploy, &written);
        assert_eq!(ClusterUpgrade::key("c1"), "/commissaire/cluster/c1/upgrade");
    }
}
