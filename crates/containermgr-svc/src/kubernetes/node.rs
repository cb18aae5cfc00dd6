//! Nodes: whose they are, and which is which. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

/// What a node that we have created is annotated with.
const CREATED: &str = "commissaire.io/created";

/// The longest name.
const NAME_MAX: usize = 253;

/// A node to be created.
pub(super) fn new(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
           "metadata": {"name": name, "annotations": {CREATED: "true"}}})
}

/// The deletion of exactly this node, not of another that has taken its name.
pub(super) fn deletion(node: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions",
           "preconditions": {"uid": node["metadata"]["uid"]}})
}

/// Its name.
pub(super) fn name(node: &Value) -> &str {
    node["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether it was created by us.
pub(super) fn is_ours(node: &Value) -> bool {
    node["metadata"]["annotations"][CREATED] == "true"
}

/// Whether it is on its way out.
pub(super) fn is_terminating(node: &Value) -> bool {
    node["metadata"]["deletionTimestamp"].is_string()
}

/// A node as it is shown: also one from a list, which lacks these two; without the book-keeping of who
/// wrote which field.
pub(super) fn shown(mut node: Value) -> Value {
    node["kind"] = "Node".into();
    node["apiVersion"] = "v1".into();
    if let Some(metadata) = node["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    node
}

/// The node of the host `address`: the one of that name, else the one that has the address.
///
/// # Errors
/// The names of all that have the address, when that is more than one.
pub(super) fn of_host<'a>(
    nodes: &'a [Value],
    address: &str,
) -> Result<Option<&'a Value>, Vec<&'a str>> {
    if let Some(named) = nodes.iter().find(|node| name(node) == address) {
        return Ok(Some(named));
    }
    let mut with_address = nodes.iter().filter(|node| has_address(node, address));
    match (with_address.next(), with_address.next()) {
        (Some(first), Some(second)) => {
            Err([first, second].into_iter().chain(with_address).map(name).collect())
        }
        (found, _) => Ok(found),
    }
}

fn has_address(node: &Value, address: &str) -> bool {
    let ip = address.parse::<IpAddr>().ok();
    let same = |listed: &str| {
        listed.eq_ignore_ascii_case(address)
            || ip.is_some_and(|ip| listed.parse::<IpAddr>().is_ok_and(|l| l.to_canonical() == ip))
    };
    let listed = node["status"]["addresses"].as_array();
    listed.is_some_and(|listed| {
        listed.iter().any(|entry| entry["address"].as_str().is_some_and(same))
    })
}

/// Checks whether Kubernetes would take a name.
///
/// # Errors
/// Why it would not.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|b| inner(*b))
            && bytes.last().is_some_and(|b| inner(*b))
            && bytes.iter().all(|b| inner(*b) || *b == b'-')
    };
    if name.len() > NAME_MAX {
        Err("a node's name has at most 253 characters")
    } else if name.contains(':') {
        Err("a node's name cannot be an IPv6 address; the node of such a host is found by its \
             addresses once its kubelet has registered it under another name")
    } else if name.split('.').all(label) {
        Ok(())
    } else {
        Err("a node's name consists of lower case letters, digits, '-' and '.', and begins and \
             ends, also around each '.', with a letter or digit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::recorded::{all, one};

    #[test]
    fn names_are_judged_as_the_server_judges_them() {
        let created = all().into_iter().filter(|e| e.method == "POST" && e.path == "/api/v1/nodes");
        let mut judged = [0, 0];
        for exchange in created {
            let Some(name) = exchange.request_json["metadata"]["name"].as_str() else { continue };
            let invalid = exchange.response["details"]["causes"][0]["field"] == "metadata.name";
            if exchange.status == Some(201) || invalid {
                assert_eq!(check_name(name).is_err(), invalid, "{}", exchange.id);
                judged[usize::from(invalid)] += 1;
            }
        }
        assert!(judged[0] > 15 && judged[1] > 13, "{judged:?}");
        assert!(check_name("fe80::1").unwrap_err().contains("IPv6"));
    }

    #[test]
    fn a_created_node_is_ours_and_an_adopted_one_is_not() {
        let mut created = one("node-create-201").response;
        assert!(!is_ours(&created));
        created["metadata"]["annotations"] = new("worker-1")["metadata"]["annotations"].clone();
        assert!(is_ours(&created) && !is_terminating(&created));
        assert!(is_terminating(&one("fin-delete-200").response));
        assert_eq!(deletion(&created)["preconditions"]["uid"], created["metadata"]["uid"]);
    }

    /// A node as its kubelet registers it.
    fn registered(name: &str, address: &str) -> Value {
        let mut node = one("status-addresses-merge-200").response;
        node["metadata"]["name"] = name.into();
        node["status"]["addresses"][0]["address"] = address.into();
        node["status"]["addresses"][1]["address"] = name.into();
        node
    }

    #[test]
    fn a_host_is_found_by_name_then_by_address() {
        let Value::Array(mut nodes) = one("node-list-200").response["items"].take() else {
            panic!("a list")
        };
        let found =
            |nodes: &[Value], address| of_host(nodes, address).unwrap().map(|n| name(n).to_owned());
        assert_eq!(found(&nodes, "192.168.152.110").unwrap(), "192.168.152.110");
        assert_eq!(found(&nodes, "192.168.152.111"), None);
        nodes.push(registered("worker-7", "192.168.152.111"));
        nodes.push(registered("worker-8", "192.168.152.110"));
        nodes.push(registered("worker-9", "2001:DB8:0::9"));
        assert_eq!(found(&nodes, "192.168.152.111").unwrap(), "worker-7");
        assert_eq!(found(&nodes, "2001:db8::9").unwrap(), "worker-9");
        // The name decides before any address.
        assert_eq!(found(&nodes, "192.168.152.110").unwrap(), "192.168.152.110");
        nodes.push(registered("worker-6", "192.168.152.111"));
        assert_eq!(of_host(&nodes, "192.168.152.111").unwrap_err(), ["worker-7", "worker-6"]);
    }

    #[test]
    fn what_is_shown_is_a_whole_node() {
        let mut item = one("node-list-200").response["items"][0].take();
        item["metadata"]["managedFields"] = json!([{}]);
        let shown = shown(item);
        assert_eq!((&shown["kind"], &shown["apiVersion"]), (&json!("Node"), &json!("v1")));
        assert!(shown["metadata"].get("managedFields").is_none());
    }
}
