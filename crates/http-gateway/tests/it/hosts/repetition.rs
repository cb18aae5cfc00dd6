//! Registering a host that exists: first boots retry.

use futures_util::future::join_all;
use model::{Cluster, Host, HostCreds, Status};
use serde_json::{Value, json};

use super::new_host;
use crate::support::Gateway;

/// A gateway with `10.0.0.1`, a member of `c1` with the key `key`, and `10.0.0.2`, in no cluster, with
/// the server's own; nothing waits to be investigated.
async fn registered() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    gateway.cluster("c2", &[]).await;
    let body = json!({"ssh_priv_key": "a2V5", "cluster": "c1"});
    gateway.put("/host/10.0.0.1", body).await.is(201, &new_host("10.0.0.1"));
    gateway.put("/host/10.0.0.2", json!({})).await.is(201, &new_host("10.0.0.2"));
    assert_eq!(gateway.investigations().await, ["10.0.0.1", "10.0.0.2"]);
    gateway
}

async fn becomes(gateway: &Gateway, address: &str, status: Status) {
    let change = |host: &mut Host| {
        host.status = status;
        Ok(true)
    };
    gateway.storage.update::<Host>(address, change).await.unwrap();
}

#[tokio::test]
async fn the_same_key_changes_nothing() {
    let gateway = registered().await;
    let before = gateway.records().await;
    for body in [
        json!({"ssh_priv_key": "a2V5"}),
        json!({"ssh_priv_key": " a2\nV5\r\n"}),
        json!({"ssh_priv_key": "a2V5", "cluster": "c1"}),
        json!({"ssh_priv_key": "a2V5", "remote_user": "other", "ssh_port": 2, "source": "x",
               "bootstrap": "full", "addresses": ["10.0.0.9"]}),
    ] {
        gateway.put("/host/10.0.0.1", body).await.is(201, &new_host("10.0.0.1"));
    }
    for body in [json!({}), json!({"ssh_priv_key": ""}), json!({"ssh_priv_key": " \n"})] {
        gateway.put("/host/10.0.0.2", body).await.is(201, &new_host("10.0.0.2"));
    }
    assert_eq!(gateway.records().await, before);
    assert_eq!(gateway.stored::<HostCreds>("10.0.0.1").await.unwrap().remote_user, "root");
}

#[tokio::test]
async fn another_key_or_another_cluster_is_refused() {
    let gateway = registered().await;
    let before = gateway.records().await;
    for (address, body, words) in [
        ("10.0.0.1", json!({"ssh_priv_key": "b3RoZXI="}), "another key"),
        ("10.0.0.1", json!({}), "another key"),
        ("10.0.0.1", json!({"ssh_priv_key": ""}), "another key"),
        ("10.0.0.1", json!({"ssh_priv_key": "!"}), "another key"),
        ("10.0.0.2", json!({"ssh_priv_key": "a2V5"}), "another key"),
        ("10.0.0.1", json!({"ssh_priv_key": "a2V5", "cluster": "c2"}), "in c1"),
        ("10.0.0.1", json!({"ssh_priv_key": "a2V5", "cluster": "c9"}), "in c1"),
        ("10.0.0.2", json!({"cluster": "c1"}), "in no cluster"),
    ] {
        gateway.put(&format!("/host/{address}"), body.clone()).await.refused(409, words);
        let mut with_address = body;
        with_address["address"] = json!(address);
        gateway.put("/host", with_address).await.refused(409, words);
    }
    assert_eq!(gateway.records().await, before);
    assert!(gateway.investigations().await.is_empty());
}

#[tokio::test]
async fn a_failed_host_is_investigated_again_and_no_other() {
    let gateway = registered().await;
    let body = json!({"ssh_priv_key": "a2V5"});
    for (status, name) in [
        (Status::Active, "active"),
        (Status::Disassociated, "disassociated"),
        (Status::Bootstrapping, "bootstrapping"),
    ] {
        becomes(&gateway, "10.0.0.1", status).await;
        let mut shown: Value = new_host("10.0.0.1");
        shown["status"] = json!(name);
        gateway.put("/host/10.0.0.1", body.clone()).await.is(201, &shown);
    }
    assert!(gateway.investigations().await.is_empty());
    becomes(&gateway, "10.0.0.1", Status::Failed).await;
    let other = json!({"ssh_priv_key": "b3RoZXI="});
    gateway.put("/host/10.0.0.1", other).await.refused(409, "another key");
    gateway.put("/host/10.0.0.1", body).await.is(201, &new_host("10.0.0.1"));
    assert_eq!(gateway.investigations().await, ["10.0.0.1"]);
    assert_eq!(gateway.stored::<Cluster>("c1").await.unwrap().hostset, ["10.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_all_agree_on_one_host() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    let keys = ["a2V5", "b3RoZXI="].into_iter().cycle().take(16);
    let register = async |key| {
        let body = json!({"ssh_priv_key": key, "cluster": "c1"});
        (key, gateway.put("/host/10.0.0.1", body).await.status)
    };
    let answers = join_all(keys.map(register)).await;
    let stored: HostCreds = gateway.stored("10.0.0.1").await.unwrap();
    let stored = secrecy::ExposeSecret::expose_secret(&stored.ssh_priv_key);
    for (key, status) in answers {
        assert_eq!(status, if key == stored { 201 } else { 409 });
    }
    assert_eq!(gateway.stored::<Cluster>("c1").await.unwrap().hostset, ["10.0.0.1"]);
}
