//! Nodes: which node is a host's, and which were created by this service. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Preconditions};
use serde_json::Value;

/// The annotation of nodes that this service has created.
const CREATED: &str = "commissaire.io/created";

/// Length limit of a name, in bytes.
const NAME_MAX: usize = 253;

/// A node to be created.
pub(super) fn new(name: &str) -> Node {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        annotations: Some([(CREATED.to_owned(), "true".to_owned())].into()),
        ..ObjectMeta::default()
    };
    Node { metadata, ..Node::default() }
}

/// The deletion of exactly this node, not of a later one of the same name.
pub(super) fn deletion(node: &Node) -> DeleteParams {
    let uid = node.metadata.uid.clone();
    DeleteParams::default().preconditions(Preconditions { uid, ..Preconditions::default() })
}

pub(super) fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Whether this service has created it for this host: under its address, which others may have as one of several.
pub(super) fn is_created_for(node: &Node, address: &str) -> bool {
    let annotations = node.metadata.annotations.as_ref();
    name(node) == address
        && annotations
            .is_some_and(|annotations| annotations.get(CREATED).is_some_and(|v| v == "true"))
}

/// Whether it is being deleted.
pub(super) fn is_terminating(node: &Node) -> bool {
    node.metadata.deletion_timestamp.is_some()
}

/// A node without the record of which client has written which field.
pub(super) fn without_managed_fields(mut node: Value) -> Value {
    if let Some(metadata) = node["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    node
}

/// The node of the host `address`: the one of that name, else the one that has the address.
///
/// # Errors
/// The names of all that have the address, if there are several.
pub(super) fn of_host<'a>(
    nodes: &'a [Node],
    address: &str,
) -> Result<Option<&'a Node>, Vec<&'a str>> {
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

fn has_address(node: &Node, address: &str) -> bool {
    let ip = address.parse::<IpAddr>().ok();
    let is_same = |listed: &str| {
        listed.eq_ignore_ascii_case(address)
            || ip.is_some_and(|ip| listed.parse::<IpAddr>().is_ok_and(|l| l.to_canonical() == ip))
    };
    let mut listed = node.status.iter().flat_map(|status| &status.addresses).flatten();
    listed.any(|listed| is_same(&listed.address))
}

/// Checks whether a name is valid for a node.
///
/// # Errors
/// Why it is not.
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
    use serde_json::json;

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

    fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_node_is_created_for_the_host_whose_address_is_its_name() {
        let mut created = node(one("node-create-201").response);
        let name = name(&created).to_owned();
        assert!(!is_created_for(&created, &name));
        created.metadata.annotations = new(&name).metadata.annotations;
        assert!(is_created_for(&created, &name) && !is_terminating(&created));
        assert!(!is_created_for(&created, "10.0.0.9"));
        assert!(is_terminating(&node(one("fin-delete-200").response)));
        assert_eq!(deletion(&created).preconditions.unwrap().uid, created.metadata.uid);
    }

    #[test]
    fn a_node_is_created_as_recorded() {
        let mut recorded = one("node-create-201").request_json;
        recorded["metadata"]["annotations"] = json!({CREATED: "true"});
        assert_eq!(serde_json::to_value(new("worker-1")).unwrap(), recorded);
    }

    /// A node as its kubelet registers it.
    fn registered(name: &str, address: &str) -> Node {
        let mut value = one("status-addresses-merge-200").response;
        value["metadata"]["name"] = name.into();
        value["status"]["addresses"][0]["address"] = address.into();
        value["status"]["addresses"][1]["address"] = name.into();
        node(value)
    }

    #[test]
    fn a_host_is_found_by_name_then_by_address() {
        let mut nodes: Vec<Node> =
            serde_json::from_value(one("node-list-200").response["items"].take()).unwrap();
        let found =
            |nodes: &[Node], address| of_host(nodes, address).unwrap().map(|n| name(n).to_owned());
        assert_eq!(found(&nodes, "192.168.152.110").unwrap(), "192.168.152.110");
        assert_eq!(found(&nodes, "192.168.152.111"), None);
        nodes.push(registered("worker-7", "192.168.152.111"));
        nodes.push(registered("worker-8", "192.168.152.110"));
        nodes.push(registered("worker-9", "2001:DB8:0::9"));
        assert_eq!(found(&nodes, "192.168.152.111").unwrap(), "worker-7");
        assert_eq!(found(&nodes, "2001:db8::9").unwrap(), "worker-9");
        // A name has precedence over addresses.
        assert_eq!(found(&nodes, "192.168.152.110").unwrap(), "192.168.152.110");
        nodes.push(registered("worker-6", "192.168.152.111"));
        assert_eq!(of_host(&nodes, "192.168.152.111").unwrap_err(), ["worker-7", "worker-6"]);
    }

    #[test]
    fn the_status_has_no_managed_fields() {
        let mut node = one("node-get-200").response;
        let expected = without_managed_fields(node.clone());
        assert_eq!(expected["kind"], "Node");
        node["metadata"]["managedFields"] = json!([{}]);
        assert_eq!(without_managed_fields(node), expected);
        assert!(expected["metadata"].get("managedFields").is_none());
    }
}
