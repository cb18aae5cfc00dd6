//! `--only` and `--exclude`: which records are kept.

mod criterion;
mod subject;

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Binding, Cluster, ClusterMember, ContainerManagerConfig, ContainerManagerNodes,
    ContainerManagerSecret, Instance, Model as _, Network, Operation, ServerKeys,
};
use serde::Deserialize;

use super::TransformError;
use super::table::RecordType;
use crate::format::Record;
pub use criterion::Criterion;
use criterion::KEYS;
use subject::Subject;

/// The records that a restore of any part of an installation needs. A user whose bindings are left out would have more rights
/// by its role in the users file.
const BASE: [&str; 4] = [Binding::TYPE, Instance::TYPE, Network::TYPE, ServerKeys::TYPE];

/// The records of a container manager.
const MANAGER: [&str; 3] =
    [ContainerManagerConfig::TYPE, ContainerManagerSecret::TYPE, ContainerManagerNodes::TYPE];

/// Which lines are kept.
#[derive(Debug)]
pub(super) struct Selection {
    /// For each record, in its order.
    pub(super) records: Vec<bool>,
    /// Whether the key files are.
    pub(super) keys: bool,
}

/// Chooses the lines.
///
/// # Errors
/// When a criterion chooses nothing, or a record's place is not known.
pub(super) fn select(
    records: &[Record],
    has_keys: bool,
    only: &[Criterion],
    exclude: &[Criterion],
) -> Result<Selection, TransformError> {
    if only.is_empty() && exclude.is_empty() {
        return Ok(Selection { records: vec![true; records.len()], keys: true });
    }
    let names_objects = only.iter().chain(exclude).any(Criterion::is_object);
    let left_out_types: BTreeSet<&str> = exclude.iter().filter_map(Criterion::type_name).collect();
    let mut index = Index::default();
    let mut subjects = Vec::with_capacity(records.len());
    for record in records {
        let is_needed = names_objects && !left_out_types.contains(record.kind.as_str());
        let subject = if is_needed { subject::of(record)? } else { Subject::default() };
        index.note(record, &subject);
        subjects.push(subject);
    }
    for criterion in only.iter().chain(exclude) {
        if !criterion.chooses_some(records, has_keys, &subjects) {
            return Err(TransformError::NothingChosen(criterion.to_string()));
        }
    }
    let has_object = only.iter().any(Criterion::is_object);
    let mut kept = Vec::with_capacity(records.len());
    for (record, subject) in records.iter().zip(&subjects) {
        let is_base = has_object && BASE.contains(&record.kind.as_str());
        let is_in = only.is_empty()
            || is_base
            || only.iter().any(|criterion| index.includes(criterion, record, subject));
        let is_out = exclude.iter().any(|criterion| index.excludes(criterion, record, subject));
        kept.push(is_in && !is_out);
    }
    drop_memberships(records, &subjects, &mut kept);
    let named = |criteria: &[Criterion]| {
        criteria.iter().any(|criterion| criterion.type_name() == Some(KEYS))
    };
    let keys = (only.is_empty() || has_object || named(only)) && !named(exclude);
    Ok(Selection { records: kept, keys })
}

/// Leaves out memberships of clusters that are left out.
fn drop_memberships(records: &[Record], subjects: &[Subject], kept: &mut [bool]) {
    let lines = records.iter().zip(subjects).zip(&*kept);
    let left_out = lines.filter(|((record, _), kept)| record.kind == Cluster::TYPE && !**kept);
    let left_out: BTreeSet<_> =
        left_out.filter_map(|((_, subject), _)| subject.cluster.clone()).collect();
    for ((record, subject), kept) in records.iter().zip(subjects).zip(kept) {
        let is_left_out =
            subject.cluster.as_ref().is_some_and(|cluster| left_out.contains(cluster));
        if record.kind == ClusterMember::TYPE && is_left_out {
            *kept = false;
        }
    }
}

/// What belongs to what.
#[derive(Debug, Default)]
struct Index {
    /// The cluster of each host.
    cluster_of_host: BTreeMap<String, String>,
    /// The cluster of each operation.
    cluster_of_operation: BTreeMap<String, String>,
    /// The clusters that use a container manager.
    users_of_manager: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    fn note(&mut self, record: &Record, subject: &Subject) {
        let Some(cluster) = &subject.cluster else { return };
        match (record.kind.as_str(), &subject.host, &subject.operation) {
            (ClusterMember::TYPE, Some(host), _) => {
                self.cluster_of_host.insert(host.clone(), cluster.clone());
            }
            (Operation::TYPE, _, Some(operation)) => {
                self.cluster_of_operation.insert(operation.clone(), cluster.clone());
            }
            (Cluster::TYPE, ..) => {
                if let Some(manager) = manager_of(record) {
                    self.users_of_manager.entry(manager).or_default().insert(cluster.clone());
                }
            }
            _ => {}
        }
    }

    /// Whether `--only` with this criterion keeps a record.
    fn includes(&self, criterion: &Criterion, record: &Record, subject: &Subject) -> bool {
        match criterion {
            Criterion::Type(name) => *name == record.kind,
            Criterion::Host(_) | Criterion::Hosts(_) => criterion.has_host(subject),
            Criterion::Cluster(name) => {
                self.belongs_to(subject, name)
                    || self.users(record, subject).is_some_and(|users| users.contains(name))
            }
        }
    }

    /// Whether `--exclude` with this criterion leaves a record out.
    fn excludes(&self, criterion: &Criterion, record: &Record, subject: &Subject) -> bool {
        match criterion {
            Criterion::Cluster(name) => {
                self.belongs_to(subject, name)
                    || self.users(record, subject).is_some_and(|users| users.iter().eq([name]))
            }
            _ => self.includes(criterion, record, subject),
        }
    }

    /// Whether a record is one of a cluster, of its hosts or of its operations.
    fn belongs_to(&self, subject: &Subject, name: &String) -> bool {
        let of_host = subject.host.as_ref().and_then(|host| self.cluster_of_host.get(host));
        let operation = subject.operation.as_ref();
        let of_operation = operation.and_then(|id| self.cluster_of_operation.get(id));
        [subject.cluster.as_ref(), of_host, of_operation].contains(&Some(name))
    }

    /// The clusters that use the container manager that a record is one of.
    fn users(&self, record: &Record, subject: &Subject) -> Option<&BTreeSet<String>> {
        let is_manager = MANAGER.contains(&record.kind.as_str());
        subject.id.as_ref().filter(|_| is_manager).and_then(|id| self.users_of_manager.get(id))
    }
}

/// The container manager of a cluster.
fn manager_of(record: &Record) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        container_manager: String,
    }
    let head = serde_json::from_str::<Head>(record.value.get()).ok()?;
    Some(head.container_manager).filter(|name| !name.is_empty())
}

/// Whether this version knows a type of records.
pub(super) fn is_known(kind: &str) -> bool {
    RecordType::named(kind).is_some()
}
