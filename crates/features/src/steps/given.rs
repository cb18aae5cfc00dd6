//! What there is.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::given;
use host_access::os::Os;
use serde_json::json;
use simulated_hosts::LogIn;

use super::addresses;
use crate::fleet::Event;
use crate::fleet::simulated::node;
use crate::world::World;

#[given(regex = r"^(?:a host|the host|the hosts) (\S+(?: to \S+)?)$")]
fn hosts(world: &mut World, list: String) {
    for address in addresses(&list) {
        world.fleet.add_host(&address);
    }
}

#[given(regex = r"^(?:a|the) host (\S+) that is down$")]
fn host_that_is_down(world: &mut World, address: String) {
    world.fleet.add_host(&address);
    world.fleet.happens(&address, Event::PowerOff);
}

#[given(regex = r"^a host (\S+) with (fedora|debian|ubuntu|centos|redhat)$")]
fn host_with(world: &mut World, address: String, os: String) {
    world.fleet.add_host(&address);
    let os: Os = os.parse().unwrap();
    world.fleet.simulated().hosts.edit(&address, |machine| machine.facts.os = os);
}

/// Hosts that are registered, and in no cluster.
#[given(regex = r"^(?:a|the) registered hosts? (\S+(?: to \S+)?)$")]
async fn registered(world: &mut World, list: String) {
    for address in addresses(&list) {
        world.fleet.add_host(&address);
        register(world, &address, "{}").await;
    }
}

async fn register(world: &mut World, address: &str, body: &str) {
    let path = format!("/host/{address}");
    let answer = world.ask("PUT", &path, Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let is_ready =
        |host: &serde_json::Value| host["status"] == "disassociated" || host["status"] == "active";
    world.until(&path, is_ready).await;
}

#[given(regex = r"^the cluster (\S+)$")]
async fn cluster(world: &mut World, name: String) {
    create_cluster(world, &name, "{}").await;
}

async fn create_cluster(world: &mut World, name: &str, body: &str) {
    let answer = world.ask("PUT", &format!("/cluster/{name}"), Some(body)).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text);
}

#[given(regex = r"^the cluster (\S+) with the hosts? (\S+(?: to \S+)?)$")]
async fn cluster_with(world: &mut World, name: String, list: String) {
    create_cluster(world, &name, "{}").await;
    let body = json!({"cluster": name}).to_string();
    for address in addresses(&list) {
        world.fleet.add_host(&address);
        register(world, &address, &body).await;
    }
}

/// A cluster whose container manager is the Kubernetes `k`, and whose hosts are its nodes.
#[given(regex = r"^the cluster (\S+) on Kubernetes with the nodes (\S+ to \S+)$")]
async fn cluster_on_kubernetes(world: &mut World, name: String, list: String) {
    let manager = json!({"type": "kubernetes", "options": {"server_url": "https://api.test"}});
    let answer = world.ask("PUT", "/containermanager/k", Some(&manager.to_string())).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text);
    let body = json!({"container_manager": "k"}).to_string();
    create_cluster(world, &name, &body).await;
    let body = json!({"cluster": name}).to_string();
    for address in addresses(&list) {
        world.fleet.add_host(&address);
        world.fleet.simulated().add_node(&address);
        register(world, &address, &body).await;
    }
}

/// Pods of a deployment with a disruption budget.
#[given(regex = r"^(\d+) pods of (\S+), of which (\d+) may be unavailable$")]
async fn pods(world: &mut World, count: usize, name: String, unavailable: u32) {
    let labels = json!({"app": name});
    let kubernetes = &world.fleet.simulated().kubernetes;
    kubernetes.apply(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": count, "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels},
                              "spec": {"containers": [{"name": "c", "image": "i"}]}}}}));
    kubernetes.apply(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"maxUnavailable": unavailable, "selector": {"matchLabels": labels}}}));
    tokio::time::sleep(Duration::from_secs(10)).await;
}

#[given(regex = r"^others have cordoned the node of (\S+)$")]
fn cordoned_by_others(world: &mut World, address: String) {
    let kubernetes = &world.fleet.simulated().kubernetes;
    let mut object = kubernetes.object("nodes", "", &node(&address)).unwrap();
    object["spec"]["unschedulable"] = json!(true);
    kubernetes.apply(object);
}

/// How a host behaves.
#[given(
    regex = r"^the host (\S+) (needs no reboot|does not come back|ignores the command to reboot|refuses log-ins|has a failed unit|shows another key after its next boot|takes an hour to boot|fails its upgrade|loses the answer to the command to reboot)$"
)]
pub(super) fn behaviour(world: &mut World, address: String, how: String) {
    world.fleet.simulated().hosts.edit(&address, |machine| match how.as_str() {
        "needs no reboot" => machine.needs_reboot = false,
        "does not come back" => machine.boot = None,
        "takes an hour to boot" => machine.boot = Some(Duration::from_hours(1)),
        "ignores the command to reboot" => machine.ignores_commands = true,
        "loses the answer to the command to reboot" => machine.loses_answers = 1,
        "refuses log-ins" => machine.log_in = LogIn::Refused,
        "has a failed unit" => machine.failed_units = vec!["web.service".to_owned()],
        "shows another key after its next boot" => {
            machine.next_host_key = Some(OTHER_KEY.to_owned());
        }
        "fails its upgrade" => machine.apply.result = Err("no space left on device".to_owned()),
        other => panic!("no behaviour: {other}"),
    });
}

/// An SSH key that no host has at first.
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbGxvdy10aGUtd2hpdGUtcmFiYml0LXRvLW5lYg==";

/// Remembers what the configuration file of a user is to say.
#[given(regex = r"^the file (\S+) of (\S+):$")]
fn file(world: &mut World, name: String, user: String, step: &Step) {
    let folder = world.home(&user);
    std::fs::create_dir_all(&folder).unwrap();
    let text = world.fill_in(step.docstring().map_or("", String::as_str).trim_start());
    std::fs::write(folder.join(name), text).unwrap();
}
