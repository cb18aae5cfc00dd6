//! Creating, replacing and patching objects.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::cluster::Cluster;
use crate::decode::{self, Decoded, FieldValidation};
use crate::managed::{self, Manager};
use crate::object::{self, is_terminating, text};
use crate::patch::Format;
use crate::request::Request;
use crate::resource::{Resource, Storage};
use crate::route::Target;
use crate::status::{Failure, FieldError};
use crate::store::Key;
use crate::validate;
use crate::{defaults, effects, go, schema};

/// Metadata fields that an update cannot change.
const PRESERVED: &[&str] = &[
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
    "generation",
    "managedFields",
    "namespace",
    "resourceVersion",
];

impl Cluster {
    pub(crate) fn create(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        decode::check_options(request, "CreateOptions")?;
        let Decoded { object, warnings } = decode::resource(request, resource)?;
        let created = self.created(request, resource, target, object, None)?;
        Ok(Answer::json(201, &created).with_warnings(&warnings).into())
    }

    /// Creates an object as a client; with `applied`, by server-side apply.
    fn created(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
        mut object: Value,
        applied: Option<&Value>,
    ) -> Result<Value, Failure> {
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        if object["metadata"]["resourceVersion"].is_string() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::internal(message));
        }
        if resource.is_namespaced() {
            self.check_namespace(resource, target, &object)?;
            object["metadata"]["namespace"] = target.namespace.clone().into();
        } else {
            object::remove(&mut object, "/metadata", "namespace");
        }
        self.complete(resource, &mut object);
        let name = object::name(&object).to_owned();
        let errors = validate::created(resource, &object);
        if !errors.is_empty() {
            return Err(Failure::invalid(resource, &name, &errors));
        }
        let key = Key::new(resource, &target.namespace, &name);
        if let Some(existing) = self.store.get(&key) {
            return Err(Failure::already_exists(resource, &name, is_terminating(existing)));
        }
        let time = self.time();
        managed::record(&json!({}), &mut object, &manager(request, "", &time), applied);
        self.changes = Some(if request.is_dry_run() { "(dry run)" } else { "" }.to_owned());
        self.created = Some(name);
        if request.is_dry_run() {
            return Ok(object);
        }
        Ok(Value::clone(&self.store.put(key, object)))
    }

    /// Sets the server-managed fields of a new object: name, uid, timestamps, generation and defaults.
    pub(crate) fn complete(&mut self, resource: &Resource, object: &mut Value) {
        let prefix = text(object, "/metadata/generateName").to_owned();
        if object::name(object).is_empty() && !prefix.is_empty() {
            object["metadata"]["name"] = format!("{prefix}{}", self.names.suffix()).into();
        }
        object["metadata"]["uid"] = self.names.uid().into();
        object["metadata"]["creationTimestamp"] = self.time().into();
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
            object::remove(object, "/metadata", field);
        }
        if resource.storage == Storage::Generations {
            object["metadata"]["generation"] = 1.into();
        }
        // Of the kinds with a status subresource, only nodes keep the status of the create request.
        if resource.has_status() && resource.kind != "Node" {
            object::remove(object, "", "status");
        }
        defaults::created(resource.kind, object);
        defaults::decoded(resource.kind, object);
    }

    fn check_namespace(
        &self,
        resource: &Resource,
        target: &Target,
        object: &Value,
    ) -> Result<(), Failure> {
        if target.namespace.is_empty() {
            return Err(Failure::method_not_allowed());
        }
        if !["", target.namespace.as_str()].contains(&object::namespace(object)) {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(message));
        }
        let key = Key {
            resource: "namespaces",
            namespace: String::new(),
            name: target.namespace.clone(),
        };
        let Some(namespace) = self.store.get(&key) else {
            let namespaces = crate::resource::find("", "v1", "namespaces").unwrap_or(resource);
            return Err(Failure::not_found(namespaces, &target.namespace));
        };
        if !is_terminating(namespace) {
            return Ok(());
        }
        let (name, ns) = (object::name(object), &target.namespace);
        let because = format!(
            "unable to create new content in namespace {ns} because it is being terminated"
        );
        let message = format!("{} {name:?} is forbidden: {because}", resource.qualified());
        let cause = json!({"reason": "NamespaceTerminating",
            "message": format!("namespace {ns} is being terminated"), "field": "metadata.namespace"});
        let mut details = crate::status::details(resource, name);
        details["causes"] = json!([cause]);
        Err(Failure::new(403, "Forbidden", message).with_details(details))
    }

    pub(crate) fn replace(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        decode::check_options(request, "UpdateOptions")?;
        let Decoded { mut object, warnings } = decode::resource(request, resource)?;
        check_name(target, &object)?;
        let key = Self::key(resource, target);
        let old = self.existing(resource, &key)?;
        let (uid, known) = (text(&object, "/metadata/uid").to_owned(), object::uid(&old));
        if !["", known].contains(&uid.as_str()) {
            let stored = if resource.kind == "Node" { "minions" } else { resource.plural };
            let cause = format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{stored}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {known}",
                key.path()
            );
            return Err(Failure::conflict(resource, &key.name, &cause));
        }
        object["metadata"]["uid"] = known.into();
        let new = self.update(request, resource, target, &old, object, None)?;
        Ok(Answer::json(200, &new).with_warnings(&warnings).into())
    }

    pub(crate) fn existing(&self, resource: &Resource, key: &Key) -> Result<Arc<Value>, Failure> {
        let object = self.store.get(key).cloned();
        object.ok_or_else(|| Failure::not_found(resource, &key.name))
    }

    pub(crate) fn patch(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let is_custom = resource.group.ends_with(".x-k8s.io");
        let format = Format::of(&request.content_type)
            .filter(|format| !(is_custom && *format == Format::Strategic));
        let Some(format) = format else {
            let message = "415: Unsupported Media Type";
            return Err(Failure::new(415, "UnsupportedMediaType", message).with_details(json!({})));
        };
        decode::check_options(request, "PatchOptions")?;
        if format == Format::Apply {
            return self.server_side_apply(request, resource, target);
        }
        let patch = format.parse(&request.body)?;
        let old = self.existing(resource, &Self::key(resource, target))?;
        let mut patched = format.apply(&old, &patch)?;
        let quoted = match format {
            Format::Strategic => go::printed(&patch),
            _ => patched.to_string(),
        };
        let unfit = |error: &str| {
            let error = FieldError::invalid("patch", &quoted, error);
            Failure::invalid_kind("", "", "", &[error])
        };
        let mut warnings = decode::unknown_fields(resource.kind, &mut patched);
        match FieldValidation::of(request) {
            FieldValidation::Strict if !warnings.is_empty() => {
                return Err(unfit(&format!("strict decoding error: {}", warnings.join(", "))));
            }
            FieldValidation::Ignore => warnings.clear(),
            _ => {}
        }
        if !patched["metadata"].is_object() {
            return Err(unfit("metadata is missing"));
        }
        if let Some(error) = schema::type_error(resource.kind, &patched) {
            return Err(unfit(&error));
        }
        check_name(target, &patched)?;
        let new = self.update(request, resource, target, &old, patched, None)?;
        Ok(Answer::json(200, &new).with_warnings(&warnings).into())
    }

    fn server_side_apply(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let config = decode::yaml(&request.body)
            .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?;
        let kind = text(&config, "/kind");
        if kind.is_empty() {
            return Err(Failure::bad_request("invalid object type: /, Kind="));
        }
        check_name(target, &config)?;
        let key = Self::key(resource, target);
        let Some(live) = self.store.get(&key).cloned() else {
            let created = self.created(request, resource, target, config.clone(), Some(&config))?;
            return Ok(Answer::json(201, &created).into());
        };
        let manager = request.manager();
        let conflicts = managed::conflicts(&live, &config, manager);
        if !conflicts.is_empty() && !request.is_set("force") {
            return Err(conflict(&conflicts));
        }
        let mut merged = Format::Apply.apply(&live, &config)?;
        managed::remove_abandoned(&mut merged, &config, manager);
        if let Some(error) = schema::type_error(resource.kind, &merged) {
            return Err(Failure::bad_request(error));
        }
        let new = self.update(request, resource, target, &live, merged, Some(&config))?;
        Ok(Answer::json(200, &new).into())
    }

    /// Validates and stores an update by a client; returns the stored object.
    fn update(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
        old: &Arc<Value>,
        mut new: Value,
        applied: Option<&Value>,
    ) -> Result<Value, Failure> {
        let key = Self::key(resource, target);
        let version = text(&new, "/metadata/resourceVersion");
        if !["", text(old, "/metadata/resourceVersion")].contains(&version) {
            return Err(Failure::modified(resource, &key.name));
        }
        Self::prepare(resource, &target.subresource, old, &mut new);
        let errors = validate::updated(resource, old, &new);
        if !errors.is_empty() {
            return Err(Failure::invalid(resource, &key.name, &errors));
        }
        let time = self.time();
        if is_changed(old, &new) || applied.is_some() {
            managed::record(old, &mut new, &manager(request, &target.subresource, &time), applied);
        }
        self.changes = Some(effects::changes(old, &new));
        if request.is_dry_run() {
            self.changes = Some("(dry run)".to_owned());
            return Ok(new);
        }
        Ok(self.commit(key, old, new))
    }

    /// Restores the fields of `old` that a write through this subresource cannot change.
    pub(crate) fn prepare(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
        for field in ["apiVersion", "kind"] {
            new[field] = old[field].clone();
        }
        for field in PRESERVED {
            match old["metadata"].get(field) {
                Some(value) => new["metadata"][field] = value.clone(),
                None => drop(object::remove(new, "/metadata", field)),
            }
        }
        if new["metadata"]["uid"].is_null() {
            new["metadata"]["uid"] = old["metadata"]["uid"].clone();
        }
        let kept: &[&str] = match subresource {
            "status" => &["spec"],
            _ if resource.has_status() => &["status"],
            _ => &[],
        };
        for field in kept {
            match old.get(field) {
                Some(value) => new[*field] = value.clone(),
                None => drop(object::remove(new, "", field)),
            }
        }
        defaults::decoded(resource.kind, new);
        if resource.storage == Storage::Generations && new["spec"] != old["spec"] {
            let generation = object::number(old, "/metadata/generation").unwrap_or_default();
            new["metadata"]["generation"] = (generation + 1).into();
        }
    }

    /// Stores `new` unless it equals `old`. Removing the last finalizer of a terminating object deletes it.
    pub(crate) fn commit(&mut self, key: Key, old: &Arc<Value>, new: Value) -> Value {
        let grace =
            object::number(&new, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
        let is_held = !object::items(&new, "/metadata/finalizers").is_empty();
        let had = !object::items(old, "/metadata/finalizers").is_empty();
        if is_terminating(&new) && had && !is_held && grace == 0 {
            self.store.remove(&key);
            return new;
        }
        if !is_changed(old, &new)
            && old["metadata"]["managedFields"] == new["metadata"]["managedFields"]
        {
            return Value::clone(old);
        }
        Value::clone(&self.store.put(key, new))
    }
}

/// Whether the objects differ in anything but `managedFields`.
fn is_changed(old: &Value, new: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        object::remove(&mut object, "/metadata", "managedFields");
        object
    };
    without(old) != without(new)
}

/// Checks that the object is the one in the URL.
fn check_name(target: &Target, object: &Value) -> Result<(), Failure> {
    let (name, namespace) = (object::name(object), object::namespace(object));
    if name != target.name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    if !target.namespace.is_empty() && !["", target.namespace.as_str()].contains(&namespace) {
        return Err(Failure::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the URL ({})",
            target.namespace
        )));
    }
    Ok(())
}

fn manager<'a>(request: &'a Request, subresource: &'a str, time: &'a str) -> Manager<'a> {
    let is_apply = Format::of(&request.content_type) == Some(Format::Apply);
    let operation = if is_apply { "Apply" } else { "Update" };
    Manager { name: request.manager(), operation, subresource, time }
}

fn conflict(conflicts: &[managed::Conflict]) -> Failure {
    let message = match conflicts {
        [one] => {
            format!("Apply failed with 1 conflict: conflict with {}: {}", one.owner, one.field)
        }
        many => {
            let lines =
                many.iter().map(|one| format!("conflict with {}: {}", one.owner, one.field));
            let lines: Vec<_> = lines.collect();
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes = conflicts.iter().map(|one| {
        json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", one.owner),
            "field": one.field})
    });
    let details = json!({"causes": causes.collect::<Vec<_>>()});
    Failure::new(409, "Conflict", message).with_details(details)
}
