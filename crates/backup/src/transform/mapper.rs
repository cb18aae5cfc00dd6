//! Applies the mappings to texts of each content, and watches that no two names become one.

use std::collections::{BTreeMap, BTreeSet};

use model::{ClusterPatterns, CordonOwner, LeasePurpose};

use super::TransformError;
use super::address_map::{AddressMap, Mapped, MappedNetwork};
use super::names::{NameMap, user_in};
use super::sentence::{self, Words};
use super::table::Content;

/// What the scope of an alarm about a cluster begins with.
const CLUSTER_SCOPE: &str = "cluster.";

/// What the id of a pending webhook about an alarm begins with.
const ALARM: &str = "alarm.";

/// See the module.
#[derive(Debug)]
pub(super) struct Mapper<'a> {
    addresses: &'a AddressMap,
    clusters: &'a NameMap,
    users: &'a NameMap,
    /// The names in the result, each with its name in the backup.
    hosts: BTreeMap<String, String>,
    cluster_names: BTreeMap<String, String>,
    user_names: BTreeMap<String, String>,
    /// The left sides of the mappings that were applied.
    used: BTreeSet<String>,
    /// Sentences for the operator, each once.
    notes: BTreeSet<String>,
}

impl<'a> Mapper<'a> {
    pub(super) fn new(
        addresses: &'a AddressMap,
        clusters: &'a NameMap,
        users: &'a NameMap,
    ) -> Self {
        Self {
            addresses,
            clusters,
            users,
            hosts: BTreeMap::new(),
            cluster_names: BTreeMap::new(),
            user_names: BTreeMap::new(),
            used: BTreeSet::new(),
            notes: BTreeSet::new(),
        }
    }

    /// What takes the place of a text in the record under `key`; `None` if it stays.
    ///
    /// # Errors
    /// When two hosts or clusters would have one name.
    pub(super) fn map(
        &mut self,
        content: Content,
        text: &str,
        key: &str,
    ) -> Result<Option<String>, TransformError> {
        Ok(match content {
            // A subject is one of these by the field beside it.
            Content::Plain | Content::Subject => None,
            Content::Address | Content::SortedAddress => self.address(text)?,
            Content::OtherAddress => self.other_address(text),
            Content::Network => self.network(text, key),
            Content::Cluster => self.cluster(text)?,
            Content::ClusterPattern => self.pattern(text, key)?,
            Content::User => self.user(text),
            Content::CordonOwner => self.cordon_owner(text),
            Content::Sentence => self.sentence(text, Words::All),
            Content::Command => self.sentence(text, Words::Addresses),
            Content::AlarmScope => self.scope(text)?,
            Content::OperationHost => match text.split_once('.') {
                Some((operation, address)) => {
                    self.address(address)?.map(|new| format!("{operation}.{new}"))
                }
                None => None,
            },
            Content::LeaseName => self.lease(text)?,
            Content::WebhookId => match text.strip_prefix(ALARM) {
                Some(scope) => self.scope(scope)?.map(|new| format!("{ALARM}{new}")),
                None => None,
            },
        })
    }

    /// What the operator is to know, when all records are mapped.
    pub(super) fn into_notes(mut self) -> Vec<String> {
        let (addresses, clusters, users) = (self.addresses, self.clusters, self.users);
        let mut unused = |option: &str, source: &str| {
            if !self.used.contains(&format!("{option} {source}")) {
                self.notes.insert(format!("{option} {source}=… applies to nothing in the backup"));
            }
        };
        addresses.sources().for_each(|source| unused(ADDRESS_OPTION, &source));
        clusters.sources().for_each(|source| unused(CLUSTER_OPTION, source));
        users.sources().for_each(|source| unused(USER_OPTION, source));
        self.notes.into_iter().collect()
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.insert(note);
    }

    fn use_source(&mut self, option: &str, source: &str) {
        self.used.insert(format!("{option} {source}"));
    }

    fn address(&mut self, text: &str) -> Result<Option<String>, TransformError> {
        if text.is_empty() || self.addresses.is_empty() {
            return Ok(None);
        }
        let new = self.other_address(text);
        let result = new.as_deref().unwrap_or(text);
        match self.hosts.get(result) {
            Some(other) if other != text => {
                return Err(TransformError::HostsMerged {
                    first: other.clone(),
                    second: text.to_owned(),
                    address: result.to_owned(),
                });
            }
            Some(_) => {}
            None => drop(self.hosts.insert(result.to_owned(), text.to_owned())),
        }
        Ok(new)
    }

    fn other_address(&mut self, text: &str) -> Option<String> {
        let Mapped { new, source } = self.addresses.map(text)?;
        self.use_source(ADDRESS_OPTION, &source);
        Some(new)
    }

    fn network(&mut self, text: &str, key: &str) -> Option<String> {
        match self.addresses.map_network(text) {
            MappedNetwork::Mapped(Mapped { new, source }) => {
                self.use_source(ADDRESS_OPTION, &source);
                Some(new)
            }
            MappedNetwork::Overlaps => {
                self.note(format!(
                    "{key}: the network {text} stays: it holds addresses that are mapped, and others"
                ));
                None
            }
            MappedNetwork::Outside => None,
        }
    }

    fn sentence(&mut self, text: &str, words: Words) -> Option<String> {
        if self.addresses.is_empty() {
            return None;
        }
        let (new, sources) = sentence::map(text, words, self.addresses)?;
        for source in &sources {
            self.use_source(ADDRESS_OPTION, source);
        }
        Some(new)
    }

    fn cluster(&mut self, text: &str) -> Result<Option<String>, TransformError> {
        if text.is_empty() || self.clusters.is_empty() {
            return Ok(None);
        }
        let new = self.clusters.map(text);
        let result = new.unwrap_or(text);
        match self.cluster_names.get(result) {
            Some(other) if other != text => {
                return Err(TransformError::ClustersMerged {
                    first: other.clone(),
                    second: text.to_owned(),
                    name: result.to_owned(),
                });
            }
            Some(_) => {}
            None => drop(self.cluster_names.insert(result.to_owned(), text.to_owned())),
        }
        if new.is_some() {
            self.use_source(CLUSTER_OPTION, text);
        }
        Ok(new.map(str::to_owned))
    }

    /// A pattern with `*` stays. It is reported if it includes only one of the two names.
    fn pattern(&mut self, text: &str, key: &str) -> Result<Option<String>, TransformError> {
        if !text.contains('*') {
            return self.cluster(text);
        }
        let Ok(pattern) = ClusterPatterns::try_from(vec![text.to_owned()]) else { return Ok(None) };
        let mut notes = Vec::new();
        for (old, new) in self.clusters.iter() {
            let effect = match (pattern.includes(old), pattern.includes(new)) {
                (true, false) => "includes the former name only",
                (false, true) => "includes the new name only",
                _ => continue,
            };
            notes.push(format!(
                "{key}: the pattern {text:?} stays, and {effect} of the cluster {old}, now {new}"
            ));
        }
        self.notes.extend(notes);
        Ok(None)
    }

    fn user(&mut self, text: &str) -> Option<String> {
        if text.is_empty() || self.users.is_empty() {
            return None;
        }
        let (before, user) = user_in(text);
        let new = self.users.map(user);
        let result = new.unwrap_or(user);
        match self.user_names.get(result) {
            Some(other) if other != user => {
                let (first, second) = if other.as_str() < user {
                    (other.as_str(), user)
                } else {
                    (user, other.as_str())
                };
                let note = format!(
                    "the users {first} and {second} become one, {result}: check its bindings and tokens"
                );
                self.notes.insert(note);
            }
            Some(_) => {}
            None => drop(self.user_names.insert(result.to_owned(), user.to_owned())),
        }
        let new = new?;
        self.use_source(USER_OPTION, user);
        Some(format!("{before}{new}"))
    }

    fn cordon_owner(&mut self, text: &str) -> Option<String> {
        match text.parse() {
            Ok(CordonOwner::Manual { instance, principal }) => {
                let principal = self.user(&principal)?;
                Some(CordonOwner::Manual { instance, principal }.to_string())
            }
            Ok(CordonOwner::Operation { .. }) | Err(()) => None,
        }
    }

    fn scope(&mut self, text: &str) -> Result<Option<String>, TransformError> {
        let Some(cluster) = text.strip_prefix(CLUSTER_SCOPE) else { return Ok(None) };
        Ok(self.cluster(cluster)?.map(|new| format!("{CLUSTER_SCOPE}{new}")))
    }

    fn lease(&mut self, text: &str) -> Result<Option<String>, TransformError> {
        let Some(purpose) = LeasePurpose::of(text) else { return Ok(None) };
        let new = match purpose {
            LeasePurpose::Operation(cluster) | LeasePurpose::Change(cluster) => {
                self.cluster(cluster)?
            }
            LeasePurpose::Investigation(address) => self.address(address)?,
            LeasePurpose::Webhook(id) => self.map(Content::WebhookId, id, "")?,
            LeasePurpose::Watcher(_) | LeasePurpose::LateHosts(_) | LeasePurpose::Compaction(_) => {
                None
            }
        };
        let word = text.split_once('.').map_or("", |(word, _)| word);
        Ok(new.map(|new| format!("{word}.{new}")))
    }
}

/// The options, as the notes name them.
const ADDRESS_OPTION: &str = "--map-address";
const CLUSTER_OPTION: &str = "--map-cluster";
const USER_OPTION: &str = "--map-user";
