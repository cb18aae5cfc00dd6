//! The server as a process: TLS, certificates, tokens, and the control API.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use kube::{Client, Config};
use serde_json::json;
use simulated_kubernetes::{MASTERS, Pki};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

/// Ten times as long as a process takes to start or to end on a busy machine.
const HANG: Duration = Duration::from_secs(90);

/// A server, ended when dropped.
struct Server {
    child: Child,
    state: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_simulated-kubernetes"))
            .arg("--state")
            .arg(state.path())
            .spawn()
            .unwrap();
        let server = Self { child, state };
        let url = server.path("url");
        eventually("the server listens", || {
            fs::read_to_string(&url).ok().filter(|url| !url.is_empty())
        })
        .await;
        server
    }

    fn path(&self, name: &str) -> String {
        let state: &Path = self.state.path();
        state.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    async fn client(&self, user: AuthInfo) -> Client {
        let cluster = Cluster {
            server: Some(self.read("url")),
            certificate_authority: Some(self.path("ca.pem")),
            ..Cluster::default()
        };
        let context =
            Context { cluster: "c".to_owned(), user: Some("u".to_owned()), ..Context::default() };
        let config = Kubeconfig {
            clusters: vec![NamedCluster {
                name: "c".to_owned(),
                cluster: Some(cluster),
                ..Default::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: "u".to_owned(),
                auth_info: Some(user),
                ..Default::default()
            }],
            contexts: vec![NamedContext {
                name: "x".to_owned(),
                context: Some(context),
                ..Default::default()
            }],
            current_context: Some("x".to_owned()),
            ..Kubeconfig::default()
        };
        let config =
            Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks at short intervals until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < HANG {
        if let Some(answer) = ask() {
            return answer;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("not within {HANG:?}: {what}");
}

async fn control(client: &Client, method: &str, path: &str, body: &serde_json::Value) {
    let request = http::Request::builder().method(method).uri(format!("/stand-in/{path}"));
    let body = serde_json::to_vec(body).unwrap();
    client.request_text(request.body(body).unwrap()).await.unwrap();
}

#[tokio::test]
async fn real_client_uses_the_process_over_tls() {
    let mut server = Server::start().await;
    let certificate = AuthInfo {
        client_certificate: Some(server.path("admin.pem")),
        client_key: Some(server.path("admin-key.pem")),
        ..AuthInfo::default()
    };
    let admin = server.client(certificate).await;
    control(&admin, "POST", "nodes", &json!({"name": "w1", "address": "10.0.0.1"})).await;
    let nodes: Api<Node> = Api::all(admin.clone());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let user = json!({"token": "t", "name": "u"});
    control(&admin, "POST", "users", &user).await;
    let limited =
        server.client(AuthInfo { token: Some("t".to_owned().into()), ..AuthInfo::default() }).await;
    let denied = Api::<Node>::all(limited.clone()).list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(denied, kube::Error::Api(status) if status.code == 403));
    let (certificate, key) = Pki::new().unwrap().client("admin", &[MASTERS]).unwrap();
    fs::write(server.path("foreign.pem"), certificate).unwrap();
    fs::write(server.path("foreign-key.pem"), key).unwrap();
    let foreign = AuthInfo {
        client_certificate: Some(server.path("foreign.pem")),
        client_key: Some(server.path("foreign-key.pem")),
        ..AuthInfo::default()
    };
    let foreign = Api::<Node>::all(server.client(foreign).await);
    let rejected = foreign.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(rejected, kube::Error::Api(status) if status.code == 401));
    let request = http::Request::get("/stand-in/effects").body(Vec::new()).unwrap();
    assert!(limited.request_text(request).await.is_err());
    let fault = json!({"method": "POST", "requests": 1, "action": "close-after"});
    control(&admin, "POST", "faults", &fault).await;
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "w2"}})).unwrap();
    assert!(nodes.create(&PostParams::default(), &node).await.is_err());
    assert!(nodes.get_opt("w2").await.unwrap().is_some());
    control(&admin, "PUT", "kubelets/w1", &json!({"up": true, "boot_id": "second"})).await;
    let unknown = http::Request::put("/stand-in/kubelets/w9").body(b"{}".to_vec()).unwrap();
    assert!(admin.request_text(unknown).await.unwrap_err().to_string().contains("w9"));
    control(&admin, "PUT", "state", &json!({"api_unavailable": true})).await;
    assert!(nodes.get("w1").await.is_err());
    control(&admin, "PUT", "state", &json!({"api_unavailable": false})).await;
    assert!(nodes.get("w1").await.is_ok());
    let effects = http::Request::get("/stand-in/effects").body(Vec::new()).unwrap();
    let effects: serde_json::Value = admin.request(effects).await.unwrap();
    let mut effects = effects.as_array().unwrap().iter();
    assert!(effects.any(|effect| effect["summary"] == "create nodes w2"), "{effects:?}");
    let state = http::Request::get("/stand-in/state").body(Vec::new()).unwrap();
    let state: serde_json::Value = admin.request(state).await.unwrap();
    assert!(state["start"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{state}");
    control(&admin, "DELETE", "users/t", &json!({})).await;
    let revoked = Api::<Node>::all(limited.clone()).list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(revoked, kube::Error::Api(status) if status.code == 401));
    let address = server.read("url").replace("https://", "");
    let mut plaintext = tokio::net::TcpStream::connect(address).await.unwrap();
    plaintext.write_all(b"GET /api/v1/nodes HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plaintext.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    terminate(&mut server.child).await;
}

/// SIGTERM ends the process with success.
async fn terminate(child: &mut Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    let status = eventually("the process ends", || child.try_wait().unwrap()).await;
    assert!(status.success());
}
