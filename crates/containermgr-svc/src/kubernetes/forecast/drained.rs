//! Pods that a drain evicts, and its forecast. Pure.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Pod;
use kube::core::Selector;
use model::messages::DrainForecast;
use model::{DrainOptions, PodClass, PodKind};

use super::budgets;
use super::local_volumes::LocalVolumes;
use super::place::{Demands, Place};
use super::quantity::Requests;
use crate::kubernetes::budget::Budget;
use crate::kubernetes::daemon_sets::ListedPod;

/// Blockers that are named, and warnings that are given; the others are counted.
const NAMED: usize = 20;

/// A pod on a node that has a forecast.
#[derive(Debug)]
pub(super) struct DrainedPod {
    pub(super) pod: ListedPod,
    pub(super) labels: BTreeMap<String, String>,
    /// Whether its containers have not begun.
    pub(super) is_pending: bool,
    requests: Requests,
    demands: Demands,
}

impl DrainedPod {
    pub(super) fn of(
        pod: Pod,
        requests: Requests,
        skip: Option<&Selector>,
        volumes: &LocalVolumes,
    ) -> Self {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let listed = ListedPod::of(&pod, skip);
        Self {
            is_pending: phase == Some("Pending"),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            requests,
            demands: Demands::of(pod, &listed, volumes),
            pod: listed,
        }
    }
}

/// The forecast of the drain of a node with these pods.
pub(super) fn forecast(
    node: &str,
    mut pods: Vec<DrainedPod>,
    options: &DrainOptions,
    budgets: &[Budget],
    places: &[Place],
) -> DrainForecast {
    pods.sort_by_cached_key(|pod| pod.pod.state.full_name());
    let (mut blockers, mut evicted) = (Vec::new(), Vec::new());
    for pod in &pods {
        let name = pod.pod.state.full_name();
        match pod.pod.state.class(options) {
            PodClass::NoController => blockers.push(format!("{name} has no controller")),
            PodClass::LocalData => blockers.push(format!("{name} has local data")),
            PodClass::Evict | PodClass::EvictOnce => evicted.push(pod),
            PodClass::Stays | PodClass::Terminating => {}
        }
    }
    let mut warnings = budgets::warnings(&evicted, budgets);
    warnings.extend(long_grace_periods(&evicted, options));
    warnings.extend(homeless(node, &evicted, options, places));
    DrainForecast {
        blocked: blockers.len(),
        blockers: blockers.into_iter().take(NAMED).collect(),
        evicted: evicted.len(),
        warnings: bounded(warnings),
    }
}

/// `1 disruption`, `2 disruptions`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn bounded(mut warnings: Vec<String>) -> Vec<String> {
    let others = warnings.len().saturating_sub(NAMED);
    if others > 0 {
        warnings.truncate(NAMED);
        warnings.push(format!("and {}", count(others, "other warning")));
    }
    warnings
}

fn long_grace_periods<'a>(
    evicted: &'a [&DrainedPod],
    options: &DrainOptions,
) -> impl Iterator<Item = String> + 'a {
    let timeout = options.timeout().as_secs();
    let is_long = move |pod: &&&DrainedPod| pod.pod.state.grace_period > timeout;
    evicted.iter().filter(is_long).map(move |pod| {
        let (name, grace) = (pod.pod.state.full_name(), pod.pod.state.grace_period);
        format!(
            "{name} gets {grace} s to end, which is longer than the timeout of the drain ({timeout} s)"
        )
    })
}

/// Warnings about pods whose replacements fit on no other node. The pods are placed one after the other, the largest first;
/// affinities between pods are not considered.
fn homeless(
    node: &str,
    evicted: &[&DrainedPod],
    options: &DrainOptions,
    places: &[Place],
) -> Vec<String> {
    let mut moved: Vec<_> = evicted
        .iter()
        .filter(|pod| {
            let state = &pod.pod.state;
            state.kind == PodKind::Plain
                && state.controller.is_some()
                && state.class(options) == PodClass::Evict
        })
        .collect();
    moved.sort_by_key(|pod| std::cmp::Reverse((pod.requests.cpu, pod.requests.memory)));
    let mut taken: HashMap<usize, Requests> = HashMap::new();
    let (mut warnings, mut start) = (Vec::new(), 0);
    for pod in moved {
        let mut is_allowed = false;
        // It begins where the last pod fitted: the nodes before are full.
        let mut indices = (start..places.len()).chain(0..start);
        let home = indices.find(|index| {
            let place = &places[*index];
            if place.name == node || !pod.demands.allow(place) {
                return false;
            }
            is_allowed = true;
            let mut free = place.free;
            free -= taken.get(index).copied().unwrap_or_default();
            pod.requests.fit_into(free)
        });
        let name = pod.pod.state.full_name();
        match home {
            Some(index) => {
                *taken.entry(index).or_default() += pod.requests;
                start = index;
            }
            None if is_allowed => warnings.push(format!(
                "{name} fits on no other node that it may run on: it requests {}",
                pod.requests
            )),
            None => warnings.push(format!(
                "{name} may run on no other node that is ready and schedulable: see its node selector, affinity, \
                 tolerations and volumes"
            )),
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::node_state;
    use crate::kubernetes::recorded::one;

    fn merged(mut value: Value, more: Value) -> Value {
        match (&mut value, more) {
            (Value::Object(all), Value::Object(more)) => {
                for (key, more) in more {
                    let before = all.remove(&key).unwrap_or(Value::Null);
                    all.insert(key, merged(before, more));
                }
                value
            }
            (_, more) => more,
        }
    }

    fn pod(name: &str, more: Value) -> DrainedPod {
        let base = json!({
            "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                                     "uid": "r", "controller": true}]},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running"},
        });
        let pod: Pod = serde_json::from_value(merged(base, more)).unwrap();
        let requests = Requests::of(&pod);
        DrainedPod::of(pod, requests, None, &volumes())
    }

    /// The claim `shop/data` is bound to a volume of the node `w1`.
    fn volumes() -> LocalVolumes {
        let term = json!({"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["w1"]}]});
        let volume = json!({"metadata": {"name": "v1"},
            "spec": {"claimRef": {"namespace": "shop", "name": "data"},
                     "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}});
        let other = json!({"metadata": {"name": "v2"},
            "spec": {"claimRef": {"namespace": "shop", "name": "shared"}}});
        let volumes = [volume, other].map(|volume| serde_json::from_value(volume).unwrap());
        LocalVolumes::from_list(volumes)
    }

    fn budget(name: &str, allowed: u32) -> Budget {
        let mut budget = one("pdb-status-one-200").response;
        budget["metadata"]["namespace"] = "shop".into();
        budget["metadata"]["name"] = name.into();
        budget["status"]["disruptionsAllowed"] = allowed.into();
        Budget::of(serde_json::from_value(budget).unwrap())
    }

    fn place(name: &str, cpu: &str) -> Place {
        let mut node = one("uncordon-merge-null-200").response;
        node["metadata"]["name"] = name.into();
        node["spec"]["taints"] = json!([]);
        node["status"]["allocatable"]["cpu"] = cpu.into();
        let node = serde_json::from_value(node).unwrap();
        let state = node_state::digest(&node);
        Place::of(node, &state)
    }

    fn of(
        pods: Vec<DrainedPod>,
        options: Value,
        budgets: &[Budget],
        places: &[Place],
    ) -> DrainForecast {
        forecast("w1", pods, &serde_json::from_value(options).unwrap(), budgets, places)
    }

    #[test]
    fn blockers_are_counted_and_the_first_ones_named() {
        let pods = (0..25)
            .rev()
            .map(|n| pod(&format!("p-{n:02}"), json!({"metadata": {"ownerReferences": null}})));
        let data = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let pods: Vec<_> = pods.chain([pod("web-1", data.clone())]).collect();
        let forecast = of(pods, json!({"keep_local_data": true}), &[], &[]);
        assert_eq!((forecast.blocked, forecast.blockers.len(), forecast.evicted), (26, 20, 0));
        assert_eq!(forecast.blockers[0], "shop/p-00 has no controller");
        let forecast = of(vec![pod("web-1", data)], json!({"keep_local_data": true}), &[], &[]);
        assert_eq!(forecast.blockers, ["shop/web-1 has local data"]);
    }

    #[test]
    fn budgets_are_compared_with_all_pods_of_the_node() {
        let places = [place("w2", "100")];
        let pods = || vec![pod("web-1", json!({})), pod("web-2", json!({}))];
        for (allowed, warning) in [
            (
                0,
                Some(
                    "disruption budget shop/web allows 0 disruptions now, and 2 pods of the node are in it",
                ),
            ),
            (
                1,
                Some(
                    "disruption budget shop/web allows 1 disruption now, and 2 pods of the node are in it",
                ),
            ),
            (2, None),
        ] {
            let forecast = of(pods(), json!({}), &[budget("web", allowed)], &places);
            assert_eq!(forecast.evicted, 2);
            assert_eq!(forecast.warnings.first().map(String::as_str), warning);
        }
        let pending = vec![pod("web-1", json!({"status": {"phase": "Pending"}}))];
        assert!(of(pending, json!({}), &[budget("web", 0)], &places).warnings.is_empty());
        let one = vec![pod("web-1", json!({}))];
        assert_eq!(
            of(one, json!({}), &[budget("a", 1), budget("b", 1)], &places).warnings,
            [
                "shop/web-1 is in 2 disruption budgets, and can be evicted with one only: shop/a, shop/b"
            ]
        );
    }

    #[test]
    fn grace_periods_longer_than_the_drain_are_named() {
        let places = [place("w2", "100")];
        let slow = || vec![pod("pg-0", json!({"spec": {"terminationGracePeriodSeconds": 60}}))];
        assert!(of(slow(), json!({"timeout": 60}), &[], &places).warnings.is_empty());
        assert_eq!(
            of(slow(), json!({"timeout": 59}), &[], &places).warnings,
            ["shop/pg-0 gets 60 s to end, which is longer than the timeout of the drain (59 s)"]
        );
    }

    #[test]
    fn pods_that_fit_on_no_other_node_are_named() {
        let pods = |count: usize| (0..count).map(|n| pod(&format!("web-{n}"), json!({}))).collect();
        // The node itself does not count.
        let places = [place("w1", "100"), place("w2", "2"), place("w3", "1500m")];
        assert!(of(pods(3), json!({}), &[], &places).warnings.is_empty());
        let forecast = of(pods(4), json!({}), &[], &places);
        assert_eq!(
            forecast.warnings,
            [
                "shop/web-3 fits on no other node that it may run on: it requests 1000m CPU and 0 MiB of memory"
            ]
        );
        let picky = pod("gpu-1", json!({"spec": {"nodeSelector": {"gpu": "true"}}}));
        let warnings = of(vec![picky], json!({}), &[], &places).warnings;
        assert!(warnings[0].starts_with("shop/gpu-1 may run on no other node"), "{warnings:?}");
        let using = |claim: &str| {
            let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
            pod("pg-0", json!({"spec": {"volumes": volumes}}))
        };
        let warnings = of(vec![using("data")], json!({}), &[], &places).warnings;
        assert!(warnings[0].starts_with("shop/pg-0 may run on no other node"), "{warnings:?}");
        assert!(of(vec![using("shared")], json!({}), &[], &places).warnings.is_empty());
        // Nothing replaces a pod without a controller.
        let bare = pod("bare", json!({"metadata": {"ownerReferences": null}}));
        assert!(of(vec![bare], json!({"force": true}), &[], &[]).warnings.is_empty());
        let warnings = of(pods(30), json!({}), &[], &[]).warnings;
        assert_eq!((warnings.len(), warnings[20].as_str()), (21, "and 10 other warnings"));
    }
}
