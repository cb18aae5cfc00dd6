//! An API server that answers as a real one was recorded to (`tests/data/kubernetes-api.jsonl`): status,
//! headers and body are those of the recorded exchange of the same kind, with the names put in. What it
//! adds is a memory of nodes, and faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use runtime::Lifecycle;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Pki;

/// The token that has all rights.
pub(crate) const TOKEN: &str = "canary-token";

/// What goes wrong with a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// This exchange instead.
    Recorded(&'static str),
    /// This exchange instead, with another status and these seconds in `Retry-After`.
    Like(&'static str, u16, Option<&'static str>),
    /// The connection is closed instead of an answer.
    Close,
    /// It is carried out, and the connection closed instead of an answer.
    CloseAfterwards,
    /// No answer.
    Hang,
    /// This node appears first, and the request is then answered.
    Raced(Value),
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: Value,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Value>,
    faults: VecDeque<(&'static str, Fault)>,
    seen: Vec<Seen>,
    page: Option<usize>,
    made: u64,
}

/// See the module.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) pki: Pki,
    state: Arc<Mutex<State>>,
    life: Lifecycle,
}

/// A recorded exchange.
pub(crate) fn recorded(id: &str) -> Value {
    let lines = include_str!("../../data/kubernetes-api.jsonl").lines();
    let mut exchanges = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    exchanges.find(|exchange| exchange["id"] == id).unwrap_or_else(|| panic!("no exchange {id}"))
}

/// The same with another name in the answer.
fn renamed(id: &str, from: &str, to: &str) -> Value {
    let mut exchange = recorded(id);
    let response = exchange["response"].to_string().replace(from, to);
    exchange["response"] = serde_json::from_str(&response).unwrap();
    exchange
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::with(Pki::new()).await
    }

    async fn with(pki: Pki) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, life) = (Arc::<Mutex<State>>::default(), Lifecycle::new());
        let acceptor = TlsAcceptor::from(pki.server());
        let (serving, connections) = (Arc::clone(&state), life.clone());
        life.spawn("api", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = serve(acceptor.clone(), stream, Arc::clone(&serving));
                connections.spawn("connection", served);
            }
        });
        Self { address, pki, state, life }
    }

    /// What a configuration of it looks like.
    pub(crate) fn options(&self) -> Value {
        json!({"server_url": format!("https://{}", self.address), "token": TOKEN,
               "certificate_authority_data": self.pki.pem()})
    }

    /// The same without a token.
    pub(crate) fn options_without_token(&self) -> Value {
        let mut options = self.options();
        options.as_object_mut().unwrap().remove("token");
        options
    }

    /// The next requests with this method meet these faults.
    pub(crate) fn fault(&self, method: &'static str, faults: &[Fault]) {
        let faults = faults.iter().map(|fault| (method, fault.clone()));
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// Lists are answered in pages of this many at most.
    pub(crate) fn page(&self, page: usize) {
        self.state.lock().unwrap().page = Some(page);
    }

    /// A node as its kubelet registers it.
    pub(crate) fn registered(name: &str, address: &str) -> Value {
        let mut node = recorded("status-addresses-merge-200")["response"].take();
        node["metadata"]["name"] = name.into();
        node["status"]["addresses"][0]["address"] = address.into();
        node["status"]["addresses"][1]["address"] = name.into();
        node
    }

    pub(crate) fn add(&self, node: Value) {
        let name = node["metadata"]["name"].as_str().unwrap().to_owned();
        self.state.lock().unwrap().nodes.insert(name, node);
    }

    /// The names of all nodes.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.state.lock().unwrap().nodes.keys().cloned().collect()
    }

    pub(crate) fn node(&self, name: &str) -> Value {
        self.state.lock().unwrap().nodes[name].clone()
    }

    /// The requests since this was last asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    /// How many requests with this method there were since [`Self::seen`] was last asked.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.state.lock().unwrap().seen.iter().filter(|seen| seen.method == method).count()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.life.stop();
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<Mutex<State>>) {
    // A client that does not trust us goes away here.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let certified = stream.get_ref().1.peer_certificates().is_some();
    let service = service_fn(|request| answer(request, certified, Arc::clone(&state)));
    let connection = hyper::server::conn::http1::Builder::new();
    drop(connection.serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(
    request: Request<Incoming>,
    certified: bool,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let closed = || Err(std::io::Error::other("closed as asked"));
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let token = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let fault = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        let next = state.faults.iter().position(|(method, _)| *method == seen.method);
        next.and_then(|next| state.faults.remove(next)).map(|(_, fault)| fault)
    };
    let exchange = match fault {
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Close) => return closed(),
        Some(Fault::Recorded(id)) => recorded(id),
        Some(Fault::Like(id, status, retry_after)) => {
            let mut exchange = recorded(id);
            exchange["status"] = status.into();
            exchange["headers"] = retry_after.map_or(json!({}), |s| json!({"Retry-After": s}));
            exchange
        }
        Some(Fault::Raced(node)) => {
            let mut state = state.lock().unwrap();
            let name = node["metadata"]["name"].as_str().unwrap().to_owned();
            state.nodes.insert(name, node);
            decide(&mut state, &seen, token.as_deref(), certified)
        }
        fault => {
            let decided = decide(&mut state.lock().unwrap(), &seen, token.as_deref(), certified);
            if fault.is_some() {
                return closed();
            }
            decided
        }
    };
    if exchange["status"].is_null() {
        return closed();
    }
    Ok(response(&exchange))
}

fn response(exchange: &Value) -> Response<Full<Bytes>> {
    let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
    let mut response = Response::builder().status(status);
    if let Some(content_type) = exchange["content_type"].as_str() {
        response = response.header("content-type", content_type);
    }
    for (name, value) in exchange["headers"].as_object().unwrap() {
        response = response.header(name, value.as_str().unwrap());
    }
    let body = &exchange["response"];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    response.body(Full::new(body.into())).unwrap()
}

fn decide(state: &mut State, seen: &Seen, token: Option<&str>, certified: bool) -> Value {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    match token {
        Some(token) if token == format!("Bearer {TOKEN}") => {}
        None if certified => {}
        Some(_) => return recorded("auth-badtoken-401"),
        None if seen.method == "POST" => return recorded("auth-none-post-403"),
        None => return recorded("auth-none-403"),
    }
    let Some(rest) = path.strip_prefix("/api/v1/nodes") else {
        return recorded("unknown-path-404");
    };
    match (seen.method.as_str(), rest.strip_prefix('/')) {
        ("GET", None) => list(state, query),
        ("POST", None) => create(state, &seen.body),
        ("GET", Some(name)) => match state.nodes.get(name) {
            Some(node) => answered("node-get-200", node.clone()),
            None => renamed("node-get-missing-404", "nope", name),
        },
        ("DELETE", Some(name)) => delete(state, name, &seen.body),
        _ => recorded("node-patch-collection-405"),
    }
}

/// An exchange with another answer of the same form.
fn answered(id: &str, response: Value) -> Value {
    let mut exchange = recorded(id);
    exchange["response"] = response;
    exchange
}

fn list(state: &State, query: &str) -> Value {
    let value = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or("")
    };
    let items = state.nodes.values().map(|node| {
        let mut item = node.clone();
        let members = item.as_object_mut().unwrap();
        members.remove("kind");
        members.remove("apiVersion");
        item
    });
    let items: Vec<_> = items.collect();
    let from: usize = value("continue").parse().unwrap_or(0);
    let limit: usize = value("limit").parse().unwrap_or(usize::MAX);
    let to = from.saturating_add(limit.min(state.page.unwrap_or(limit))).min(items.len());
    if to == items.len() {
        let mut exchange = recorded("node-list-200");
        exchange["response"]["items"] = items[from..].into();
        return exchange;
    }
    let mut exchange = recorded("node-list-limit-200");
    exchange["response"]["items"] = items[from..to].into();
    exchange["response"]["metadata"]["continue"] = to.to_string().into();
    exchange["response"]["metadata"]["remainingItemCount"] = (items.len() - to).into();
    exchange
}

fn create(state: &mut State, body: &Value) -> Value {
    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
    if let Some(existing) = state.nodes.get(&name) {
        let terminating = existing["metadata"]["deletionTimestamp"].is_string();
        return if terminating {
            renamed("fin-create-while-terminating-409", "fin", &name)
        } else {
            renamed("node-create-again-409", "worker-1", &name)
        };
    }
    let mut exchange = renamed("node-create-201", "worker-1", &name);
    state.made += 1;
    let node = &mut exchange["response"];
    node["metadata"]["uid"] = format!("uid-{}", state.made).into();
    node["metadata"]["annotations"] = body["metadata"]["annotations"].clone();
    state.nodes.insert(name, node.clone());
    exchange
}

fn delete(state: &mut State, name: &str, options: &Value) -> Value {
    let Some(node) = state.nodes.get_mut(name) else {
        return renamed("delete-missing-404", "never-was", name);
    };
    let uid = &node["metadata"]["uid"];
    if options["preconditions"]["uid"] != *uid {
        return renamed("delete-uid-mismatch-409", "worker-1", name);
    }
    if node["metadata"]["finalizers"].is_array() {
        let stamp = recorded("fin-delete-200")["response"]["metadata"]["deletionTimestamp"].take();
        node["metadata"]["deletionTimestamp"] = stamp;
        return answered("fin-delete-200", node.clone());
    }
    state.nodes.remove(name);
    renamed("delete-200", "worker-1", name)
}
