//! The control API for tests against the server process: `/stand-in/…`, for `system:masters` only.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::SimulatedKubernetes;
use crate::answer::Answer;
use crate::fault::Fault;
use crate::node::NodeSettings;
use crate::request::Request;
use crate::status::Failure;
use crate::users::MASTERS;

/// The paths of the control API begin so.
pub(crate) const PREFIX: &str = "/stand-in/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    token: String,
    name: String,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: String,
    address: String,
    machine_id: Option<String>,
    boot_id: Option<String>,
    #[serde(default)]
    control_plane: bool,
    allocatable: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KubeletChange {
    /// `false` stops the kubelet, `true` starts it after a boot.
    up: Option<bool>,
    #[serde(default)]
    boot_id: String,
    /// Delay of the first report after the boot, in seconds.
    #[serde(default)]
    delay_seconds: u64,
    /// The readiness that the kubelet reports.
    ready: Option<bool>,
    /// Start time of pods, in seconds.
    pod_start_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateChange {
    api_unavailable: Option<bool>,
    store_unavailable: Option<bool>,
}

/// Handles a request to the control API; faults do not apply.
pub(crate) fn handle(kubernetes: &SimulatedKubernetes, request: &Request) -> Answer {
    let user = kubernetes.with(|cluster| cluster.users.authenticate(request));
    match user {
        None => Failure::unauthorized().into(),
        Some(user) if !user.is_in(MASTERS) => {
            let message = format!("forbidden: User {:?} is not in {MASTERS}", user.name);
            Failure::new(403, "Forbidden", message).into()
        }
        Some(_) => carry_out(kubernetes, request).unwrap_or_else(Answer::from),
    }
}

fn carry_out(kubernetes: &SimulatedKubernetes, request: &Request) -> Result<Answer, Failure> {
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let (area, name) = path.split_once('/').unwrap_or((path, ""));
    match (&request.method, area) {
        (&Method::GET, "effects") => {
            return Ok(Answer::json(200, &json!(kubernetes.effects())));
        }
        (&Method::GET, "requests") => {
            let requests = kubernetes.with(|cluster| cluster.requests.clone());
            return Ok(Answer::json(200, &json!(requests)));
        }
        (&Method::GET, "state") => {
            return Ok(Answer::json(200, &json!({"start": kubernetes.start().to_string()})));
        }
        (&Method::POST, "users") => {
            let user: User = parsed(request)?;
            let groups: Vec<_> = user.groups.iter().map(String::as_str).collect();
            kubernetes.add_user(&user.token, &user.name, &groups);
        }
        (&Method::DELETE, "users") => kubernetes.remove_user(name),
        (&Method::POST, "faults") => kubernetes.fault(parsed::<Fault>(request)?),
        (&Method::DELETE, "faults") => kubernetes.clear_faults(),
        (&Method::POST, "nodes") => {
            let node: Node = parsed(request)?;
            let mut settings = NodeSettings::new(&node.name, &node.address);
            settings.machine_id = node.machine_id.unwrap_or(settings.machine_id);
            settings.boot_id = node.boot_id.unwrap_or(settings.boot_id);
            settings.is_control_plane = node.control_plane;
            settings.allocatable = node.allocatable.unwrap_or(settings.allocatable);
            kubernetes.add_node(&settings);
        }
        (&Method::PUT, "kubelets") => {
            if !kubernetes.with(|cluster| cluster.kubelets.contains_key(name)) {
                let message = format!("no node {name:?} was added; add it at {PREFIX}nodes");
                return Err(Failure::new(404, "NotFound", message));
            }
            change_kubelet(kubernetes, name, &parsed(request)?);
        }
        (&Method::PUT, "state") => {
            let change: StateChange = parsed(request)?;
            if let Some(is_unavailable) = change.api_unavailable {
                kubernetes.set_api_unavailable(is_unavailable);
            }
            if let Some(is_unavailable) = change.store_unavailable {
                kubernetes.set_store_unavailable(is_unavailable);
            }
        }
        (&Method::POST, "compact") => kubernetes.compact(),
        _ => return Err(Failure::no_such_resource()),
    }
    Ok(Answer::json(200, &json!({})))
}

fn change_kubelet(kubernetes: &SimulatedKubernetes, node: &str, change: &KubeletChange) {
    match change.up {
        Some(true) => {
            let delay = Duration::from_secs(change.delay_seconds);
            kubernetes.kubelet_up_after(node, &change.boot_id, delay);
        }
        Some(false) => kubernetes.kubelet_down(node),
        None => {}
    }
    if let Some(is_ready) = change.ready {
        kubernetes.set_kubelet_ready(node, is_ready);
    }
    if let Some(seconds) = change.pod_start_seconds {
        kubernetes.set_pod_start(node, Duration::from_secs(seconds));
    }
}

fn parsed<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    serde_json::from_slice(&request.body).map_err(|error| {
        Failure::bad_request(format!("the body of {} is invalid: {error}", request.path))
    })
}
