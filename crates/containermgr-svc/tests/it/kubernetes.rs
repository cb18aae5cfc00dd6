//! Nodes of Kubernetes.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Api, Fault, Fixture};

/// The annotation of nodes that were created here.
const CREATED: &str = "commissaire.io/created";

#[tokio::test]
async fn a_missing_node_is_created_and_removed_again() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    for _ in 0..2 {
        assert_eq!(fixture.call("register_node", "192.168.152.110").await.unwrap(), Value::Null);
    }
    assert_eq!(api.count("POST"), 1);
    assert_eq!(api.node("192.168.152.110")["metadata"]["annotations"][CREATED], "true");
    assert_eq!(fixture.call("node_registered", "192.168.152.110").await.unwrap(), Value::Null);
    let status = fixture.call("get_node_status", "192.168.152.110").await.unwrap();
    assert_eq!(status, api.node("192.168.152.110"));
    for _ in 0..2 {
        assert_eq!(fixture.call("remove_node", "192.168.152.110").await.unwrap(), Value::Null);
    }
    assert!(api.nodes().is_empty());
    let message = fixture.refused("get_node_status", "192.168.152.110").await;
    assert!(message.contains("is not registered with the container manager k"), "{message}");
    fixture.refused("node_registered", "192.168.152.110").await;
}

/// The environment of a process is set at its start: the test above is run by a child.
#[test]
fn proxies_of_the_environment_are_ignored() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", proxy.local_addr().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "kubernetes::a_missing_node_is_created_and_removed_again"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        child.env(name, &url).env(name.to_lowercase(), &url);
    }
    let said = String::from_utf8(child.output().unwrap().stdout).unwrap();
    assert!(said.contains("1 passed"), "{said}");
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_existing_node_is_adopted_and_left() {
    let api = Api::start().await;
    api.add(Api::registered("192.168.152.110", "192.168.152.110"));
    api.add(Api::registered("worker-7", "192.168.152.107"));
    let fixture = Fixture::with(&api).await;
    for address in ["192.168.152.110", "192.168.152.107", "worker-7", "WORKER-7"] {
        fixture.call("register_node", address).await.unwrap();
        fixture.call("node_registered", address).await.unwrap();
        fixture.call("remove_node", address).await.unwrap();
    }
    let status = fixture.call("get_node_status", "192.168.152.107").await.unwrap();
    assert_eq!(status, api.node("worker-7"));
    assert_eq!((api.count("POST"), api.count("DELETE")), (0, 0));
}

#[tokio::test]
async fn get_node_status_keeps_unknown_fields_and_omits_managed_fields() {
    let api = Api::start().await;
    let mut expected = Api::registered("worker-7", "192.168.152.107");
    expected["spec"]["later"] = json!({"version": 2});
    expected["metadata"]["later"] = json!([1]);
    let mut node = expected.clone();
    node["metadata"]["managedFields"] = json!([{"manager": "kubelet"}]);
    api.add(node);
    let fixture = Fixture::with(&api).await;
    for address in ["worker-7", "192.168.152.107"] {
        assert_eq!(fixture.call("get_node_status", address).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_node_that_appears_meanwhile_is_adopted() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    api.fault("POST", &[Fault::Raced(Api::registered("10.0.0.1", "10.0.0.1"))]);
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    fixture.call("remove_node", "10.0.0.1").await.unwrap();
    assert_eq!(api.nodes(), ["10.0.0.1"]);
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_not_repeated_blindly() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    api.fault("POST", &[Fault::CloseAfterwards]);
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    assert_eq!(api.count("POST"), 1);
    api.fault("DELETE", &[Fault::CloseAfterwards]);
    fixture.call("remove_node", "10.0.0.1").await.unwrap();
    assert!(api.nodes().is_empty());
}

#[tokio::test]
async fn a_node_that_has_taken_the_name_meanwhile_is_left() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    api.fault("DELETE", &[Fault::Raced(Api::registered("10.0.0.1", "10.0.0.1"))]);
    fixture.call("remove_node", "10.0.0.1").await.unwrap();
    assert_eq!(api.nodes(), ["10.0.0.1"]);
}

#[tokio::test]
async fn a_node_held_by_a_finalizer_is_on_its_way_out() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    let mut node = api.node("10.0.0.1");
    node["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.add(node);
    fixture.call("remove_node", "10.0.0.1").await.unwrap();
    let message = fixture.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("is being deleted"), "{message}");
}

#[tokio::test]
async fn two_candidates_are_refused_by_name() {
    let api = Api::start().await;
    api.add(Api::registered("worker-1", "10.0.0.1"));
    api.add(Api::registered("worker-2", "10.0.0.1"));
    let fixture = Fixture::with(&api).await;
    for method in ["register_node", "remove_node", "node_registered", "get_node_status"] {
        let message = fixture.refused(method, "10.0.0.1").await;
        assert!(message.contains("worker-1, worker-2"), "{message}");
    }
    assert_eq!((api.count("POST"), api.count("DELETE")), (0, 0));
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_again_when_they_are_too_old() {
    let api = Api::start().await;
    for n in 0..7 {
        api.add(Api::registered(&format!("worker-{n}"), &format!("10.0.0.{n}")));
    }
    api.page(2);
    let fixture = Fixture::with(&api).await;
    fixture.call("node_registered", "10.0.0.6").await.unwrap();
    // One request for the name, four pages.
    assert_eq!(api.seen().len(), 5);
    api.fault(
        "GET",
        &[
            Fault::Recorded("node-get-missing-404"),
            Fault::Recorded("gone-list-page1-200"),
            Fault::Recorded("gone-list-continue-expired-410"),
        ],
    );
    fixture.call("node_registered", "10.0.0.6").await.unwrap();
}

#[tokio::test]
async fn all_nodes_of_a_cluster_are_removed_and_no_others() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    api.add(Api::registered("worker-9", "10.0.0.9"));
    for n in 1..=4 {
        fixture.call("register_node", &format!("10.0.0.{n}")).await.unwrap();
    }
    // Our own, which the kubelet has given another address since.
    let addresses = json!(["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.77"]);
    fixture.ask("container.remove_all_nodes", json!(["k", addresses])).await.unwrap();
    assert_eq!(api.nodes(), ["10.0.0.3", "10.0.0.4", "worker-9"]);
    fixture.ask("container.remove_all_nodes", json!(["k", []])).await.unwrap();
    api.fault("DELETE", &[Fault::Recorded("noright-delete-api-v1-nodes-worker-1-403")]);
    let both = json!(["k", ["10.0.0.3", "10.0.0.4"]]);
    let error = fixture.ask("container.remove_all_nodes", both).await.unwrap_err();
    assert!(error.to_string().contains("cannot delete resource"), "{error}");
    assert_eq!(api.nodes().len(), 2);
}
