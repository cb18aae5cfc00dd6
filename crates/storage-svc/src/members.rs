//! The members of clusters. Each is a record of its own, under its address: a host is in one cluster at a time, and
//! one that joins changes no record of the others. The documented record of a cluster is composed from these and from
//! its head when it is read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bus::error::chain;
use bus::{Error, Result};
use model::{Address, Cluster, ClusterHead, ClusterMember, ClusterName, Model as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::handlers::{Handlers, Part};
use crate::kinds::{Checked, Kind, parse, written};
use crate::store::{Commit, CommitError, Entry};

const HEAD: &Kind = &Kind::of::<ClusterHead>();
const MEMBER: &Kind = &Kind::of::<ClusterMember>();

/// Members that are written at a time when the records of an earlier version are converted: etcd's limit is 128 changes.
const CONVERTED_PER_WRITE: usize = 50;

/// The members of all clusters at a moment.
#[derive(Debug, Default)]
pub(crate) struct Members(HashMap<ClusterName, Vec<Member>>);

/// A member, and the revision of its record.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) address: Address,
    pub(crate) revision: u64,
}

impl Members {
    /// The members of a cluster, sorted.
    pub(crate) fn of(&self, cluster: &str) -> &[Member] {
        self.0.get(cluster).map_or(&[], Vec::as_slice)
    }

    /// The cluster of a host.
    pub(crate) fn cluster_of(&self, address: &str) -> Option<&ClusterName> {
        let has = |members: &[Member]| {
            members.binary_search_by(|m| m.address.as_str().cmp(address)).is_ok()
        };
        self.0.iter().find(|(_, members)| has(members)).map(|(cluster, _)| cluster)
    }

    /// The revision of the documented record of a cluster whose head has this one.
    pub(crate) fn revision(&self, cluster: &str, head: u64) -> u64 {
        self.of(cluster).iter().map(|member| member.revision).fold(head, u64::max)
    }

    /// Reads the text of a head: its key, and the text of the documented record.
    ///
    /// # Errors
    /// A sentence that names the field and what is wrong with it.
    pub(crate) fn read_cluster(&self, text: &str) -> Checked {
        let head: ClusterHead = parse(text)?;
        let hostset = self.of(&head.name).iter().map(|member| member.address.clone()).collect();
        let key = Cluster::key(&head.name);
        Ok((key, written(&Cluster::new(head, hostset))?))
    }

    fn new(entries: &[Entry]) -> Self {
        let mut members: HashMap<ClusterName, Vec<Member>> = HashMap::new();
        for Entry { key, value, revision } in entries {
            // A damaged record must not hide the others.
            match parse::<ClusterMember>(value) {
                Ok(ClusterMember { address, cluster }) if *key == ClusterMember::key(&address) => {
                    let member = Member { address, revision: *revision };
                    members.entry(cluster).or_default().push(member);
                }
                Ok(member) => {
                    tracing::error!(
                        key,
                        host.address = member.address.as_str(),
                        "left out: it belongs elsewhere"
                    );
                }
                Err(error) => tracing::error!(key, error, "left out: the record is damaged"),
            }
        }
        Self(members)
    }
}

/// The newest list of members that was read.
#[derive(Debug, Default)]
pub(crate) struct KnownMembers(Mutex<(Arc<Vec<Entry>>, Arc<Members>)>);

impl KnownMembers {
    /// The members of all clusters. To be read after the heads: a member that leaves raises the revision of its head, so
    /// a decision by both is refused then.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn read(&self, handlers: &Handlers) -> Result<Arc<Members>> {
        let entries = handlers.list(MEMBER).await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The store gives the same list while nothing has changed.
        if !Arc::ptr_eq(&known.0, &entries) {
            *known = (Arc::clone(&entries), Arc::new(Members::new(&entries)));
        }
        Ok(Arc::clone(&known.1))
    }
}

/// What a save of a documented cluster does to the records of its members.
#[derive(Debug, Default)]
pub(crate) struct MemberChanges {
    /// Their keys, and the revisions that they must have; `None` for "absent".
    pub(crate) checks: Vec<(String, Option<u64>)>,
    pub(crate) puts: Vec<(String, Box<RawValue>)>,
    pub(crate) deletes: Vec<String>,
}

impl MemberChanges {
    /// Replaces the members of a cluster.
    ///
    /// # Errors
    /// A conflict when one of them is in another cluster.
    pub(crate) fn replace(
        &mut self,
        cluster: &str,
        wanted: &[Address],
        members: &Members,
    ) -> Result<()> {
        let current = members.of(cluster);
        let known: HashSet<_> = current.iter().map(|member| member.address.as_str()).collect();
        for address in wanted.iter().filter(|address| !known.contains(address.as_str())) {
            if let Some(other) = members.cluster_of(address) {
                return Err(Error::conflict(format!("the host {address} is a member of {other}")));
            }
            let key = ClusterMember::key(address);
            let member = ClusterMember { address: address.clone(), cluster: cluster.into() };
            let text = written(&member).map_err(Error::internal)?;
            self.checks.push((key.clone(), None));
            self.puts.push((key, text));
        }
        let wanted: HashSet<_> = wanted.iter().map(Address::as_str).collect();
        for member in current.iter().filter(|member| !wanted.contains(member.address.as_str())) {
            let key = ClusterMember::key(&member.address);
            self.checks.push((key.clone(), Some(member.revision)));
            self.deletes.push(key);
        }
        Ok(())
    }
}

/// Moves the members that earlier versions kept in the records of clusters into records of their own. What was begun and
/// cut off is continued.
///
/// # Errors
/// When the store does not answer, or other replicas write in the meantime.
pub(crate) async fn convert(handlers: &Handlers) -> Result<()> {
    #[derive(Deserialize)]
    struct Inline {
        #[serde(default)]
        hostset: BTreeSet<Address>,
    }

    for head in handlers.list(HEAD).await?.iter() {
        let inline = serde_json::from_str::<Inline>(&head.value);
        let Ok(Inline { hostset }) = inline.as_ref().map_err(|error| {
            tracing::error!(key = head.key, error = chain(error), "the record is damaged");
        }) else {
            continue;
        };
        if hostset.is_empty() {
            continue;
        }
        let (key, text) = HEAD.check(&head.value).map_err(Error::internal)?;
        let cluster = key.strip_prefix(HEAD.prefix).unwrap_or_default();
        let part = Part { kind: HEAD, key: &key, record: None };
        let store = handlers.store_for(&[part]).await?;
        let mut commits = Vec::new();
        let addresses: Vec<_> = hostset.iter().cloned().collect();
        for part in addresses.chunks(CONVERTED_PER_WRITE) {
            let keys = part.iter().map(|address| ClusterMember::key(address)).collect();
            let known = handlers.get(MEMBER, keys).await?;
            let mut changes = MemberChanges::default();
            let missing = part.iter().zip(known).filter(|(_, known)| known.is_none());
            let missing: Vec<_> = missing.map(|(address, _)| address.clone()).collect();
            changes.replace(cluster, &missing, &Members::default())?;
            commits.push((changes.checks, changes.puts));
        }
        // Last: it is what says that the members are to be converted.
        commits.push((Vec::new(), vec![(key.clone(), text)]));
        for (mut checks, puts) in commits {
            checks.push((key.clone(), Some(head.revision)));
            let puts = puts.into_iter().map(|(key, text)| (key, text.get().to_owned())).collect();
            let commit = Commit { checks, puts, deletes: Vec::new() };
            handlers.commit(store, commit).await.map_err(|error| match error {
                CommitError::Stale(_) => {
                    Error::unavailable("another storage service converts the records: try again")
                }
                CommitError::Store(error) => handlers.failure(store, error),
            })?;
        }
        tracing::info!(
            cluster.name = cluster,
            members = hostset.len(),
            "converted the record of an earlier version"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, cluster: &str, revision: u64) -> Entry {
        let value = serde_json::json!({"address": address, "cluster": cluster}).to_string();
        Entry { key: ClusterMember::key(address), value, revision }
    }

    fn members() -> Members {
        Members::new(&[entry("a", "c1", 3), entry("b", "c2", 9), entry("c", "c1", 5)])
    }

    #[test]
    fn revision_of_a_cluster_is_the_highest_of_its_records() {
        let members = members();
        assert_eq!([members.revision("c1", 4), members.revision("c1", 8)], [5, 8]);
        assert_eq!([members.revision("c2", 4), members.revision("c3", 4)], [9, 4]);
        let (key, text) = members.read_cluster(r#"{"name": "c1"}"#).unwrap();
        let cluster: Cluster = serde_json::from_str(text.get()).unwrap();
        assert_eq!(
            (key.as_str(), cluster.hostset),
            ("/commissaire/clusters/c1", vec!["a".into(), "c".into()])
        );
    }

    #[test]
    fn damaged_members_are_left_out() {
        let misplaced = Entry { key: ClusterMember::key("x"), ..entry("a", "c1", 1) };
        let damaged = Entry { value: "{".into(), ..entry("d", "c1", 1) };
        let members = Members::new(&[misplaced, damaged, entry("e", "c1", 1)]);
        assert_eq!(members.of("c1").len(), 1);
    }

    #[test]
    fn replaced_members_are_checked_one_by_one() {
        let mut changes = MemberChanges::default();
        changes.replace("c1", &["c".into(), "d".into()], &members()).unwrap();
        let (a, d) = (ClusterMember::key("a"), ClusterMember::key("d"));
        assert_eq!(changes.checks, [(d.clone(), None), (a.clone(), Some(3))]);
        assert_eq!(changes.puts.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [d]);
        assert_eq!(changes.deletes, [a]);
        let error = MemberChanges::default().replace("c1", &["b".into()], &members()).unwrap_err();
        assert_eq!(error.to_string(), "the host b is a member of c2");
    }
}
