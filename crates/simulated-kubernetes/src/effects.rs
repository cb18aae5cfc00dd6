//! The log of executed requests and of writes by controllers and kubelets, for assertions.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::route::Target;

/// Maximum number of changed fields in a summary.
const SUMMARIZED: usize = 6;

/// Server-managed metadata, which is left out of summaries.
const UNSUMMARIZED: &[&str] =
    &["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"];

/// An executed request, or a write by a controller or kubelet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The time since the start of the server.
    pub at: Duration,
    /// The name of the user.
    pub user: String,
    /// The verb, as rules of roles name it.
    pub verb: String,
    /// The plural name of the resource, or a path that names no resource.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for objects of the cluster.
    pub namespace: String,
    /// Empty for requests to all objects.
    pub name: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// For writes: a one-line summary of the change.
    pub summary: Option<String>,
}

impl Effect {
    pub(crate) fn new(at: Duration, user: &str, verb: &str, target: &Target, status: u16) -> Self {
        Self {
            at,
            user: user.to_owned(),
            verb: verb.to_owned(),
            resource: target.resource.clone(),
            subresource: target.subresource.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            status,
            summary: None,
        }
    }

    /// The same with a summary: the verb, the object, and `changes`.
    #[must_use]
    pub(crate) fn with_changes(mut self, changes: &str) -> Self {
        let mut summary = format!("{} {}", self.verb, self.resource);
        if !self.subresource.is_empty() {
            summary = format!("{summary}/{}", self.subresource);
        }
        let object = match (self.namespace.as_str(), self.name.as_str()) {
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        for part in [object.as_str(), changes].into_iter().filter(|part| !part.is_empty()) {
            summary = format!("{summary} {part}");
        }
        self.summary = Some(summary);
        self
    }
}

/// The difference between two states of an object, such as `unschedulable=true note=-`.
pub(crate) fn changes(before: &Value, after: &Value) -> String {
    let mut changes = Vec::new();
    compare("", before, after, &mut changes);
    if changes.len() > SUMMARIZED {
        let left_out = changes.len() - SUMMARIZED;
        changes.truncate(SUMMARIZED);
        changes.push(format!("and {left_out} more"));
    }
    changes.join(" ")
}

fn compare(field: &str, before: &Value, after: &Value, changes: &mut Vec<String>) {
    if before == after || UNSUMMARIZED.contains(&field) {
        return;
    }
    let (old, new) = (before.as_object(), after.as_object());
    if let Some(new) = new
        && (old.is_some() || before.is_null())
    {
        for (field, value) in new {
            compare(field, &before[field], value, changes);
        }
        let removed = old.into_iter().flatten().filter(|(field, _)| !new.contains_key(*field));
        for (field, value) in removed {
            compare(field, value, &Value::Null, changes);
        }
        return;
    }
    changes.push(match after {
        Value::Null => format!("{field}=-"),
        Value::String(text) => format!("{field}={text}"),
        Value::Array(_) | Value::Object(_) => format!("{field}=…"),
        other => format!("{field}={other}"),
    });
}
