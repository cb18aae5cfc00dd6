//! Nodes of the Kubernetes, their pods, and the API server.

use std::time::Duration;

use cucumber::{given, then, when};
use serde_json::{Value, json};
use simulated_kubernetes::{Fault, FaultAction};
use tokio::time::sleep;

use super::addresses;
use crate::fleet::simulated::node;
use crate::world::World;

/// The label of nodes of the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Until the controllers of the Kubernetes have seen a change.
const CONTROLLERS: Duration = Duration::from_secs(10);

/// Hosts whose kubelets have registered them as nodes, and that are not registered as hosts.
#[given(regex = r"^(?:a|the) hosts? (\S+(?: to \S+)?) that (?:is a node|are nodes)$")]
fn host_that_is_a_node(world: &mut World, list: String) {
    for address in addresses(&list) {
        world.fleet.add_host(&address);
        world.fleet.simulated().add_node(&address);
    }
}

fn change_node(world: &World, address: &str, change: impl FnOnce(&mut Value)) {
    let kubernetes = &world.fleet.simulated().kubernetes;
    let mut object = kubernetes.object("nodes", "", &node(address)).unwrap();
    change(&mut object);
    kubernetes.apply(object);
}

#[given(regex = r"^the nodes of (\S+ to \S+) are the control plane$")]
fn control_plane(world: &mut World, list: String) {
    for address in addresses(&list) {
        change_node(world, &address, |node| node["metadata"]["labels"][CONTROL_PLANE] = json!(""));
    }
}

/// As behind another network: the node has the address under which the host is registered neither as a name nor as an address.
#[given(regex = r"^the node of (\S+) has another address$")]
fn other_address(world: &mut World, address: String) {
    let addresses = json!([{"type": "InternalIP", "address": "192.168.0.1"}]);
    change_node(world, &address, |node| node["status"]["addresses"] = addresses);
}

#[given(regex = r"^the node of (\S+) (stops being ready|is ready again)$")]
#[when(regex = r"^the node of (\S+) (stops being ready|is ready again)$")]
fn readiness(world: &mut World, address: String, how: String) {
    world.fleet.simulated().kubernetes.set_kubelet_ready(&node(&address), how == "is ready again");
}

#[given(regex = r"^a pod (\S+) without a controller on the node of (\S+)$")]
async fn pod_without_a_controller(world: &mut World, name: String, address: String) {
    world.fleet.simulated().kubernetes.apply(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node(&address), "containers": [{"name": "c", "image": "i"}]}}));
    sleep(CONTROLLERS).await;
}

#[when(regex = r"^(\d+) pods? of (\S+) may be unavailable from now on$")]
async fn disruption_budget(world: &mut World, unavailable: u32, name: String) {
    let kubernetes = &world.fleet.simulated().kubernetes;
    let mut budget = kubernetes.object("poddisruptionbudgets", "default", &name).unwrap();
    budget["spec"]["maxUnavailable"] = json!(unavailable);
    kubernetes.apply(budget);
    sleep(CONTROLLERS).await;
}

#[given(regex = r"^the API server (does not answer|answers again)$")]
#[when(regex = r"^the API server (does not answer|answers again)$")]
fn api_server(world: &mut World, how: String) {
    world.fleet.simulated().kubernetes.set_api_unavailable(how == "does not answer");
}

/// As a web hook of others would do: changes of nodes are rejected, and the other requests are answered.
#[given(regex = r"^the API server (changes no nodes|changes nodes again)$")]
#[when(regex = r"^the API server (changes no nodes|changes nodes again)$")]
fn changes_of_nodes(world: &mut World, how: String) {
    let kubernetes = &world.fleet.simulated().kubernetes;
    if how == "changes nodes again" {
        kubernetes.clear_faults();
        return;
    }
    let rejection = Fault::new(FaultAction::Answer {
        status: 503,
        headers: Vec::new(),
        body: json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
                     "reason": "ServiceUnavailable", "message": "the web hook does not answer"})
        .to_string(),
    });
    kubernetes.fault(rejection.on_method("PATCH").on_path_containing("/api/v1/nodes/"));
}

/// The account of the container manager: its token, or what it may do.
#[given(
    regex = r"^the API server (does not accept the token any more|denies the account everything)$"
)]
fn account(world: &mut World, how: String) {
    let kubernetes = &world.fleet.simulated().kubernetes;
    match how.as_str() {
        "denies the account everything" => kubernetes.add_user("token", "commissaire", &[]),
        _ => kubernetes.remove_user("token"),
    }
}

/// By its name or an address of it.
#[then(regex = r"^the Kubernetes has (a|no) node of (\S+)$")]
fn has_node(world: &mut World, how: String, address: String) {
    let is_of = |object: &Value| {
        let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
        object["metadata"]["name"] == address.as_str()
            || addresses.into_iter().any(|listed| listed["address"] == address.as_str())
    };
    let nodes = world.fleet.simulated().kubernetes.objects("nodes");
    assert_eq!(nodes.iter().any(is_of), how == "a", "{nodes:?}");
}

#[then(regex = r"^(no|\d+) pods? of (\S+) (?:is|are) on the node of (\S+)$")]
fn pods_on(world: &mut World, count: String, name: String, address: String) {
    let pods = world.fleet.simulated().kubernetes.objects("pods").into_iter();
    let pods = pods.filter(|pod| {
        pod["metadata"]["labels"]["app"] == name.as_str()
            && pod["spec"]["nodeName"] == node(&address)
    });
    assert_eq!(pods.count(), count.parse().unwrap_or(0));
}

#[then(regex = r"^the pod (\S+) (exists|does not exist)$")]
fn pod(world: &mut World, name: String, how: String) {
    let found = world.fleet.simulated().kubernetes.object("pods", "default", &name);
    assert_eq!(found.is_some(), how == "exists", "{found:?}");
}

/// All commands to reboot, the first one first.
#[then(regex = r"^the hosts were rebooted in the order (.+)$")]
fn order(world: &mut World, expected: String) {
    let commands = world.fleet.simulated().hosts.commands().into_iter();
    let order: Vec<_> = commands.map(|command| command.address.as_str().to_owned()).collect();
    assert_eq!(order.join(", "), expected);
}
