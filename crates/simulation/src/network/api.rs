//! The connections of container managers to an API server: requests are delayed and lost as messages are. A request that
//! was sent arrives also if its process crashes in the meantime.

use std::sync::Arc;

use containermgr_svc::ClientFactory;
use http::{Method, Request, Response};
use kube::client::Body;
use simulated_kubernetes::{AnswerBody, ConnectionClosed, SimulatedKubernetes};
use tokio::time::{sleep, sleep_until};
use tower::{ServiceExt as _, service_fn};

use super::{Link, OUTAGE};
use crate::fate::{Fate, Fault};

/// The bearer token of all container managers.
pub(crate) const TOKEN: &str = "token";

/// What the path of a node begins with.
const NODES: &str = "/api/v1/nodes/";

/// The path of all pods.
const PODS: &str = "/api/v1/pods?";

/// What precedes the name of a node in a request for the pods on it.
const ON_NODE: &str = "fieldSelector=spec.nodeName%3D";

type Answer = Result<Response<AnswerBody>, ConnectionClosed>;

impl Link {
    /// Clients of an API server for this process.
    pub(crate) fn clients(&self, kubernetes: &SimulatedKubernetes) -> ClientFactory {
        let (link, kubernetes) = (self.clone(), kubernetes.clone());
        ClientFactory::Function(Arc::new(move |_| {
            let (link, kubernetes) = (link.clone(), kubernetes.clone());
            let service = service_fn(move |request| {
                let (link, kubernetes) = (link.clone(), kubernetes.clone());
                async move { link.ask_api(kubernetes, request).await }
            });
            Ok(kube::Client::new(service, "default"))
        }))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a request on its way belongs to no process: it arrives also after a crash"
    )]
    async fn ask_api(self, kubernetes: SimulatedKubernetes, mut request: Request<Body>) -> Answer {
        if let Some(until) = self.stalled_until() {
            sleep_until(until).await;
        }
        self.unless_cut().await;
        let (step, fault) = self.step();
        match fault {
            Some(Fault::CrashBefore) => {
                self.crash();
                self.unless_cut().await;
            }
            Some(Fault::StoreOutage) => self.network.store_outage(OUTAGE),
            Some(Fault::BrokerOutage) => self.network.broker_outage(OUTAGE),
            _ => {}
        }
        let fate = self.network.fate(&self.process, step);
        let fate = Fate { fault: fault.or(fate.fault), ..fate };
        let bearer = format!("Bearer {TOKEN}").parse().map_err(|_| ConnectionClosed)?;
        request.headers_mut().insert(http::header::AUTHORIZATION, bearer);
        let after = fate.after;
        let arrives = tokio::spawn(self.clone().deliver(kubernetes, request, fate));
        let answer = arrives.await.unwrap_or(Err(ConnectionClosed));
        if fault == Some(Fault::CrashAfter) {
            self.crash();
        }
        sleep(after).await;
        if let Some(until) = self.stalled_until() {
            sleep_until(until).await;
        }
        self.unless_cut().await;
        answer
    }

    async fn deliver(
        self,
        kubernetes: SimulatedKubernetes,
        request: Request<Body>,
        fate: Fate,
    ) -> Answer {
        let truth = &self.network.0.truth;
        let what = format!("{} {}", request.method(), request.uri());
        let path = request.uri().path().to_owned();
        let is_patch = request.method() == Method::PATCH;
        let node = path.strip_prefix(NODES).filter(|name| is_patch && !name.contains('/'));
        let _under_way = node.map(|node| truth.request_about_node(node));
        sleep(fate.before).await;
        if fate.fault == Some(Fault::RequestLost) {
            truth.trace().detail(&self.process, &format!("{what} is lost"));
            return Err(ConnectionClosed);
        }
        if let Some(node) = listed_node(&what) {
            truth.pods_listed(node);
        }
        let object = |name: &&str| kubernetes.object("nodes", "", name);
        let before = node.as_ref().and_then(object);
        let answer = kubernetes.service().oneshot(request).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        let line = format!("{what}: {status}");
        if what.starts_with("GET") {
            truth.trace().detail(&self.process, &line);
        } else {
            truth.trace().line(&self.process, &line);
        }
        if let Some(before) = before
            && let Some(after) = node.as_ref().and_then(object)
        {
            truth.node_changed(&self.process, &before, &after);
        }
        if fate.fault == Some(Fault::AnswerLost) { Err(ConnectionClosed) } else { answer }
    }
}

/// The node whose pods a request lists, if it begins such a list.
fn listed_node(what: &str) -> Option<&str> {
    let (_, query) = what.split_once(PODS)?;
    let (_, rest) = query.split_once(ON_NODE)?;
    (!query.contains("continue=")).then(|| rest.split('&').next().unwrap_or_default())
}
