//! Functions by which tests control nodes and kubelets.

use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::kubelet::Kubelet;
use crate::object;

/// Static pods of control-plane nodes.
const CONTROL_PLANE_PODS: &[&str] = &["etcd", "kube-apiserver"];

/// The settings of a new node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSettings {
    /// The name.
    pub name: String,
    /// The addresses with their types, such as `InternalIP`.
    pub addresses: Vec<(String, String)>,
    /// The machine id of the host.
    pub machine_id: String,
    /// The boot id of the host.
    pub boot_id: String,
    /// Whether it has the label, the taint and the static pods of the control plane.
    pub is_control_plane: bool,
    /// Allocatable resources: `cpu`, `memory` and `pods` as quantities.
    pub allocatable: Map<String, Value>,
}

impl NodeSettings {
    /// A worker with one internal address.
    pub fn new(name: &str, address: &str) -> Self {
        let allocatable = json!({"cpu": "4", "memory": "16Gi", "pods": "110"});
        Self {
            name: name.to_owned(),
            addresses: vec![
                ("InternalIP".to_owned(), address.to_owned()),
                ("Hostname".to_owned(), name.to_owned()),
            ],
            machine_id: format!("machine-of-{name}"),
            boot_id: format!("first-boot-of-{name}"),
            is_control_plane: false,
            allocatable: allocatable.as_object().cloned().unwrap_or_default(),
        }
    }

    /// The same as a control-plane node.
    #[must_use]
    pub fn control_plane(self) -> Self {
        Self { is_control_plane: true, ..self }
    }
}

impl Cluster {
    /// Registers a node that is up and ready.
    pub(crate) fn add_node(&mut self, settings: &NodeSettings) {
        let name = &settings.name;
        let addresses = settings.addresses.iter();
        let addresses = addresses.map(|(kind, address)| json!({"type": kind, "address": address}));
        let addresses: Vec<_> = addresses.collect();
        let mut node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"addresses": addresses, "capacity": settings.allocatable,
                "allocatable": settings.allocatable,
                "nodeInfo": {"kubeletVersion": "v1.36.2", "operatingSystem": "linux",
                    "architecture": "amd64"}}});
        if settings.is_control_plane {
            let role = "node-role.kubernetes.io/control-plane";
            node["metadata"]["labels"][role] = "".into();
            node["spec"]["taints"] = json!([{"key": role, "effect": "NoSchedule"}]);
        }
        let user = format!("system:node:{name}");
        self.create_as(&user, node);
        let kubelet = Kubelet::new(&settings.machine_id, &settings.boot_id);
        self.kubelets.insert(name.clone(), kubelet);
        self.report_nodes();
        self.watch_nodes();
        if settings.is_control_plane {
            for component in CONTROL_PLANE_PODS {
                self.add_mirror_pod(name, component);
            }
        }
    }

    /// Registers a static pod of a node.
    pub(crate) fn add_mirror_pod(&mut self, node: &str, component: &str) {
        let nodes = crate::actor::resource_named("nodes");
        let node_key = crate::store::Key::new(nodes, "", node);
        let uid = self.store.get(&node_key).map(|node| object::uid(node).to_owned());
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{component}-{node}"), "namespace": "kube-system",
                "labels": {"component": component, "tier": "control-plane"},
                "annotations": {"kubernetes.io/config.mirror": "0123456789abcdef",
                    "kubernetes.io/config.source": "file"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node,
                    "uid": uid, "controller": true}]},
            "spec": {"nodeName": node, "hostNetwork": true,
                "priorityClassName": "system-node-critical",
                "containers": [{"name": component, "image": format!("example.invalid/{component}:1")}],
                "tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}});
        self.create_as(&format!("system:node:{node}"), pod);
    }
}
