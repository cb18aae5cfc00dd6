//! Deleting objects: preconditions, grace periods, finalizers.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::cluster::Cluster;
use crate::decode;
use crate::go;
use crate::object::{self, is_terminating, items, number, text};
use crate::read::Form;
use crate::request::Request;
use crate::resource::Resource;
use crate::route::Target;
use crate::status::{self, Failure};
use crate::store::Key;

/// The options of a deletion.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    /// `Orphan`, `Foreground`, `Background` or empty.
    pub(crate) propagation: String,
    pub(crate) is_dry_run: bool,
}

impl DeleteOptions {
    /// The options in the body of a request and in its query.
    fn of(request: &Request) -> Result<Self, Failure> {
        decode::check_options(request, "DeleteOptions")?;
        let body = &request.body;
        let options: Value = if body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(body).map_err(|error| {
                let error = go::json_error(body, &error);
                Failure::bad_request(format!(
                    "couldn't get version/kind; json parse error: {error}"
                ))
            })?
        };
        let mut parsed = Self::parse(&options);
        parsed.is_dry_run |= request.is_dry_run();
        if let Ok(seconds) = request.parameter("gracePeriodSeconds").parse() {
            parsed.grace_period = Some(seconds);
        }
        if !request.parameter("propagationPolicy").is_empty() {
            request.parameter("propagationPolicy").clone_into(&mut parsed.propagation);
        }
        Ok(parsed)
    }

    /// The options of an object `DeleteOptions`.
    pub(crate) fn parse(options: &Value) -> Self {
        let some = |pointer| match text(options, pointer) {
            "" => None,
            text => Some(text.to_owned()),
        };
        Self {
            grace_period: number(options, "/gracePeriodSeconds"),
            uid: some("/preconditions/uid"),
            resource_version: some("/preconditions/resourceVersion"),
            propagation: text(options, "/propagationPolicy").to_owned(),
            is_dry_run: items(options, "/dryRun").contains(&json!("All")),
        }
    }

    /// Checks the preconditions.
    pub(crate) fn check(&self, resource: &Resource, object: &Value) -> Result<(), Failure> {
        let name = object::name(object);
        let uid = object::uid(object);
        if let Some(wanted) = self.uid.as_deref().filter(|wanted| *wanted != uid) {
            let cause = format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            );
            return Err(Failure::precondition(resource, name, &cause));
        }
        let version = text(object, "/metadata/resourceVersion");
        if let Some(wanted) = self.resource_version.as_deref().filter(|wanted| *wanted != version) {
            let cause = format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            );
            return Err(Failure::precondition(resource, name, &cause));
        }
        Ok(())
    }
}

/// The result of a deletion.
#[derive(Debug)]
pub(crate) struct Deleted {
    pub(crate) object: Value,
    /// Whether the object has been removed from the store.
    pub(crate) is_removed: bool,
}

impl Cluster {
    pub(crate) fn delete(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let options = DeleteOptions::of(request)?;
        let deleted = self.delete_object(resource, &Self::key(resource, target), &options)?;
        self.changes = Some(match options.grace_period {
            _ if options.is_dry_run => "(dry run)".to_owned(),
            Some(seconds) => format!("gracePeriodSeconds={seconds}"),
            None => String::new(),
        });
        let object = deleted.object;
        let is_status = deleted.is_removed && !["Pod", "Namespace"].contains(&resource.kind);
        let body = if is_status {
            status::deleted(resource, object::name(&object), &object["metadata"]["uid"])
        } else {
            object
        };
        Ok(Answer::json(200, &body).into())
    }

    pub(crate) fn delete_collection(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let options = DeleteOptions::of(request)?;
        let page = self.page(request, resource, target, Form::Json)?;
        for key in &page.keys {
            self.delete_object(resource, key, &options)?;
        }
        self.changes = Some(format!("{} objects", page.keys.len()));
        Ok(Answer::json(200, &page.list).into())
    }

    /// Deletes an object, or marks it as terminating while a grace period, a finalizer or the content of a namespace
    /// delays the removal.
    pub(crate) fn delete_object(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        let old = self.existing(resource, key)?;
        options.check(resource, &old)?;
        let mut object = Value::clone(&old);
        let finalizer = match options.propagation.as_str() {
            "Orphan" => Some("orphan"),
            "Foreground" => Some("foregroundDeletion"),
            _ => None,
        };
        let mut finalizers = items(&old, "/metadata/finalizers").to_vec();
        if let Some(finalizer) = finalizer.map(Value::from)
            && !finalizers.contains(&finalizer)
        {
            finalizers.push(finalizer);
            object["metadata"]["finalizers"] = finalizers.clone().into();
        }
        let grace = match resource.kind {
            "Pod" => grace_period(&old, options.grace_period),
            _ => 0,
        };
        self.mark_terminating(resource, &mut object, grace);
        if resource.kind == "Namespace" {
            object["status"]["phase"] = "Terminating".into();
        }
        let is_held = grace > 0 || !finalizers.is_empty() || resource.kind == "Namespace";
        if options.is_dry_run {
            return Ok(Deleted { object, is_removed: !is_held });
        }
        if is_held {
            return Ok(Deleted {
                object: self.commit(key.clone(), &old, object),
                is_removed: false,
            });
        }
        // Watches receive the last state of a pod before its removal.
        if resource.kind == "Pod" {
            object = self.commit(key.clone(), &old, object);
        }
        self.store.remove(key);
        Ok(Deleted { object, is_removed: true })
    }

    /// Sets `deletionTimestamp`; the grace period of a terminating object can only be shortened.
    fn mark_terminating(&self, resource: &Resource, object: &mut Value, grace: i64) {
        let known = number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
        let was_terminating = is_terminating(object);
        if was_terminating && grace >= known {
            return;
        }
        let seconds = u64::try_from(grace).unwrap_or_default();
        let end = SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or_default();
        let end = self.now().checked_add(end).unwrap_or(self.now());
        object["metadata"]["deletionTimestamp"] = object::time(end).into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        if resource.kind == "Pod" && !was_terminating {
            let generation = number(object, "/metadata/generation").unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        }
    }
}

/// The effective grace period of a pod in seconds; 0 for unscheduled and finished pods.
fn grace_period(pod: &Value, wanted: Option<i64>) -> i64 {
    let is_bound = !text(pod, "/spec/nodeName").is_empty();
    let is_finished = ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
    let of_pod = number(pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    if !is_bound || is_finished {
        return 0;
    }
    if wanted.is_none() && is_terminating(pod) {
        return number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(of_pod);
    }
    wanted.unwrap_or(of_pod).max(0)
}
