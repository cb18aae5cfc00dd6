//! Writes by controllers, kubelets and tests, which bypass the API and are logged as effects.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::delete::{DeleteOptions, Deleted};
use crate::effects::{self, Effect};
use crate::managed::{self, Manager};
use crate::object::{self, text};
use crate::resource::{self, Resource};
use crate::route::Target;
use crate::store::Key;

/// The user name of writes by tests.
pub(crate) const ADMINISTRATOR: &str = "system:admin";

/// The resource with this plural name.
///
/// # Panics
/// When the stand-in does not have it.
pub(crate) fn resource_named(plural: &str) -> &'static Resource {
    resource::named(plural).unwrap_or_else(|| panic!("no resource {plural:?}"))
}

impl Cluster {
    /// Logs a write.
    pub(crate) fn log(
        &mut self,
        user: &str,
        verb: &str,
        key: &Key,
        subresource: &str,
        changes: &str,
    ) {
        let target = Target {
            resource: key.resource.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: subresource.to_owned(),
            ..Target::default()
        };
        let status = if verb == "create" { 201 } else { 200 };
        let effect = Effect::new(self.elapsed(), user, verb, &target, status);
        self.effects.push(effect.with_changes(changes));
    }

    /// Creates an object; `None` when there is one of this name.
    pub(crate) fn create_as(&mut self, user: &str, mut object: Value) -> Option<Arc<Value>> {
        let resource = resource_named(text(&object, "/kind"));
        let status = object["status"].take();
        self.complete(resource, &mut object);
        if !status.is_null() {
            object["status"] = status;
        }
        let key = Key::new(resource, object::namespace(&object), object::name(&object));
        if self.store.get(&key).is_some() {
            return None;
        }
        let time = self.time();
        managed::record(&json!({}), &mut object, &manager(user, "", &time), None);
        let stored = self.store.put(key.clone(), object);
        self.log(user, "create", &key, "", "");
        Some(stored)
    }

    /// Updates an object; does nothing if it does not exist or does not change.
    pub(crate) fn update_as(
        &mut self,
        user: &str,
        key: &Key,
        subresource: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let Some(old) = self.store.get(key).cloned() else { return };
        let mut new = Value::clone(&old);
        change(&mut new);
        if new == *old {
            return;
        }
        Self::prepare(resource_named(key.resource), subresource, &old, &mut new);
        let time = self.time();
        managed::record(&old, &mut new, &manager(user, subresource, &time), None);
        let changes = effects::changes(&old, &new);
        self.commit(key.clone(), &old, new);
        self.log(user, "patch", key, subresource, &changes);
    }

    /// Deletes an object, if it exists.
    pub(crate) fn delete_as(&mut self, user: &str, key: &Key, grace_period: Option<i64>) {
        let options = DeleteOptions { grace_period, ..DeleteOptions::default() };
        let Ok(Deleted { .. }) = self.delete_object(resource_named(key.resource), key, &options)
        else {
            return;
        };
        let changes = grace_period.map(|seconds| format!("gracePeriodSeconds={seconds}"));
        self.log(user, "delete", key, "", &changes.unwrap_or_default());
    }

    /// Creates an object as an administrator, or replaces it whole, status included.
    pub(crate) fn apply(&mut self, mut object: Value) {
        let resource = resource_named(text(&object, "/kind"));
        if resource.is_namespaced() && object::namespace(&object).is_empty() {
            object["metadata"]["namespace"] = "default".into();
        }
        let key = Key::new(resource, object::namespace(&object), object::name(&object));
        let Some(old) = self.store.get(&key).cloned() else {
            self.create_as(ADMINISTRATOR, object);
            return;
        };
        let status = object["status"].take();
        let mut new = object;
        if !new["metadata"].is_object() {
            return;
        }
        Self::prepare(resource, "", &old, &mut new);
        new["metadata"]["uid"] = old["metadata"]["uid"].clone();
        if !status.is_null() {
            new["status"] = status;
        }
        let changes = effects::changes(&old, &new);
        self.commit(key.clone(), &old, new);
        self.log(ADMINISTRATOR, "update", &key, "", &changes);
    }
}

fn manager<'a>(user: &'a str, subresource: &'a str, time: &'a str) -> Manager<'a> {
    let user = user.strip_prefix("system:").unwrap_or(user);
    let name = match user.split(':').next() {
        Some("node") => "kubelet",
        Some("serviceaccount") => "kube-controller-manager",
        _ => user,
    };
    Manager { name, operation: "Update", subresource, time }
}
