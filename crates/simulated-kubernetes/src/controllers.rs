//! The controllers of a Kubernetes, as simple as clients notice. They run once a second.

mod daemon_sets;
mod deployments;
mod disruption;
mod garbage;
mod lifecycle;
mod pods;
mod scheduler;
mod stateful_sets;

use std::sync::Arc;

use serde_json::Value;

use crate::actor::resource_named;
use crate::cluster::Cluster;
use crate::store::Key;

impl Cluster {
    /// One round of all kubelets and controllers; none while the API is unavailable to them.
    pub(crate) fn tick(&mut self) {
        if self.is_api_away || self.is_store_away {
            return;
        }
        self.report_nodes();
        if self.store.revision() == self.reconciled && !self.is_restless {
            return;
        }
        self.is_restless = false;
        self.run_pods();
        self.watch_nodes();
        self.reconciled = self.store.revision();
        self.collect_garbage();
        self.reconcile_deployments();
        self.reconcile_replica_sets();
        self.reconcile_stateful_sets();
        self.reconcile_daemon_sets();
        self.schedule();
        self.reconcile_budgets();
    }

    /// All objects of a resource, as they are now.
    fn snapshot(&self, plural: &str) -> Vec<(Key, Arc<Value>)> {
        let objects = self.store.list(resource_named(plural), None);
        objects.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }
}
