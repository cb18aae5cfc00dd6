//! Nodes on which evicted pods may run. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};
use model::NodeState;

use super::local_volumes::LocalVolumes;
use super::quantity::Requests;
use crate::kubernetes::daemon_sets::ListedPod;
use crate::kubernetes::machine::MachineName;
use crate::kubernetes::tolerations::tolerate;

/// A node on which evicted pods may run.
#[derive(Debug, Clone)]
pub(in crate::kubernetes) struct Place {
    pub(in crate::kubernetes) name: String,
    /// Its Machine of Cluster API, if it has one.
    pub(in crate::kubernetes) machine: Option<MachineName>,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    /// Whether new pods are scheduled on it.
    is_usable: bool,
    /// What other pods have not requested.
    pub(super) free: Requests,
}

impl Place {
    /// The node, as if no pods ran on it.
    pub(in crate::kubernetes) fn of(node: Node, state: &NodeState) -> Self {
        let machine = MachineName::of(&node);
        let allocatable = node.status.and_then(|status| status.allocatable);
        Self {
            name: state.name.clone(),
            machine,
            labels: node.metadata.labels.unwrap_or_default(),
            taints: node.spec.and_then(|spec| spec.taints).unwrap_or_default(),
            is_usable: state.unavailable_because().is_none() && state.deletion_taint.is_empty(),
            free: Requests::allocatable(allocatable.as_ref()),
        }
    }
}

/// What a pod demands of its node.
#[derive(Debug, Clone, Default)]
pub(super) struct Demands {
    node_selector: BTreeMap<String, String>,
    affinity: Option<NodeSelector>,
    /// The nodes that can reach its volumes, by volume.
    volumes: Vec<NodeSelector>,
    tolerations: Vec<Toleration>,
}

impl Demands {
    pub(super) fn of(pod: Pod, listed: &ListedPod, volumes: &LocalVolumes) -> Self {
        let spec = pod.spec.unwrap_or_default();
        let affinity = spec.affinity.and_then(|affinity| affinity.node_affinity);
        Self {
            node_selector: spec.node_selector.unwrap_or_default(),
            affinity: affinity
                .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution),
            volumes: volumes.of(listed),
            tolerations: spec.tolerations.unwrap_or_default(),
        }
    }

    /// Whether the pod may run on a node, if it has the resources.
    pub(super) fn allow(&self, place: &Place) -> bool {
        place.is_usable
            && place.taints.iter().all(|taint| self.tolerates(taint))
            && self.node_selector.iter().all(|(key, value)| place.labels.get(key) == Some(value))
            && self.affinity.iter().chain(&self.volumes).all(|selector| {
                selector.node_selector_terms.iter().any(|term| matches(term, place))
            })
    }

    fn tolerates(&self, taint: &Taint) -> bool {
        let value = taint.value.as_deref().unwrap_or_default();
        taint.effect == "PreferNoSchedule"
            || tolerate(&self.tolerations, (&taint.key, value, &taint.effect))
    }
}

/// Whether a node matches a term, which matches none if it is empty.
fn matches(term: &NodeSelectorTerm, place: &Place) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| place.labels.get(key).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(place.name.as_str());
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, found: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_in = found.is_some_and(|found| values.iter().any(|value| value == found));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let numbers = number(found).zip(number(values.first().map(String::as_str)));
    match requirement.operator.as_str() {
        "In" => is_in,
        "NotIn" => !is_in,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => numbers.is_some_and(|(found, value)| found > value),
        "Lt" => numbers.is_some_and(|(found, value)| found < value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::node_state;
    use crate::kubernetes::recorded::one;

    fn place(change: impl Fn(&mut Value)) -> Place {
        let mut node = one("uncordon-merge-null-200").response;
        node["spec"]["taints"] = json!([]);
        change(&mut node);
        let node: Node = serde_json::from_value(node).unwrap();
        let state = node_state::digest(&node);
        Place::of(node, &state)
    }

    fn allowed(spec: Value, place: &Place) -> bool {
        let mut pod = json!({"metadata": {}, "spec": {"containers": []}});
        let Value::Object(spec) = spec else { panic!("an object") };
        pod["spec"].as_object_mut().unwrap().extend(spec);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let listed = ListedPod::of(&pod, None);
        Demands::of(pod, &listed, &LocalVolumes::default()).allow(place)
    }

    #[test]
    fn node_selectors_and_affinities_are_compared_with_labels() {
        let place = place(|node| node["metadata"]["labels"]["slots"] = "4".into());
        let free = Requests { cpu: 3800, memory: 15 << 30, pods: 110 };
        assert_eq!((place.name.as_str(), place.free), ("worker-2", free));
        let affinity = |requirements: Value| {
            let terms = json!([{"matchExpressions": requirements}]);
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": terms}}}})
        };
        for (spec, expected) in [
            (json!({}), true),
            (json!({"nodeSelector": {"example.com/rack": "r1"}}), true),
            (json!({"nodeSelector": {"example.com/rack": "r2"}}), false),
            (affinity(json!([{"key": "slots", "operator": "Gt", "values": ["3"]}])), true),
            (affinity(json!([{"key": "slots", "operator": "Lt", "values": ["4"]}])), false),
            (affinity(json!([{"key": "slots", "operator": "In", "values": ["4"]}])), true),
            (affinity(json!([{"key": "slots", "operator": "NotIn", "values": ["4"]}])), false),
            (affinity(json!([{"key": "gpu", "operator": "DoesNotExist"}])), true),
            (affinity(json!([{"key": "gpu", "operator": "Exists"}])), false),
            (affinity(json!([])), false),
        ] {
            assert_eq!(allowed(spec.clone(), &place), expected, "{spec}");
        }
    }

    #[test]
    fn taints_have_to_be_tolerated() {
        let taints = |effect: &str| {
            place(|node| {
                node["spec"]["taints"] = json!([{"key": "a", "value": "b", "effect": effect}]);
            })
        };
        let tolerant = json!({"tolerations": [{"key": "a", "operator": "Exists"}]});
        assert!(!allowed(json!({}), &taints("NoSchedule")));
        assert!(!allowed(json!({}), &taints("NoExecute")));
        assert!(allowed(json!({}), &taints("PreferNoSchedule")));
        assert!(allowed(tolerant, &taints("NoSchedule")));
    }

    #[test]
    fn nodes_that_take_no_pods_are_not_usable() {
        assert!(!allowed(json!({}), &place(|node| node["spec"]["unschedulable"] = true.into())));
        let not_ready = place(|node| node["status"]["conditions"] = json!([]));
        assert!(!allowed(json!({}), &not_ready));
    }
}
