//! Registering a host that does not exist yet.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::Request;
use http_gateway::Config;
use http_gateway::peer::Peer;
use model::{Bootstrap, Cluster, HostCreds, HostState, Status};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::new_host;
use crate::support::{Gateway, HOST_KEY, V0};

#[tokio::test]
async fn a_new_host_is_stored_and_investigated() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &["10.0.0.9"]).await;
    let mut shown = new_host("10.0.0.1");
    shown["source"] = json!("etcd");
    let body = json!({
        "address": "10.0.0.1", "ssh_priv_key": "a2V5\nLWZpbGU=\n", "remote_user": "ops",
        "cluster": "c1", "source": "etcd", "ssh_port": 2222, "bootstrap": "none",
        "ssh_host_key": format!("# web\n\n{HOST_KEY} root@web\r\n  {HOST_KEY}\n"),
        "addresses": ["2001:DB8::0:1", "Web1"],
    });
    gateway.put("/host/10.0.0.1", body).await.is(201, &shown);
    gateway.get("/host/10.0.0.1").await.is(200, &shown);
    assert_eq!(gateway.investigations().await, ["10.0.0.1"]);

    let creds: HostCreds = gateway.stored("10.0.0.1").await.unwrap();
    assert_eq!(creds.ssh_priv_key.expose_secret(), "a2V5\nLWZpbGU=\n");
    assert_eq!((creds.remote_user.as_str(), creds.ssh_port), ("ops", 2222));
    assert_eq!(creds.ssh_host_key, HOST_KEY);
    let state: HostState = gateway.stored("10.0.0.1").await.unwrap();
    assert_eq!((state.bootstrap, state.reason.as_str()), (Bootstrap::None, ""));
    assert_eq!(state.addresses, ["2001:db8::1", "web1"]);
    // A member at once: readiness matters on the membership routes only.
    let cluster: Cluster = gateway.stored("c1").await.unwrap();
    assert_eq!(cluster.hostset, ["10.0.0.1", "10.0.0.9"]);
}

#[tokio::test]
async fn without_a_key_the_servers_own_is_used() {
    let gateway = Gateway::start().await;
    for (address, body) in
        [("10.0.0.1", json!({})), ("10.0.0.2", json!({"ssh_priv_key": "", "ssh_host_key": ""}))]
    {
        gateway.put(&format!("/host/{address}"), body).await.is(201, &new_host(address));
        let creds: HostCreds = gateway.stored(address).await.unwrap();
        assert_eq!(creds.ssh_priv_key.expose_secret(), "");
        assert_eq!((creds.remote_user.as_str(), creds.ssh_port), ("root", 22));
        let state: HostState = gateway.stored(address).await.unwrap();
        assert_eq!(state.bootstrap, Bootstrap::Auto);
    }
}

#[tokio::test]
async fn status_and_facts_in_the_body_are_ignored() {
    let gateway = Gateway::start().await;
    let body = json!({"status": "active", "os": "fedora", "cpus": 8, "memory": -1, "space": "big",
                      "last_check": 7});
    gateway.put("/host/10.0.0.1", body.clone()).await.is(201, &new_host("10.0.0.1"));
    gateway.put("/host/10.0.0.1", body).await.is(201, &new_host("10.0.0.1"));
    gateway.get("/host/10.0.0.1").await.is(200, &new_host("10.0.0.1"));
}

#[tokio::test]
async fn a_refused_member_leaves_nothing_behind() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    let before = gateway.records().await;
    let long = "a".repeat(33);
    let data = HOST_KEY.split(' ').nth(1).unwrap();
    for (member, value, status, words) in [
        ("cluster", json!("c9"), 409, "there is no cluster"),
        ("cluster", json!(""), 409, "there is no cluster"),
        ("cluster", json!("../x"), 409, "there is no cluster"),
        ("ssh_priv_key", json!("!"), 400, "ssh_priv_key"),
        ("ssh_priv_key", json!("a2V5="), 400, "ssh_priv_key"),
        ("ssh_priv_key", json!("-----BEGIN OPENSSH PRIVATE KEY-----"), 400, "ssh_priv_key"),
        ("remote_user", json!(""), 400, "remote user"),
        ("remote_user", json!("1a"), 400, "remote user"),
        ("remote_user", json!("-oProxyCommand=x"), 400, "remote user"),
        ("remote_user", json!("a b"), 400, "remote user"),
        ("remote_user", json!("a\n"), 400, "remote user"),
        ("remote_user", json!("ä"), 400, "remote user"),
        ("remote_user", json!(long), 400, "remote user"),
        ("ssh_port", json!(0), 400, "ssh_port"),
        ("ssh_port", json!(65536), 400, "ssh_port"),
        ("ssh_port", json!(-1), 400, "ssh_port"),
        ("ssh_port", json!(22.5), 400, "ssh_port"),
        ("ssh_port", json!("22"), 400, "ssh_port"),
        ("ssh_host_key", json!("\n# nothing\n"), 400, "ssh_host_key"),
        ("ssh_host_key", json!("junk"), 400, "ssh_host_key: line 1"),
        ("ssh_host_key", json!(format!("{HOST_KEY}\njunk")), 400, "ssh_host_key: line 2"),
        (
            "ssh_host_key",
            json!(format!("ssh-rsa {data}")),
            400,
            "ssh_host_key: the key data in line 1",
        ),
        ("ssh_host_key", json!(format!("ssh-dss {data}")), 400, "ssh_host_key: line 1"),
        ("bootstrap", json!("some"), 400, "bootstrap"),
        ("addresses", json!(["10.0.0.2", "a b"]), 400, "addresses[1]"),
        ("address", json!("10.0.0.2"), 400, "`address` says"),
    ] {
        let mut body = json!({"cluster": "c1", "ssh_priv_key": "a2V5"});
        body[member] = value;
        gateway.put("/host/10.0.0.1", body.clone()).await.refused(status, words);
        if member != "address" {
            body["address"] = json!("10.0.0.1");
            gateway.put("/host", body).await.refused(status, words);
        }
    }
    assert_eq!(gateway.records().await, before);
    assert!(gateway.investigations().await.is_empty());
}

#[tokio::test]
async fn user_names_that_hosts_have_are_accepted() {
    let gateway = Gateway::start().await;
    for user in ["root", "_apt", "A", "core-os_1.x", &"a".repeat(32)] {
        let body = json!({"remote_user": user});
        gateway.put("/host/10.0.0.1", body).await.is(201, &new_host("10.0.0.1"));
        assert_eq!(gateway.stored::<HostCreds>("10.0.0.1").await.unwrap().remote_user, user);
        gateway.delete("/host/10.0.0.1").await.is(200, &json!([]));
    }
}

#[tokio::test]
async fn what_an_earlier_host_left_behind_is_not_taken_over() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Failed).await;
    let state = json!({"address": "10.0.0.1", "reason": "unreachable", "set_up": true});
    gateway.host_state(state).await;
    gateway.storage.delete::<model::Host>("10.0.0.1").await.unwrap();
    gateway.put("/host/10.0.0.1", json!({})).await.is(201, &new_host("10.0.0.1"));
    let state: HostState = gateway.stored("10.0.0.1").await.unwrap();
    let registered_at = state.registered_at.clone();
    assert!(registered_at.is_valid());
    let new = HostState { address: "10.0.0.1".into(), registered_at, ..HostState::default() };
    assert_eq!(state, new);
}

#[tokio::test]
async fn the_address_may_stand_in_the_body() {
    let gateway = Gateway::start().await;
    for path in ["/host", "/host/"] {
        let body = json!({"address": "10.0.0.1", "ssh_priv_key": "a2V5"});
        gateway.put(path, body).await.is(201, &new_host("10.0.0.1"));
    }
    for address in ["", "a b", "-x", "../x", "fe80::1%eth0", &"a".repeat(254)] {
        gateway.put("/host", json!({"address": address})).await.refused(400, "address");
    }
    assert_eq!(gateway.investigations().await, ["10.0.0.1", "10.0.0.1"]);
}

#[tokio::test]
async fn loopback_is_never_inferred() {
    let gateway = Gateway::start().await;
    let before = gateway.records().await;
    gateway.put("/host", json!({})).await.refused(400, "`address`");
    for header in [("x-forwarded-for", "10.0.0.7"), ("forwarded", "for=10.0.0.7")] {
        // Nobody has said that the peer is a proxy to be trusted.
        let answer = gateway.send_with(header, "PUT", &format!("{V0}/host"), "").await;
        answer.refused(400, "`address`");
    }
    assert_eq!(gateway.records().await, before);
}

/// `PUT /host` without an address, as it arrives from `peer`.
async fn registers(gateway: &Gateway, peer: &str) -> (u16, Value) {
    let config = Config { self_auths: vec![format!("{V0}/host")], ..Config::default() };
    let service = gateway.service_with(&config).await.unwrap();
    let peer: SocketAddr = peer.parse().unwrap();
    let request = Request::put(format!("{V0}/host")).header("host", "test");
    let request = request.extension(ConnectInfo(Peer::from(peer)));
    let request = request.body(axum::body::Body::from("{}")).unwrap();
    let response = service.answer(request).await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn without_an_address_it_is_the_peers() {
    let gateway = Gateway::start().await;
    for (peer, address) in [
        ("10.0.0.7:4711", "10.0.0.7"),
        ("[::ffff:10.0.0.8]:4711", "10.0.0.8"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
    ] {
        assert_eq!(registers(&gateway, peer).await, (201, new_host(address)));
    }
    for loopback in ["127.8.0.1:4711", "[::1]:4711", "[::ffff:127.0.0.1]:4711", "0.0.0.0:1"] {
        assert_eq!(registers(&gateway, loopback).await.0, 400, "{loopback}");
    }
}
