//! The nodes of a Kubernetes that clusters share.

use serde_json::{Value, json};
use simulated_kubernetes::{MASTERS, NodeSettings, Pki, Settings, SimulatedKubernetes};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use super::{bind, call};
use crate::support::{Answer, Executor, Gateway, Managers, Setup};

struct Shared {
    gateway: Gateway,
    kubernetes: SimulatedKubernetes,
    /// The file of its authority, until it is dropped.
    _authority: NamedTempFile,
}

/// A gateway whose clusters `own` and `foreign` are on one Kubernetes, `k9`. Its node `w7` is the host 10.77.0.1 of `foreign`,
/// which has a second address, 10.77.0.2. The operator is bound to `own`.
async fn shared() -> Shared {
    let (executor, managers) = (Executor::Real, Managers::Real);
    let gateway = Setup { executor, managers, ..Setup::default() }.start().await;
    let start = "2026-11-28T12:00:00Z".parse().unwrap();
    let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
    kubernetes.add_user("token", "system:serviceaccount:ops:commissaire", &[MASTERS]);
    kubernetes.add_node(&NodeSettings::new("w7", "10.77.0.1"));
    let mut node = kubernetes.object("nodes", "", "w7").unwrap();
    let addresses = node["status"]["addresses"].as_array_mut().unwrap();
    addresses.push(json!({"type": "InternalIP", "address": "10.77.0.2"}));
    node["metadata"]["annotations"]["commissaire.io/created"] = json!("true");
    kubernetes.apply(node);
    let pki = Pki::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let authority = NamedTempFile::new().unwrap();
    std::fs::write(&authority, pki.authority_pem()).unwrap();
    let serving = kubernetes.clone();
    gateway.life.spawn("API server", async move { serving.serve(listener, &pki).await.unwrap() });
    let options = json!({"server_url": url, "token": "token", "certificate_authority_path": authority.path()});
    let manager = json!({"type": "kubernetes", "clusters": ["own", "foreign"], "options": options});
    assert_eq!(gateway.put("/containermanager/k9", manager).await.status, 201);
    for cluster in ["own", "foreign"] {
        let made =
            gateway.put(&format!("/cluster/{cluster}"), json!({"container_manager": "k9"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    bind(&gateway, "operator", "operator", &["own"]).await;
    Shared { gateway, kubernetes, _authority: authority }
}

#[tokio::test]
async fn node_of_another_host_is_neither_shown_nor_changed_by_its_name_or_an_address() {
    let Shared { gateway, kubernetes, .. } = &shared().await;
    let before = kubernetes.object("nodes", "", "w7").unwrap();
    for host in ["w7", "10.77.0.2"] {
        let as_operator = async |method: &str, path: &str, body: Value| -> Answer {
            let path = format!("/api/v0/host/{host}{path}");
            call(gateway, "operator", method, &path, &body.to_string()).await
        };
        let key = json!({"cluster": "own", "ssh_priv_key": "a2V5"});
        assert_eq!(as_operator("PUT", "", key).await.status, 201);
        // Another machine than the node's, or one that is not known yet.
        for machine_id in ["", "0123456789abcdef0123456789abcdef"] {
            gateway.host_state(json!({"address": host, "machine_id": machine_id})).await;
            let status = as_operator("GET", "/status", Value::Null).await;
            assert_eq!(status.json()["container_manager"], json!({}), "{}", status.text());
            for (method, path) in
                [("PUT", "/cordon"), ("DELETE", "/cordon?foreign"), ("POST", "/drain")]
            {
                let refused = as_operator(method, path, json!({})).await;
                assert_eq!(refused.status, 409, "{method} {path} {}", refused.text());
                assert!(!refused.text().contains("machine-of-w7"), "{}", refused.text());
            }
        }
        if host != "w7" {
            assert_eq!(as_operator("DELETE", "", Value::Null).await.status, 200);
        }
    }
    assert_eq!(kubernetes.object("nodes", "", "w7"), Some(before));
}

#[tokio::test]
async fn node_of_a_host_that_has_reported_its_machine_id_is_its_own() {
    let Shared { gateway, kubernetes, .. } = &shared().await;
    let body = json!({"cluster": "own", "ssh_priv_key": "a2V5"}).to_string();
    let made = call(gateway, "operator", "PUT", "/api/v0/host/w7", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    gateway.host_state(json!({"address": "w7", "machine_id": "machine-of-w7"})).await;
    let status = call(gateway, "operator", "GET", "/api/v0/host/w7/status", "").await;
    assert_eq!(status.json()["container_manager"]["metadata"]["name"], "w7", "{}", status.text());
    let cordoned = call(gateway, "operator", "PUT", "/api/v0/host/w7/cordon", "").await;
    assert_eq!(cordoned.status, 200, "{}", cordoned.text());
    assert_eq!(kubernetes.object("nodes", "", "w7").unwrap()["spec"]["unschedulable"], true);
}
