//! Patches: JSON Patch, merge patch and strategic merge patch.

use json_patch::PatchOperation;
use serde_json::{Map, Value, json};

use crate::go;
use crate::status::Failure;

/// The format of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Merge,
    Strategic,
    /// Server-side apply.
    Apply,
}

/// Merge keys of lists for strategic merge patches and server-side apply; other lists are atomic.
const MERGE_KEYS: &[(&str, &str)] = &[
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("containerStatuses", "name"),
    ("env", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("volumes", "name"),
];

/// The merge key of the list in this field.
pub(crate) fn merge_key(field: &str) -> Option<&'static str> {
    MERGE_KEYS.iter().find(|(list, _)| *list == field).map(|(_, key)| *key)
}

impl Format {
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        match content_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// The patch in a body.
    pub(crate) fn parse(self, body: &[u8]) -> Result<Value, Failure> {
        let prefix = if self == Self::Strategic { "" } else { "error decoding patch: " };
        let bad = |message: String| Failure::bad_request(format!("{prefix}{message}"));
        let patch: Value =
            serde_json::from_slice(body).map_err(|error| bad(go::json_error(body, &error)))?;
        let wanted = match self {
            Self::Json => "[]handlers.jsonPatchOp",
            _ => "map[string]interface {}",
        };
        if patch.is_array() != (self == Self::Json) || !(patch.is_array() || patch.is_object()) {
            let found = go::json_type(&patch);
            return Err(bad(format!(
                "json: cannot unmarshal {found} into Go value of type {wanted}"
            )));
        }
        Ok(patch)
    }

    /// `object` after the patch.
    pub(crate) fn apply(self, object: &Value, patch: &Value) -> Result<Value, Failure> {
        let mut patched = object.clone();
        match self {
            Self::Json => json_patched(&mut patched, patch)?,
            Self::Merge => json_patch::merge(&mut patched, patch),
            Self::Strategic | Self::Apply => merge(&mut patched, patch)?,
        }
        Ok(patched)
    }
}

fn json_patched(object: &mut Value, patch: &Value) -> Result<(), Failure> {
    let rejected = || {
        let message = "the server rejected our request due to an error in our request";
        Failure::new(422, "Invalid", message).with_details(json!({}))
    };
    for operation in patch.as_array().into_iter().flatten() {
        // The server treats a missing field as `null` in `test`.
        let pointer = operation["path"].as_str().unwrap_or_default();
        let is_null_tested = operation["op"] == "test" && operation["value"].is_null();
        if is_null_tested && object.pointer(pointer).is_none() {
            continue;
        }
        let operation: PatchOperation =
            serde_json::from_value(operation.clone()).map_err(|_| rejected())?;
        json_patch::patch(object, &[operation]).map_err(|_| rejected())?;
    }
    Ok(())
}

/// Merges `patch` into `target`: objects by fields, lists with a merge key by elements.
fn merge(target: &mut Value, patch: &Value) -> Result<(), Failure> {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        *target = Value::Object(without_directives(patch));
        return Ok(());
    }
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in patch.iter().filter(|(field, _)| !field.starts_with('$')) {
        let elements = value.as_array();
        match (elements, merge_key(field)) {
            (Some(elements), Some(key)) => {
                let merged = merge_list(target[field].as_array(), elements, key)?;
                target[field] = merged.into();
            }
            (Some(elements), None) if field == "finalizers" => {
                let known = target[field].as_array().cloned().unwrap_or_default();
                let added = elements.iter().filter(|element| !known.contains(element)).cloned();
                target[field] = known.iter().cloned().chain(added).collect();
            }
            _ if value.is_null() => {
                target.as_object_mut().and_then(|fields| fields.remove(field));
            }
            _ => merge(&mut target[field], value)?,
        }
    }
    Ok(())
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    let fields = fields.iter().filter(|(field, _)| !field.starts_with('$'));
    fields.map(|(field, value)| (field.clone(), value.clone())).collect()
}

/// Merges lists by key. Patched elements keep the order of the patch, unpatched elements their own; an element that
/// preceded a patched element before the merge still precedes it.
fn merge_list(
    live: Option<&Vec<Value>>,
    patch: &[Value],
    key: &str,
) -> Result<Vec<Value>, Failure> {
    let none = Vec::new();
    let live = live.unwrap_or(&none);
    let position = |element: &Value| live.iter().position(|known| known[key] == element[key]);
    let (mut merged, mut deleted) = (Vec::new(), Vec::new());
    for element in patch {
        if element[key].is_null() {
            let message =
                format!("map: {} does not contain declared merge key: {key}", go::printed(element));
            return Err(Failure::internal(message));
        }
        if element["$patch"] == "delete" {
            deleted.push(element[key].clone());
            continue;
        }
        let mut whole = position(element).map_or(Value::Null, |index| live[index].clone());
        merge(&mut whole, element)?;
        merged.push(whole);
    }
    let is_patched = |element: &Value| {
        deleted.contains(&element[key]) || patch.iter().any(|other| other[key] == element[key])
    };
    let mut rest = live.iter().enumerate().filter(|(_, element)| !is_patched(element)).peekable();
    let mut ordered = Vec::new();
    for element in merged {
        let before = position(&element).unwrap_or_default();
        while let Some((_, other)) = rest.next_if(|(index, _)| *index < before) {
            ordered.push(other.clone());
        }
        ordered.push(element);
    }
    ordered.extend(rest.map(|(_, element)| element.clone()));
    Ok(ordered)
}
