//! Requests of clients and operators.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::World;
use crate::client::{Answered, Sent, client_name};
use crate::scenario::{Request, address, cluster_name};

/// The pause before a client repeats a request.
const RETRY: Duration = Duration::from_secs(2);

/// How often a client repeats a request before it gives up.
const ATTEMPTS: usize = 20;

impl World<'_> {
    /// Sends a request; one about an operation is about the latest one of its cluster, by its time stamp.
    pub(super) fn send(&mut self, request: &Request) {
        let cluster = match request {
            Request::Pause(cluster)
            | Request::Resume(cluster)
            | Request::Abort(cluster)
            | Request::Continue(cluster) => Some(cluster_name(*cluster)),
            _ => None,
        };
        let operation = cluster.and_then(|cluster| self.truth.latest_operation(&cluster));
        self.send_about(request, operation.as_deref());
    }

    /// Sends a request about an operation in a task of its own, again and again until it is answered.
    pub(super) fn send_about(&mut self, request: &Request, operation: Option<&str>) {
        let number = self.requests;
        self.requests += 1;
        let Some(sent) = Sent::new(request, number, operation) else { return };
        let (trace, gateways) = (self.trace.clone(), self.processes.gateways());
        if gateways.is_empty() {
            return;
        }
        if let Request::Create(host) = request {
            // A host that is registered again is pinned with the key that it shows then.
            self.truth.has_key(&address(*host), None);
        }
        let (truth, client) = (self.truth.clone(), client_name(number));
        let acknowledged = Rc::clone(&self.acknowledged);
        tokio::task::spawn_local(async move {
            for attempt in 0..ATTEMPTS {
                let gateway = gateways[(number + attempt) % gateways.len()].clone();
                let what = format!("{} {} {}", sent.method, sent.path, sent.body);
                match sent.send(gateway).await {
                    Some(Answered { status, operation }) if status < 500 => {
                        trace.line(&client, &format!("{what}: {status}"));
                        if status >= 400 {
                            truth.refused(&client);
                        }
                        acknowledged.borrow_mut().push((client, status));
                        if let Some(operation) = operation {
                            truth.acknowledged(&operation);
                        }
                        return;
                    }
                    Some(Answered { status, .. }) => {
                        trace.line(&client, &format!("{what}: {status}, again"));
                    }
                    None => trace.line(&client, &format!("{what}: no answer, again")),
                }
                sleep(RETRY).await;
            }
        });
    }
}
