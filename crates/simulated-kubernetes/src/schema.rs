//! Types of the fields that the stand-in depends on; a partial replacement for the schemas of a real server.

use serde_json::Value;

use crate::go;
use crate::object::fields;
use crate::quantity;

/// A check of one value: the error, or `None`.
type Check = fn(&Value) -> Option<String>;

/// The fields of a node spec; others are unknown.
const NODE_SPEC: &[&str] =
    &["configSource", "externalID", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"];

/// The expected JSON type of a field.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Object,
    List,
    /// A list of objects.
    Objects,
}

/// Expected types by JSON pointer, for all kinds: the fields whose children are accessed.
const STRUCTURE: &[(&str, Shape)] = &[
    ("/metadata", Shape::Object),
    ("/metadata/annotations", Shape::Object),
    ("/metadata/finalizers", Shape::List),
    ("/metadata/labels", Shape::Object),
    ("/metadata/managedFields", Shape::Objects),
    ("/metadata/ownerReferences", Shape::Objects),
    ("/spec", Shape::Object),
    ("/spec/containers", Shape::Objects),
    ("/spec/nodeSelector", Shape::Object),
    ("/spec/selector", Shape::Object),
    ("/spec/selector/matchExpressions", Shape::Objects),
    ("/spec/selector/matchLabels", Shape::Object),
    ("/spec/taints", Shape::Objects),
    ("/spec/template", Shape::Object),
    ("/spec/template/metadata", Shape::Object),
    ("/spec/template/metadata/annotations", Shape::Object),
    ("/spec/template/metadata/labels", Shape::Object),
    ("/spec/template/spec", Shape::Object),
    ("/spec/template/spec/containers", Shape::Objects),
    ("/spec/template/spec/tolerations", Shape::Objects),
    ("/spec/tolerations", Shape::Objects),
    ("/status", Shape::Object),
    ("/status/addresses", Shape::Objects),
    ("/status/allocatable", Shape::Object),
    ("/status/capacity", Shape::Object),
    ("/status/conditions", Shape::Objects),
    ("/status/containerStatuses", Shape::Objects),
    ("/status/disruptedPods", Shape::Object),
    ("/status/nodeInfo", Shape::Object),
];

/// Removes unknown fields and returns their paths.
pub(crate) fn drop_unknown(kind: &str, object: &mut Value) -> Vec<String> {
    if kind != "Node" {
        return Vec::new();
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Vec::new();
    };
    let is_known = |field: &String| NODE_SPEC.contains(&field.as_str());
    let unknown: Vec<_> = spec.keys().filter(|field| !is_known(field)).cloned().collect();
    spec.retain(|field, _| is_known(field));
    unknown.into_iter().map(|field| format!("spec.{field}")).collect()
}

/// The first value of a wrong type, as Go's decoder describes it.
pub(crate) fn type_error(kind: &str, object: &Value) -> Option<String> {
    if let Some(error) = structure_error(kind, object) {
        return Some(error);
    }
    for map in ["labels", "annotations"] {
        let mut values = fields(object, &format!("/metadata/{map}")).into_iter().flatten();
        if let Some((_, value)) = values.find(|(_, value)| !value.is_string() && !value.is_null()) {
            let found = go::json_type(value);
            return Some(format!(
                "json: cannot unmarshal {found} into Go struct field ObjectMeta.metadata.{map} of type string"
            ));
        }
    }
    match kind {
        "Node" => node_error(object),
        "Lease" => ["acquireTime", "renewTime"]
            .iter()
            .find_map(|field| time_error(&object["spec"][*field], MICRO_TIME)),
        _ => condition_error(object),
    }
}

fn structure_error(kind: &str, object: &Value) -> Option<String> {
    STRUCTURE.iter().find_map(|(pointer, shape)| {
        let value = object.pointer(pointer).filter(|value| !value.is_null())?;
        let (is_shaped, of) = match shape {
            Shape::Object => (value.is_object(), "map[string]interface {}"),
            Shape::List => (value.is_array(), "[]string"),
            Shape::Objects => {
                let elements = value.as_array();
                let is_list = elements.is_some_and(|list| list.iter().all(Value::is_object));
                (is_list, "[]map[string]interface {}")
            }
        };
        let (found, field) = (go::json_type(value), pointer.replace('/', "."));
        (!is_shaped).then(|| {
            format!(
                "json: cannot unmarshal {found} into Go struct field {kind}{field} of type {of}"
            )
        })
    })
}

const TIME: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_TIME: &str = "2006-01-02T15:04:05.000000Z07:00";

fn node_error(node: &Value) -> Option<String> {
    let unschedulable = &node["spec"]["unschedulable"];
    if !unschedulable.is_null() && !unschedulable.is_boolean() {
        let found = go::json_type(unschedulable);
        return Some(format!(
            "json: cannot unmarshal {found} into Go struct field NodeSpec.spec.unschedulable of type bool"
        ));
    }
    let check: Check = |quantity| {
        let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
        quantity::parse(&text).is_none().then(|| {
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned()
        })
    };
    let resources = ["/status/capacity", "/status/allocatable"];
    let mut quantities = resources.iter().filter_map(|pointer| fields(node, pointer)).flatten();
    quantities.find_map(|(_, quantity)| check(quantity)).or_else(|| condition_error(node))
}

fn condition_error(object: &Value) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array()?;
    let times = ["lastHeartbeatTime", "lastTransitionTime"];
    let mut times = conditions.iter().flat_map(|condition| times.map(|time| &condition[time]));
    times.find_map(|time| time_error(time, TIME))
}

fn time_error(time: &Value, layout: &str) -> Option<String> {
    let text = time.as_str()?;
    let rest = if text.starts_with(|first: char| first.is_ascii_digit()) {
        ("", "Z07:00")
    } else {
        (text, "2006")
    };
    text.parse::<jiff::Timestamp>().is_err().then(|| {
        format!("parsing time {text:?} as {layout:?}: cannot parse {:?} as {:?}", rest.0, rest.1)
    })
}

/// The keys that appear twice in the same object of a JSON text, as paths. The text is valid JSON.
pub(crate) fn duplicate_fields(text: &str) -> Vec<String> {
    let mut duplicates = Vec::new();
    let mut walk = Walk { rest: text.trim_start(), duplicates: &mut duplicates };
    walk.value("");
    duplicates
}

/// A parser over a JSON text that detects duplicate keys.
struct Walk<'a> {
    rest: &'a str,
    duplicates: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default().trim_start();
    }

    fn string(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, character)| {
            let is_end = *character == '"' && !escaped;
            escaped = *character == '\\' && !escaped;
            is_end
        });
        let end = end.map_or(self.rest.len(), |(index, _)| index + 1);
        let string = serde_json::from_str(&self.rest[..end]).unwrap_or_default();
        self.skip(end);
        string
    }

    fn value(&mut self, path: &str) {
        match self.rest.chars().next() {
            Some('{') => self.object(path),
            Some('[') => {
                self.skip(1);
                let mut index = 0;
                while !self.rest.is_empty() && !self.rest.starts_with(']') {
                    self.value(&format!("{path}[{index}]"));
                    index += 1;
                    if self.rest.starts_with(',') {
                        self.skip(1);
                    }
                }
                self.skip(1);
            }
            Some('"') => drop(self.string()),
            _ => {
                let end = self.rest.find([',', '}', ']']).unwrap_or(self.rest.len());
                self.skip(end);
            }
        }
    }

    fn object(&mut self, path: &str) {
        self.skip(1);
        let mut keys = Vec::new();
        while self.rest.starts_with('"') {
            let key = self.string();
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if keys.contains(&key) {
                self.duplicates.push(inner.clone());
            }
            keys.push(key);
            self.skip(1);
            self.value(&inner);
            if self.rest.starts_with(',') {
                self.skip(1);
            }
        }
        self.skip(1);
    }
}
