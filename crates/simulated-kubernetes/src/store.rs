//! Versioned object store: one revision counter over all resources, as in etcd.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use crate::object;
use crate::resource::Resource;

/// Maximum number of changes in the history; older ones are compacted.
const HISTORY: usize = 20_000;

/// The revision of an empty store.
const FIRST: u64 = 200;

/// The key of an object; lists are ordered by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The plural name of the resource.
    pub(crate) resource: &'static str,
    /// Empty for objects of the cluster.
    pub(crate) namespace: String,
    /// The name of the object.
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        let namespace = if resource.is_namespaced() { namespace } else { "" };
        Self { resource: resource.plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key as in continue tokens: `NAMESPACE/NAME` or `NAME`.
    pub(crate) fn path(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

/// A change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The revision that the change made.
    pub(crate) revision: u64,
    /// The object that changed.
    pub(crate) key: Key,
    /// The object before; `None` when the change created it.
    pub(crate) before: Option<Arc<Value>>,
    /// The object after, or as it was deleted.
    pub(crate) object: Arc<Value>,
    /// Whether the change deleted the object.
    pub(crate) is_deletion: bool,
}

/// The revision is older than the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted;

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    revision: u64,
    compacted: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { revision: FIRST, ..Self::default() }
    }

    /// The revision of the latest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Stores an object with the next revision as its resource version.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.remember(key, before, Arc::clone(&object), false);
        object
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let mut last = Value::clone(&before);
        last["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.remember(key.clone(), Some(Arc::clone(&before)), Arc::new(last), true);
        Some(before)
    }

    fn remember(
        &mut self,
        key: Key,
        before: Option<Arc<Value>>,
        object: Arc<Value>,
        is_deletion: bool,
    ) {
        let revision = self.revision;
        self.history.push_back(Change { revision, key, before, object, is_deletion });
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.compacted = oldest.revision;
        }
    }

    /// The present objects of a resource, in one namespace or in all of them.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let plural = resource.plural;
        let first = Key { resource: plural, namespace: String::new(), name: String::new() };
        let objects = self.objects.range((Bound::Included(first), Bound::Unbounded));
        let objects = objects.take_while(move |(key, _)| key.resource == plural);
        objects.filter(move |(key, _)| namespace.is_none_or(|name| key.namespace == name))
    }

    /// The objects of a resource as they were at a revision.
    pub(crate) fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<BTreeMap<Key, Arc<Value>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let objects = self.list(resource, namespace);
        let mut then: BTreeMap<_, _> =
            objects.map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        let undone = self.history.iter().rev().take_while(|change| change.revision > revision);
        let undone = undone.filter(|change| change.key.resource == resource.plural);
        for change in undone.filter(|change| namespace.is_none_or(|ns| change.key.namespace == ns))
        {
            match &change.before {
                Some(before) => then.insert(change.key.clone(), Arc::clone(before)),
                None => then.remove(&change.key),
            };
        }
        Ok(then)
    }

    /// The changes after a revision.
    pub(crate) fn changes_after(
        &self,
        revision: u64,
    ) -> Result<impl Iterator<Item = &Change>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let from = self.history.partition_point(|change| change.revision <= revision);
        Ok(self.history.range(from..))
    }

    /// Compacts the history: lists and watches at older revisions fail with 410.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.history.clear();
    }

    /// The object with this uid.
    pub(crate) fn with_uid(&self, uid: &str) -> Option<&Arc<Value>> {
        self.objects.values().find(|object| object::uid(object) == uid)
    }

    /// All objects.
    pub(crate) fn all(&self) -> &BTreeMap<Key, Arc<Value>> {
        &self.objects
    }
}
