//! Field ownership (`metadata.managedFields`) and conflict detection of server-side apply.
//!
//! Lists with a merge key are owned per element, other lists as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::object::{self, items};
use crate::patch::merge_key;

/// The steps to a field, written as in `fieldsV1`: `f:spec`, `k:{"type":"Ready"}`.
type Path = Vec<String>;

/// Server-managed metadata, which is not tracked.
const UNOWNED: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// The manager of a change.
#[derive(Debug, Clone)]
pub(crate) struct Manager<'a> {
    /// The name of the client.
    pub(crate) name: &'a str,
    /// `Apply` for server-side apply, else `Update`.
    pub(crate) operation: &'static str,
    /// `status`, or empty.
    pub(crate) subresource: &'a str,
    /// The time of the change, as in objects.
    pub(crate) time: &'a str,
}

/// The innermost fields of an object with their values.
fn leaves(object: &Value) -> BTreeMap<Path, &Value> {
    let mut leaves = BTreeMap::new();
    for (field, value) in object.as_object().into_iter().flatten() {
        if field == "metadata" {
            let metadata = value.as_object().into_iter().flatten();
            for (field, value) in metadata.filter(|(field, _)| !UNOWNED.contains(&field.as_str())) {
                walk(
                    vec!["f:metadata".to_owned(), format!("f:{field}")],
                    field,
                    value,
                    &mut leaves,
                );
            }
        } else if !["apiVersion", "kind"].contains(&field.as_str()) {
            walk(vec![format!("f:{field}")], field, value, &mut leaves);
        }
    }
    leaves
}

fn walk<'a>(path: Path, field: &str, value: &'a Value, leaves: &mut BTreeMap<Path, &'a Value>) {
    let extended = |step: String| path.iter().cloned().chain([step]).collect::<Path>();
    match (value, merge_key(field)) {
        (Value::Object(fields), _) if !fields.is_empty() => {
            for (field, value) in fields {
                walk(extended(format!("f:{field}")), field, value, leaves);
            }
        }
        (Value::Array(elements), Some(key)) if !elements.is_empty() => {
            for element in elements {
                let step = format!("k:{}", json!({key: element[key]}));
                walk(extended(step), "", element, leaves);
            }
        }
        _ => {
            leaves.insert(path, value);
        }
    }
}

fn paths(fields: &Value) -> BTreeSet<Path> {
    fn collect(path: &Path, fields: &Value, paths: &mut BTreeSet<Path>) {
        let inner = fields.as_object().into_iter().flatten();
        let mut is_leaf = true;
        for (step, fields) in inner {
            is_leaf = false;
            collect(&path.iter().cloned().chain([step.clone()]).collect(), fields, paths);
        }
        if is_leaf && !path.is_empty() {
            paths.insert(path.clone());
        }
    }
    let mut all = BTreeSet::new();
    collect(&Path::new(), fields, &mut all);
    all
}

fn tree(paths: &BTreeSet<Path>) -> Value {
    let mut root = Value::Object(Map::new());
    for path in paths {
        let mut node = &mut root;
        for step in path {
            node = &mut node[step.as_str()];
            if node.is_null() {
                *node = json!({});
            }
        }
    }
    root
}

/// Updates `managedFields` of `new` for a change from `old` by `manager`. With `applied`, the manager owns exactly
/// the fields of this configuration.
pub(crate) fn record(old: &Value, new: &mut Value, manager: &Manager<'_>, applied: Option<&Value>) {
    let (before, after) = (leaves(old), leaves(new));
    let is_changed = |path: &Path| before.get(path) != after.get(path);
    let changed: BTreeSet<Path> = after.keys().filter(|path| is_changed(path)).cloned().collect();
    let mine = match applied {
        Some(config) => leaves(config).into_keys().collect(),
        None => changed.clone(),
    };
    let is_mine = |entry: &Value| {
        entry["manager"] == manager.name
            && entry["operation"] == manager.operation
            && entry["subresource"].as_str().unwrap_or_default() == manager.subresource
    };
    let (mut entries, mut is_known) = (Vec::new(), false);
    for entry in items(old, "/metadata/managedFields") {
        let owned = paths(&entry["fieldsV1"]);
        let kept = owned.iter().filter(|path| after.contains_key(*path));
        let kept: BTreeSet<Path> = if is_mine(entry) {
            is_known = true;
            let earlier = kept.filter(|_| applied.is_none()).cloned();
            earlier.chain(mine.iter().cloned()).collect()
        } else {
            kept.filter(|path| !changed.contains(*path)).cloned().collect()
        };
        let mut entry = entry.clone();
        if kept != owned {
            entry["time"] = manager.time.into();
            entry["fieldsV1"] = tree(&kept);
        }
        if !kept.is_empty() {
            entries.push(entry);
        }
    }
    if !is_known && !mine.is_empty() {
        let mut entry = json!({"manager": manager.name, "operation": manager.operation,
            "apiVersion": new["apiVersion"], "time": manager.time, "fieldsType": "FieldsV1",
            "fieldsV1": tree(&mine)});
        if !manager.subresource.is_empty() {
            entry["subresource"] = manager.subresource.into();
        }
        entries.push(entry);
    }
    new["metadata"]["managedFields"] = entries.into();
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The owner, as messages name it.
    pub(crate) owner: String,
    /// The field, as messages name it.
    pub(crate) field: String,
}

/// The fields of `config` whose values differ and that other managers own.
pub(crate) fn conflicts(live: &Value, config: &Value, manager: &str) -> Vec<Conflict> {
    let current = leaves(live);
    let mut conflicts = Vec::new();
    for (path, value) in leaves(config) {
        let is_same = current.get(&path).is_none_or(|live| *live == value);
        let entries = items(live, "/metadata/managedFields").iter();
        let others = entries.filter(|entry| {
            let is_mine = entry["manager"] == manager && entry["operation"] == "Apply";
            !is_same && !is_mine && paths(&entry["fieldsV1"]).contains(&path)
        });
        conflicts.extend(others.map(|entry| {
            let name = entry["manager"].as_str().unwrap_or_default();
            let owner = match entry["operation"].as_str() {
                Some("Apply") => format!("{name:?}"),
                _ => format!("{name:?} using {}", entry["apiVersion"].as_str().unwrap_or_default()),
            };
            Conflict { owner, field: printed(&path) }
        }));
    }
    conflicts
}

/// `.metadata.labels.x`, `.status.conditions[type="Ready"].status`
fn printed(path: &Path) -> String {
    let step = |step: &String| match step.strip_prefix("k:") {
        Some(key) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let fields = key.iter().map(|(field, value)| format!("[{field}={value}]"));
            fields.collect()
        }
        None => format!(".{}", step.strip_prefix("f:").unwrap_or(step)),
    };
    path.iter().map(step).collect()
}

/// Removes fields that `manager` applied earlier, does not apply any more, and owns alone.
pub(crate) fn remove_abandoned(object: &mut Value, config: &Value, manager: &str) {
    let wanted = leaves(config);
    let entries = items(object, "/metadata/managedFields");
    let is_mine = |entry: &Value| entry["manager"] == manager && entry["operation"] == "Apply";
    let of = |mine: bool| {
        let entries = entries.iter().filter(move |entry| is_mine(entry) == mine);
        entries.flat_map(|entry| paths(&entry["fieldsV1"])).collect::<BTreeSet<_>>()
    };
    let (mine, others) = (of(true), of(false));
    for path in mine.difference(&others).filter(|path| !wanted.contains_key(*path)) {
        // Elements of lists stay.
        if path.iter().any(|step| step.starts_with("k:")) {
            continue;
        }
        let Some((field, parents)) = path.split_last() else { continue };
        let pointer = parents.iter().fold(String::new(), |pointer, step| {
            let name = step.trim_start_matches("f:").replace('~', "~0").replace('/', "~1");
            format!("{pointer}/{name}")
        });
        object::remove(object, &pointer, field.trim_start_matches("f:"));
    }
}
