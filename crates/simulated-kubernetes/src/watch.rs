//! Watches: the changes of the selected objects as events.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Outcome;
use crate::cluster::Cluster;
use crate::go;
use crate::read::{Form, Selection};
use crate::request::Request;
use crate::resource::Resource;
use crate::route::Target;
use crate::status::Failure;
use crate::store::Change;

/// Default timeout of a watch; a real server chooses 30 to 60 minutes.
const TIMEOUT: Duration = Duration::from_mins(30);

/// The state of a watch.
#[derive(Debug)]
pub(crate) struct Watch {
    selection: Selection,
    form: Form,
    /// The revision up to which events have been sent.
    revision: u64,
    /// Events to be sent first.
    initial: Vec<Value>,
    /// Whether the stream has ended, because of an error.
    pub(crate) is_over: bool,
    /// Whether the client requested bookmarks.
    pub(crate) has_bookmarks: bool,
    /// Duration of the stream.
    pub(crate) timeout: Duration,
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

impl Watch {
    /// A bookmark at the present revision.
    fn bookmark(&self, is_initial: bool) -> Value {
        let resource = self.selection.resource;
        let (kind, version) = match self.form {
            Form::Partial => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            _ => (resource.kind, resource.api_version()),
        };
        let mut metadata =
            json!({"resourceVersion": self.revision.to_string(), "creationTimestamp": null});
        if is_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        event("BOOKMARK", &json!({"kind": kind, "apiVersion": version, "metadata": metadata}))
    }

    fn event_of(&self, change: &Change) -> Option<Value> {
        if !self.selection.includes(&change.key) {
            return None;
        }
        let selects = |object: &Value| self.selection.selects(object);
        let was = change.before.as_ref().is_some_and(|before| selects(before));
        let is = !change.is_deletion && selects(&change.object);
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(event(kind, &self.form.object(&change.object)))
    }
}

impl Cluster {
    pub(crate) fn watch(
        &self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let timeout = match request.parameter("timeoutSeconds") {
            "" => TIMEOUT,
            text => {
                let seconds = text.parse::<u64>();
                let bad = |_| Failure::bad_request(go::number_error("ParseInt", text));
                seconds.map(Duration::from_secs).map_err(bad)?
            }
        };
        let from = match request.parameter("resourceVersion") {
            "" => 0,
            text => text.parse::<u64>().map_err(|_| {
                let error = go::number_error("ParseUint", text);
                Failure::internal(format!("resourceVersion: Invalid value: {text:?}: {error}"))
            })?,
        };
        let mut watch = Watch {
            selection: Selection::of(request, resource, target)?,
            form: Form::of(request)?,
            revision: from,
            initial: Vec::new(),
            is_over: false,
            has_bookmarks: request.is_set("allowWatchBookmarks"),
            timeout,
        };
        let is_streaming_list = request.is_set("sendInitialEvents");
        let current = self.store.revision();
        if from > current {
            watch.is_over = true;
            let message =
                format!("Timeout: Too large resource version: {from}, current: {current}");
            watch.initial = vec![event("ERROR", &Failure::new(504, "Timeout", message).body)];
        } else if from == 0 || is_streaming_list {
            watch.revision = current;
            let objects = self.store.list(resource, watch.selection.namespace.as_deref());
            let selected = objects.filter(|(key, object)| {
                watch.selection.includes(key) && watch.selection.selects(object)
            });
            let added = selected.map(|(_, object)| event("ADDED", &watch.form.object(object)));
            watch.initial = added.collect();
            if is_streaming_list {
                watch.initial.push(watch.bookmark(true));
            }
        }
        Ok(Outcome::Watch(Box::new(watch)))
    }

    /// Pending events, one per line; empty if there are none.
    pub(crate) fn next_events(&self, watch: &mut Watch, is_bookmark_due: bool) -> Bytes {
        let mut events = std::mem::take(&mut watch.initial);
        if !watch.is_over {
            if let Ok(changes) = self.store.changes_after(watch.revision) {
                events.extend(changes.filter_map(|change| watch.event_of(change)));
            } else {
                let (from, now) = (watch.revision, self.store.revision());
                let expired = Failure::expired(format!("too old resource version: {from} ({now})"));
                events.push(event("ERROR", &expired.body));
                watch.is_over = true;
            }
            watch.revision = self.store.revision();
            if is_bookmark_due && watch.has_bookmarks {
                events.push(watch.bookmark(false));
            }
        }
        let lines = events.iter().map(|event| format!("{event}\n"));
        lines.collect::<String>().into()
    }
}
