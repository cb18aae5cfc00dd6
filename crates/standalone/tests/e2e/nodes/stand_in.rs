//! The stand-in API server as a process of its own, and its control API.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Certificate, Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::eventually;

/// The manifests of the account, which hold all its rights.
const RBAC: &str = include_str!("../../../../../conf/kubernetes/rbac.yaml");

/// The account of the container manager in the log of effects.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:commissaire:commissaire";

/// The path of the account's role.
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/commissaire";

/// An entry of the log of effects.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Effect {
    /// The time since the start of the server.
    pub(crate) at: Duration,
    pub(crate) user: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
    pub(crate) status: u16,
    pub(crate) summary: Option<String>,
}

impl Effect {
    /// Whether this is a change of this object that has succeeded, with this text in its summary.
    pub(crate) fn changes(&self, resource: &str, name: &str, text: &str) -> bool {
        let summary = self.summary.as_deref().unwrap_or_default();
        (self.resource.as_str(), self.name.as_str()) == (resource, name)
            && self.status < 300
            && summary.contains(text)
    }
}

/// The server; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    child: Child,
    state: tempfile::TempDir,
    client: Client,
    url: String,
    /// The rules of the account's role.
    rules: Value,
}

impl StandIn {
    /// Starts the server, and grants the account of the container manager its rights.
    pub(crate) async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_commissaire"));
        let program = program.with_file_name("simulated-kubernetes");
        assert!(program.exists(), "`cargo build -p simulated-kubernetes` first");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.arg("--state").arg(state.path()).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let url = eventually("the stand-in listens", async || {
            std::fs::read_to_string(state.path().join("url")).ok().filter(|url| !url.is_empty())
        });
        let url = url.await;
        let authority = std::fs::read(state.path().join("ca.pem")).unwrap();
        let client = Client::builder().tls_certs_only([Certificate::from_pem(&authority).unwrap()]);
        let client = client.timeout(Duration::from_secs(20)).build().unwrap();
        let mut stand_in = Self { child, state, client, url, rules: Value::Null };
        for manifest in RBAC.split("\n---\n") {
            stand_in.apply(manifest).await;
        }
        stand_in.rules = stand_in.get(ROLE).await["rules"].take();
        stand_in
    }

    /// The options of a container manager for this server, with a new token of the account.
    pub(crate) async fn options(&self) -> Value {
        let token = self.new_token().await;
        self.options_with("token", &token)
    }

    /// The options of a container manager for this server, with this option for its credentials.
    pub(crate) fn options_with(&self, credentials: &str, value: &str) -> Value {
        json!({"server_url": self.url, credentials: value,
               "certificate_authority_data": self.read("ca.pem")})
    }

    /// A new token of the account.
    pub(crate) async fn new_token(&self) -> String {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                             "spec": {"expirationSeconds": 86400}});
        let path = "/api/v1/namespaces/commissaire/serviceaccounts/commissaire/token";
        let token = self.call(Method::POST, path, &request).await;
        token["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Rejects a token from now on.
    pub(crate) async fn revoke(&self, token: &str) {
        self.control(Method::DELETE, &format!("users/{token}"), &Value::Null).await;
    }

    /// Gives the account all its rights, without this verb on this resource if there is one.
    pub(crate) async fn grant(&self, without: Option<(&str, &str)>) {
        let mut rules = Vec::new();
        for rule in self.rules.as_array().unwrap() {
            let Some(resources) = rule["resources"].as_array() else {
                rules.push(rule.clone());
                continue;
            };
            for resource in resources {
                let mut part = rule.clone();
                part["resources"] = json!([resource]);
                let verbs = part["verbs"].as_array_mut().unwrap();
                verbs.retain(|verb| {
                    without.is_none_or(|right| *verb != right.0 || *resource != right.1)
                });
                if !verbs.is_empty() {
                    rules.push(part);
                }
            }
        }
        self.call(Method::PATCH, ROLE, &json!({"rules": rules})).await;
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.state.path().join(name)).unwrap()
    }

    /// Creates an object of a manifest.
    async fn apply(&self, manifest: &str) {
        let kind = manifest.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap();
        let path = match kind {
            "Namespace" => "/api/v1/namespaces",
            "ServiceAccount" => "/api/v1/namespaces/commissaire/serviceaccounts",
            "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            other => panic!("there is no path for manifests of the kind {other}"),
        };
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/yaml");
        let answer = request.bearer_auth(self.read("token")).body(manifest.to_owned());
        let answer = answer.send().await.unwrap();
        assert!(answer.status().is_success(), "{kind}: {}", answer.text().await.unwrap());
    }

    /// A request as an administrator; it has to succeed.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let media = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(self.read("token")).header("content-type", media);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, &Value::Null).await
    }

    /// Creates an object in the namespace `default`.
    pub(crate) async fn create(&self, api: &str, resource: &str, object: &Value) {
        let path = format!("/{api}/namespaces/default/{resource}");
        self.call(Method::POST, &path, object).await;
    }

    /// A request to the control API.
    pub(crate) async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/stand-in/{path}"), body).await
    }

    /// What happens to changes of nodes by the account, until faults are cleared.
    pub(crate) async fn fault_of_node_patches(&self, action: Value) {
        self.fault_of_patches("", action).await;
    }

    /// What happens to changes of this node by the account, or of all if the name is empty.
    pub(crate) async fn fault_of_patches(&self, node: &str, action: Value) {
        let fault = json!({"method": "PATCH", "path": format!("/api/v1/nodes/{node}"),
                           "user": ACCOUNT, "action": action});
        self.control(Method::POST, "faults", &fault).await;
    }

    pub(crate) async fn clear_faults(&self) {
        self.control(Method::DELETE, "faults", &Value::Null).await;
    }

    pub(crate) async fn set_unavailable(&self, is_unavailable: bool) {
        let state = json!({"api_unavailable": is_unavailable});
        self.control(Method::PUT, "state", &state).await;
    }

    /// The log of effects, oldest first.
    pub(crate) async fn effects(&self) -> Vec<Effect> {
        serde_json::from_value(self.control(Method::GET, "effects", &Value::Null).await).unwrap()
    }

    /// The wall-clock time of an effect.
    pub(crate) async fn time_of(&self, effect: &Effect) -> Timestamp {
        let state = self.control(Method::GET, "state", &Value::Null).await;
        let start: Timestamp = state["start"].as_str().unwrap().parse().unwrap();
        start + SignedDuration::try_from(effect.at).unwrap()
    }

    /// The changes that the account has made.
    pub(crate) async fn changes(&self) -> Vec<String> {
        let effects = self.effects().await.into_iter();
        let effects = effects.filter(|effect| effect.user == ACCOUNT && effect.status < 300);
        effects.filter_map(|effect| effect.summary).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
