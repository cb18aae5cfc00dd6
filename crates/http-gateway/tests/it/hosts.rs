//! Hosts.

mod creation;
mod credentials;
mod hostkey;
mod node;
mod races;
mod repetition;
mod rotation;

use http_gateway::Config;
use model::{Cluster, Host, HostCreds, HostState, Lease, ServerKeys, Status};
use serde_json::{Value, json};
use storage_svc::store::Entry;

use crate::support::{Gateway, HOST_KEY, Setup};

/// A host that was just registered, as it is shown.
pub(crate) fn new_host(address: &str) -> Value {
    json!({"address": address, "status": "investigating", "os": "", "cpus": 0, "memory": 0,
           "space": 0, "last_check": "", "source": ""})
}

#[tokio::test]
async fn hosts_are_listed_and_shown_as_they_are_stored() {
    let gateway = Gateway::start().await;
    let host = |address: &str, os: &str| {
        json!({"address": address, "status": "disassociated", "os": os, "cpus": 4, "memory": 7950,
               "space": 105_089_261_568_u64, "last_check": "2026-11-21T23:40:21.397282", "source": ""})
    };
    let hosts = [host("10.0.0.1", "rocky"), host("10.0.0.2", "debian"), host("10.0.0.3", "fedora")];
    for host in hosts.iter().rev() {
        gateway.storage.save(&serde_json::from_value::<Host>(host.clone()).unwrap()).await.unwrap();
    }
    gateway.get("/hosts").await.is(200, &json!(hosts));
    gateway.get("/host/10.0.0.1").await.is(200, &hosts[0]);
    gateway.get("/host/10.9.9.9").await.refused(404, "there is no host 10.9.9.9");
}

#[tokio::test]
async fn the_status_is_the_hosts_own_and_no_envelope() {
    let gateway = Gateway::start().await;
    let shown = |status: &str| {
        json!({"type": "host_only", "host": {"last_check": "", "status": status},
               "container_manager": {}})
    };
    for (status, name) in [
        (Status::New, ""),
        (Status::Investigating, "investigating"),
        (Status::Bootstrapping, "bootstrapping"),
        (Status::Disassociated, "disassociated"),
        (Status::Active, "active"),
    ] {
        gateway.host("10.0.0.1", status).await;
        gateway.get("/host/10.0.0.1/status").await.is(200, &shown(name));
    }
    gateway.get("/host/10.9.9.9/status").await.refused(404, "there is no host 10.9.9.9");
}

#[tokio::test]
async fn a_failed_host_says_why() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Failed).await;
    let state = json!({"address": "10.0.0.1", "reason": "unreachable", "detail": "no route to host",
               "failed_at": "2026-11-26T05:00:00.000000"});
    gateway.host_state(state).await;
    gateway.get("/host/10.0.0.1/status").await.is(
        200,
        &json!({"type": "host_only", "container_manager": {},
                "host": {"last_check": "", "status": "failed", "reason": "unreachable",
                         "since": "2026-11-26T05:00:00.000000", "detail": "no route to host",
                         "remedy": "check its power, its network and its sshd"}}),
    );
}

#[tokio::test]
async fn deleting_a_host_removes_everything_about_it_and_nothing_else() {
    let gateway = Gateway::start().await.with_everything().await;
    let key = json!({"cluster": "c1", "ssh_priv_key": "a2V5"});
    let before = gateway.records().await;
    gateway.put("/host/10.0.0.3", key).await.is(201, &new_host("10.0.0.3"));
    let lease = json!({"name": "investigation.10.0.0.3", "owner": "i", "ttl_ms": 1});
    gateway.storage.save(&serde_json::from_value::<Lease>(lease).unwrap()).await.unwrap();
    gateway.get("/cluster/c1/hosts").await.is(200, &json!(["10.0.0.1", "10.0.0.3"]));

    gateway.delete("/host/10.0.0.3").await.is(200, &json!([]));
    let texts = |records: Vec<Entry>| -> Vec<_> {
        records.into_iter().map(|entry| (entry.key, entry.value)).collect()
    };
    // But for the revisions, and credentials are sealed anew each time.
    assert_eq!(texts(gateway.records().await), texts(before));
    gateway.delete("/host/10.0.0.3").await.refused(404, "there is no host 10.0.0.3");
    for path in ["/host/10.0.0.3", "/host/10.0.0.3/creds", "/host/10.0.0.3/status"] {
        gateway.get(path).await.refused(404, "there is no host 10.0.0.3");
    }
    assert!(gateway.stored::<HostCreds>("10.0.0.3").await.is_none());
    assert!(gateway.stored::<HostState>("10.0.0.3").await.is_none());
    assert_eq!(gateway.stored::<Cluster>("c1").await.unwrap().hostset, ["10.0.0.1"]);
}

#[tokio::test]
async fn investigating_again_is_the_way_out_of_failed() {
    let gateway = Gateway::start().await;
    let path = "/host/10.0.0.1/investigate";
    gateway.post(path).await.refused(404, "there is no host 10.0.0.1");
    assert!(gateway.investigations().await.is_empty());
    for status in [Status::Failed, Status::Active, Status::Disassociated, Status::Investigating] {
        gateway.host("10.0.0.1", status).await;
        gateway.post(path).await.is(202, &new_host("10.0.0.1"));
        assert_eq!(gateway.investigations().await, ["10.0.0.1"]);
        let stored = gateway.stored::<Host>("10.0.0.1").await.unwrap();
        assert_eq!(stored.status, Status::Investigating);
    }
}

#[tokio::test]
async fn a_host_is_not_investigated_under_an_operation() {
    let gateway = Gateway::start().await.with_everything().await;
    gateway.operation_on("c1").await;
    let before = gateway.records().await;
    gateway.post("/host/10.0.0.1/investigate").await.refused(409, "operation");
    assert_eq!(gateway.records().await, before);
    assert!(gateway.investigations().await.is_empty());
    assert_eq!(gateway.post("/host/10.0.0.2/investigate").await.status, 202);
}

#[tokio::test]
async fn the_servers_public_key_is_shown_where_it_has_one() {
    let gateway = Setup { public_key: Some(HOST_KEY), ..Setup::default() }.start().await;
    gateway.get("/publickey").await.is(200, &json!({"public_key": HOST_KEY}));
    let without = Gateway::start().await;
    without.get("/publickey").await.refused(404, "no SSH key of its own");
    // As at the first start of the daemons, until one of them has made it.
    let config =
        Config { ssh_public_key_file: Some("/nowhere/id.pub".into()), ..Config::default() };
    let before = Setup { config, ..Setup::default() }.start().await;
    before.get("/publickey").await.refused(404, "make it at their first start");
}

#[tokio::test]
async fn a_public_key_that_is_not_one_of_the_servers_own_is_not_shown() {
    let gateway = Setup { public_key: Some(HOST_KEY), ..Setup::default() }.start().await;
    let mut keys = ServerKeys::of(&format!("SHA256:{}", "A".repeat(43)));
    gateway.storage.save(&keys).await.unwrap();
    gateway.get("/publickey").await.refused(503, "restore id_ed25519.pub");
    keys.fingerprints.insert(model::host_keys::fingerprint(HOST_KEY).unwrap());
    gateway.storage.save(&keys).await.unwrap();
    gateway.get("/publickey").await.is(200, &json!({"public_key": HOST_KEY}));
}
