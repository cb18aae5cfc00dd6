//! Networks.

use model::Cluster;
use serde_json::{Value, json};
use storage_client::Transaction;

use crate::support::Gateway;

fn network(kind: &str, options: &Value) -> Value {
    json!({"name": "n1", "type": kind, "options": options})
}

#[tokio::test]
async fn a_network_is_created_shown_and_deleted() {
    let gateway = Gateway::start().await;
    let options = json!({"address": "10.0.0.1:8888", "more": [1, {"a": null}], "ä": 1.5});
    for (body, shown) in [
        (json!({}), network("flannel_etcd", &json!({}))),
        (json!({"type": "none", "name": "n1"}), network("none", &json!({}))),
        (
            json!({"type": "flannel_server", "options": options}),
            network("flannel_server", &options),
        ),
        (json!({"options": {"a": 1}}), network("flannel_etcd", &json!({"a": 1}))),
    ] {
        for _ in 0..2 {
            gateway.put("/network/n1", body.clone()).await.is(201, &shown);
        }
        gateway.get("/network/n1").await.is(200, &shown);
        gateway.get("/networks").await.is(200, &json!(["default", "n1"]));
        gateway.delete("/network/n1").await.is(200, &json!([]));
        gateway.delete("/network/n1").await.refused(404, "there is no network n1");
        gateway.get("/network/n1").await.refused(404, "there is no network n1");
    }
    gateway.get("/networks").await.is(200, &json!(["default"]));
}

#[tokio::test]
async fn a_flannel_server_needs_its_address() {
    let gateway = Gateway::start().await;
    let address = |address: Value| json!({"address": address});
    for options in [
        json!({}),
        address(json!("")),
        address(json!("10.0.0.1")),
        address(json!(":8888")),
        address(json!("10.0.0.1:0")),
        address(json!("10.0.0.1:65536")),
        address(json!("2001:db8::1:80")),
        address(json!("a b:1")),
        address(json!(8888)),
        address(Value::Null),
        json!({"Address": "10.0.0.1:8888"}),
    ] {
        let body = json!({"type": "flannel_server", "options": options});
        gateway.put("/network/n1", body).await.refused(400, "options.address");
    }
    gateway.get("/networks").await.is(200, &json!(["default"]));
    let options = address(json!("[2001:db8::1]:8888"));
    let body = json!({"type": "flannel_server", "options": options});
    gateway.put("/network/n1", body).await.is(201, &network("flannel_server", &options));
}

#[tokio::test]
async fn the_same_name_with_something_else_is_refused() {
    let gateway = Gateway::start().await;
    let body = json!({"options": {"a": 1}});
    gateway.put("/network/n1", body).await.is(201, &network("flannel_etcd", &json!({"a": 1})));
    let before = gateway.records().await;
    for other in [
        json!({}),
        json!({"options": {"a": 2}}),
        json!({"options": {"a": 1, "b": 1}}),
        json!({"type": "none", "options": {"a": 1}}),
    ] {
        gateway.put("/network/n1", other).await.refused(409, "another type or other options");
    }
    let other = json!({"type": "none"});
    gateway.put("/network/default", other).await.refused(409, "another type");
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn the_same_options_are_the_same_whatever_stands_in_them() {
    let gateway = Gateway::start().await;
    let deepest = format!("{}1{}", r#"{"a":"#.repeat(63), "}".repeat(63));
    for options in [
        r#"{"a": 0.1, "b": 1e-7, "c": -0.0, "d": 123456789012345678901234567890}"#,
        r#"{"a": -73432267262047275000000000000000000, "b": 5e-324}"#,
        r#"{"a": "\u0000\u001f\ud83d\ude00", "": "", "\"": "\\"}"#,
        r#"{"b": 1, "a": {"d": [], "c": null}}"#,
        &deepest,
    ] {
        let body = format!(r#"{{"options": {options}}}"#);
        let first = gateway.send("PUT", "/api/v0/network/n1", body.clone()).await;
        assert_eq!(first.status, 201, "{options}");
        for answer in [
            gateway.send("PUT", "/api/v0/network/n1", body.clone()).await,
            gateway.get("/network/n1").await,
        ] {
            assert!(answer.status < 300 && answer.body == first.body, "{}", answer.text());
        }
        gateway.delete("/network/n1").await.is(200, &json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_is_not_deleted_while_a_cluster_begins_to_use_it() {
    let gateway = Gateway::start().await;
    for round in 0..10 {
        assert_eq!(gateway.put("/network/n1", json!({})).await.status, 201);
        let cluster = format!("/cluster/c{round}");
        let (created, deleted) = futures_util::join!(
            gateway.put(&cluster, json!({"network": "n1"})),
            gateway.delete("/network/n1"),
        );
        let shown: Value = serde_json::from_slice(&created.body).unwrap();
        let in_use = shown["network"] == "n1";
        assert_eq!((created.status, deleted.status), (201, if in_use { 409 } else { 200 }));
        gateway.delete(&cluster).await.is(200, &json!([]));
    }
}

#[tokio::test]
async fn a_network_in_use_by_10_000_clusters_names_ten_of_them() {
    let gateway = Gateway::start().await.with_everything().await;
    let clusters: Vec<_> = (0..10_000)
        .map(|n| Cluster {
            name: format!("c{n}").into(),
            network: "n1".to_owned(),
            ..Cluster::default()
        })
        .collect();
    for part in clusters.chunks(100) {
        let add = |transaction: Transaction, cluster| transaction.save(cluster).unwrap();
        let transaction = part.iter().fold(Transaction::default(), add);
        gateway.storage.transact(&transaction).await.unwrap();
    }
    let refused = gateway.delete("/network/n1").await;
    assert!(refused.body.len() < 500, "{} bytes", refused.body.len());
    refused.refused(409, "and 9990 others");
}
