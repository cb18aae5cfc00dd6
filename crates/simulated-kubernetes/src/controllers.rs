//! Controllers, reduced to the behaviour that API clients observe. They run once a second.

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
    /// One iteration of all kubelets and controllers; skipped while the API is unavailable.
    pub(crate) fn tick(&mut self) {
        if self.is_api_unavailable || self.is_store_unavailable {
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

    /// The current objects of a resource.
    fn snapshot(&self, plural: &str) -> Vec<(Key, Arc<Value>)> {
        let objects = self.store.list(resource_named(plural), None);
        objects.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }
}
