//! Forecasts of drains: what would block or delay them now.
//!
//! - `budgets`: what disruption budgets allow (pure)
//! - `drained`: pods that a drain evicts, and its forecast (pure)
//! - `local_volumes`: volumes that only some nodes reach
//! - `place`: nodes on which evicted pods may run (pure)
//! - `quantity`: the resources that pods request (pure)

mod budgets;
mod drained;
mod local_volumes;
mod place;
mod quantity;

use std::collections::{BTreeMap, HashMap, HashSet};

use bus::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;
use model::DrainOptions;
use model::messages::DrainForecast;
use tokio::time::Instant;

use super::Kubernetes;
use super::budget::Budget;
use drained::DrainedPod;
pub(super) use place::Place;
use quantity::Requests;

/// The number of nodes up to which all pods are listed for every forecast. Of more nodes, the pods of those with a forecast
/// are listed one by one if that takes fewer requests; what runs on the others is then not known.
const ALL_PODS_MAX: usize = 1000;

/// The number of nodes whose pods fit on a page of a list of all pods.
const NODES_ON_A_PAGE: usize = 10;

/// Nodes whose pods are listed concurrently.
const CONCURRENT: usize = 8;

/// A pod and the facts that forecasts need.
#[derive(Debug)]
struct RunningPod {
    node: String,
    requests: Requests,
    /// The pod, if its node has a forecast.
    drained: Option<DrainedPod>,
}

impl Kubernetes {
    /// The forecasts of drains of the nodes with these names, by name.
    pub(super) async fn forecasts(
        &self,
        wanted: &HashSet<&str>,
        options: &DrainOptions,
        skip: Option<&Selector>,
        mut places: Vec<Place>,
        deadline: Instant,
    ) -> Result<BTreeMap<String, DrainForecast>> {
        let names = places.iter().map(|place| place.name.clone());
        let wanted: HashSet<_> = names.filter(|name| wanted.contains(name.as_str())).collect();
        let mut pods = self.running_pods(&wanted, places.len(), skip, deadline).await?;
        let listed = pods.iter_mut().filter_map(|pod| pod.drained.as_mut()).map(|pod| &mut pod.pod);
        self.mark_orphans(listed, deadline).await?;
        let budgets = self.budgets(deadline).await?;

        let mut of_nodes: HashMap<String, Vec<DrainedPod>> = HashMap::new();
        let mut used: HashMap<String, Requests> = HashMap::new();
        for pod in pods {
            *used.entry(pod.node.clone()).or_default() += pod.requests;
            if let Some(drained) = pod.drained {
                of_nodes.entry(pod.node).or_default().push(drained);
            }
        }
        for place in &mut places {
            if let Some(used) = used.get(&place.name) {
                place.free -= *used;
            }
        }
        let forecast = |name: String| {
            let pods = of_nodes.remove(&name).unwrap_or_default();
            let forecast = drained::forecast(&name, pods, options, &budgets, &places);
            (name, forecast)
        };
        Ok(wanted.into_iter().map(forecast).collect())
    }

    /// The pods of the wanted nodes, and what is known of those on the other ones.
    async fn running_pods(
        &self,
        wanted: &HashSet<String>,
        nodes: usize,
        skip: Option<&Selector>,
        deadline: Instant,
    ) -> Result<Vec<RunningPod>> {
        let api: Api<Pod> = Api::all(self.client());
        let volumes = self.local_volumes(deadline).await?;
        let action = "list the pods";
        let digest = |pod: Pod| {
            let node = pod.spec.as_ref()?.node_name.clone()?;
            let requests = Requests::of(&pod);
            let drained =
                wanted.contains(&node).then(|| DrainedPod::of(pod, requests, skip, &volumes));
            Some(RunningPod { node, requests, drained })
        };
        if nodes <= ALL_PODS_MAX || wanted.len() >= nodes / NODES_ON_A_PAGE {
            return self.list(&api, ListParams::default(), action, deadline, digest).await;
        }
        let (api, digest) = (&api, &digest);
        let lists = wanted.iter().map(|node| {
            let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
            self.list(api, params, action, deadline, digest)
        });
        let lists: Vec<_> = lists.collect();
        let listed: Vec<Vec<_>> =
            stream::iter(lists).buffer_unordered(CONCURRENT).try_collect().await?;
        Ok(listed.into_iter().flatten().collect())
    }

    /// The disruption budgets of all namespaces.
    async fn budgets(&self, deadline: Instant) -> Result<Vec<Budget>> {
        let api: Api<PodDisruptionBudget> = Api::all(self.client());
        let (params, action) = (ListParams::default(), "list the disruption budgets");
        let digest = |budget| Some(Budget::of(budget));
        let mut budgets = self.list(&api, params, action, deadline, digest).await?;
        budgets.sort_by_key(Budget::full_name);
        Ok(budgets)
    }
}
