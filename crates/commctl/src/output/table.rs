//! Tables, for people.

use std::collections::BTreeSet;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use crate::text::printable;

/// Columns that say which object a row is about; they stand first, the rest is sorted.
const IDENTIFYING: [&str; 2] = ["name", "address"];

/// A list of objects has a row each, one object a row per member; both have sorted columns or rows.
pub(super) fn to_string(value: &Value, item: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    match value {
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            rows(&mut table, items);
        }
        Value::Array(items) => {
            table.set_header([heading(item)]);
            for item in items {
                table.add_row([cell(item)]);
            }
        }
        Value::Object(members) => fields(&mut table, members),
        scalar => {
            table.add_row([cell(scalar)]);
        }
    }
    trimmed(&table)
}

fn rows(table: &mut Table, items: &[Value]) {
    let keys: BTreeSet<&String> =
        items.iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
    let mut keys: Vec<&String> = keys.into_iter().collect();
    keys.sort_by_key(|key| !IDENTIFYING.contains(&key.as_str()));
    table.set_header(keys.iter().map(|key| heading(key)));
    for item in items {
        table.add_row(keys.iter().map(|key| item.get(key.as_str()).map(cell).unwrap_or_default()));
    }
}

fn fields(table: &mut Table, members: &Map<String, Value>) {
    table.set_header(["FIELD", "VALUE"]);
    let mut flat = Vec::new();
    flatten("", members, &mut flat);
    flat.sort();
    for (key, value) in flat {
        table.add_row([key, value]);
    }
}

fn flatten(prefix: &str, members: &Map<String, Value>, flat: &mut Vec<(String, String)>) {
    for (key, value) in members {
        let key = format!("{prefix}{}", printable(key));
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&format!("{key}."), inner, flat),
            value => flat.push((key, cell(value))),
        }
    }
}

fn heading(key: &str) -> String {
    printable(key).to_uppercase()
}

/// Lists of plain values are separated by commas; what is nested deeper is compact JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        Value::Object(members) if members.is_empty() => String::new(),
        other => other.to_string(),
    }
}

/// The table without the padding at both ends of its lines.
fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text += line.strip_prefix(' ').unwrap_or(&line).trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_have_a_row_each() {
        let hosts = json!([
            {"status": "active", "address": "10.0.0.1", "cpus": 2},
            {"status": "failed", "address": "10.0.0.20", "reason": "unreachable"},
        ]);
        assert_eq!(
            to_string(&hosts, "host"),
            "\
ADDRESS    CPUS  REASON       STATUS
10.0.0.1   2                  active
10.0.0.20        unreachable  failed
"
        );
    }

    #[test]
    fn one_object_has_a_row_per_member() {
        let cluster = json!({"name": "c1", "hosts": {"total": 1}, "hostset": ["a", "b"], "x": {}});
        assert_eq!(
            to_string(&cluster, "cluster"),
            "\
FIELD        VALUE
hosts.total  1
hostset      a, b
name         c1
x
"
        );
    }

    #[test]
    fn names_have_a_heading() {
        assert_eq!(to_string(&json!(["c1", "c2"]), "cluster"), "CLUSTER\nc1\nc2\n");
        assert_eq!(to_string(&json!([]), "cluster"), "CLUSTER\n");
    }
}
