//! What the original kept in etcd, as `GET /v2/keys/commissaire?recursive=true` shows it.

use serde::Deserialize;

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read.
    #[error("cannot read the dump")]
    Read(#[source] std::io::Error),
    /// It is something else.
    #[error("the dump is not what `GET /v2/keys/commissaire?recursive=true` of etcd answers")]
    Format(#[source] serde_json::Error),
    /// etcd has answered with an error.
    #[error("the dump is an error of etcd: {0}")]
    Refused(String),
    /// There is nothing of the original in it.
    #[error("the dump has no keys below {ROOT}")]
    Empty,
}

/// Where the original keeps everything.
const ROOT: &str = "/commissaire/";

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Tree { node: Node },
    Error { message: String },
}

#[derive(Deserialize)]
struct Node {
    key: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
}

/// The keys of the original and their values, sorted.
///
/// # Errors
/// [`DumpError`].
pub(super) fn keys(text: &str) -> Result<Vec<(String, String)>, DumpError> {
    let mut keys = Vec::new();
    match serde_json::from_str(text).map_err(DumpError::Format)? {
        Answer::Tree { node } => collect(node, &mut keys),
        Answer::Error { message } => return Err(DumpError::Refused(message)),
    }
    keys.retain(|(key, _)| key.starts_with(ROOT));
    if keys.is_empty() {
        return Err(DumpError::Empty);
    }
    keys.sort();
    Ok(keys)
}

/// No deeper than the parser has let it be.
fn collect(node: Node, keys: &mut Vec<(String, String)>) {
    if let Some(value) = node.value {
        keys.push((node.key, value));
    }
    for node in node.nodes {
        collect(node, keys);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tree_becomes_a_list() {
        let leaf = |key: &str| json!({"key": key, "value": "v", "modifiedIndex": 7});
        let folder = |key: &str, nodes| json!({"key": key, "dir": true, "nodes": nodes});
        let hosts = folder("/commissaire/hosts", json!([leaf("/commissaire/hosts/b")]));
        let root = folder("/commissaire", json!([leaf("/commissaire/x"), hosts]));
        let whole = folder("/", json!([root, leaf("/elsewhere"), {"key": "/empty", "dir": true}]));
        for tree in [&root, &whole] {
            let text = json!({"action": "get", "node": tree}).to_string();
            let found: Vec<_> = keys(&text).unwrap().into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, ["/commissaire/hosts/b", "/commissaire/x"]);
        }
    }

    #[test]
    fn what_is_no_dump_is_told() {
        let error = json!({"errorCode": 100, "message": "Key not found", "cause": "/commissaire"});
        assert!(
            matches!(keys(&error.to_string()), Err(DumpError::Refused(m)) if m == "Key not found")
        );
        for text in ["", "[]", "{}", "null", r#"{"node": {"key": 7}}"#] {
            assert!(matches!(keys(text), Err(DumpError::Format(_))), "{text}");
        }
        let empty = json!({"node": {"key": "/commissaire", "dir": true}}).to_string();
        assert!(matches!(keys(&empty), Err(DumpError::Empty)));
        let deep = format!("{}{}", r#"{"nodes":["#.repeat(100_000), "]}".repeat(100_000));
        assert!(matches!(keys(&deep), Err(DumpError::Format(_))));
    }
}
