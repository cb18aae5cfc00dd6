//! The container manager that only remembers.

use bus::Kind;
use model::ContainerManagerNodes;
use serde_json::{Value, json};

use crate::support::Fixture;

#[tokio::test]
async fn it_remembers_its_nodes_for_all_replicas() {
    let fixture = Fixture::start().await;
    fixture.configure("k", "trivial", json!({"anything": 7})).await;
    assert!(fixture.refused("node_registered", "10.0.0.1").await.contains("is not registered"));
    for _ in 0..2 {
        assert_eq!(fixture.call("register_node", "10.0.0.1").await.unwrap(), Value::Null);
    }
    // The replicas take turns.
    fixture.start_service().await;
    for _ in 0..4 {
        assert_eq!(fixture.call("node_registered", "10.0.0.1").await.unwrap(), Value::Null);
        let status = fixture.call("get_node_status", "10.0.0.1").await.unwrap();
        assert_eq!(status, json!({"node": "10.0.0.1", "status": "ok"}));
    }
    for _ in 0..2 {
        assert_eq!(fixture.call("remove_node", "10.0.0.1").await.unwrap(), Value::Null);
    }
    assert!(fixture.refused("get_node_status", "10.0.0.1").await.contains("is not registered"));
}

#[tokio::test]
async fn many_at_once_lose_nothing() {
    let fixture = Fixture::start().await;
    fixture.configure("k", "trivial", json!({})).await;
    fixture.start_service().await;
    let addresses: Vec<_> = (0..20).map(|n| format!("10.0.1.{n}")).collect();
    let calls = addresses.iter().map(|address| fixture.call("register_node", address));
    for done in futures_util::future::join_all(calls).await {
        done.unwrap();
    }
    let nodes = fixture.storage.get::<ContainerManagerNodes>("k").await.unwrap();
    assert_eq!(nodes.record.nodes.len(), 20);
    let some = json!({"container_manager_name": "k", "addresses": addresses[..19]});
    fixture.ask("container.remove_all_nodes", some).await.unwrap();
    let nodes = fixture.storage.get::<ContainerManagerNodes>("k").await.unwrap();
    assert_eq!(nodes.record.nodes, [addresses[19].as_str().into()].into());
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused() {
    let fixture = Fixture::start().await;
    fixture.configure("k", "trivial", json!({})).await;
    for (method, params) in [
        ("register_node", json!(["k"])),
        ("register_node", json!(["k", "a b"])),
        ("register_node", json!(["k", 7])),
        ("register_node", json!(["k", "10.0.0.1", 1])),
        // All nodes of the manager are nobody's to remove.
        ("remove_all_nodes", json!(["k"])),
        ("remove_all_nodes", json!(["k", ["10.0.0.1", "-x"]])),
    ] {
        let error = fixture.ask(&format!("container.{method}"), params.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidParams, "{method} {params}");
    }
    let error = fixture.ask("container.explode", json!(["k", "a"])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::MethodNotFound);
    let named = json!({"address": "10.0.0.1", "container_manager_name": "k"});
    fixture.ask("container.register_node", named).await.unwrap();
}
