//! Disruption controller: the status of pod disruption budgets.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::pods::{Pod, is_ready};
use crate::cluster::Cluster;
use crate::object::{
    self, condition, controller, fields, is_terminating, number, set_condition, text,
};
use crate::selector::LabelSelector;

const USER: &str = "system:serviceaccount:kube-system:disruption-controller";

/// Lifetime of an entry in `disruptedPods` if the pod does not terminate.
const DISRUPTION: SignedDuration = SignedDuration::from_secs(120);

impl Cluster {
    pub(super) fn reconcile_budgets(&mut self) {
        for (key, budget) in self.snapshot("poddisruptionbudgets") {
            let selector = LabelSelector::of(&budget["spec"]["selector"]);
            let pods = self.snapshot("pods").into_iter();
            let pods = pods.filter(|(pod, _)| pod.namespace == key.namespace);
            let is_finished =
                |pod: &Value| ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
            let pods: Vec<Pod> =
                pods.filter(|(_, pod)| selector.selects(pod) && !is_finished(pod)).collect();
            let disrupted = self.disrupted(&budget, &pods);
            let is_healthy = |pod: &Value| {
                is_ready(pod) && !is_terminating(pod) && !disrupted.contains_key(object::name(pod))
            };
            let healthy = pods.iter().filter(|(_, pod)| is_healthy(pod)).count();
            let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
            let (expected, desired) = self.expectation(&budget["spec"], &pods);
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            let generation = number(&budget, "/metadata/generation").unwrap_or(1);
            let (status, reason) = match allowed {
                0 => ("False", "InsufficientPods"),
                _ => ("True", "SufficientPods"),
            };
            let known = condition(&budget, "DisruptionAllowed");
            let since = known.filter(|known| known["status"] == status);
            let since =
                since.map_or(json!(self.time()), |known| known["lastTransitionTime"].clone());
            let condition = json!({"type": "DisruptionAllowed", "status": status,
                "observedGeneration": generation, "lastTransitionTime": since, "reason": reason,
                "message": ""});
            self.update_as(USER, &key, "status", |budget| {
                let status = &mut budget["status"];
                status["currentHealthy"] = healthy.into();
                status["desiredHealthy"] = desired.into();
                status["expectedPods"] = expected.into();
                status["disruptionsAllowed"] = allowed.into();
                status["observedGeneration"] = generation.into();
                if disrupted.is_empty() {
                    object::remove(budget, "/status", "disruptedPods");
                } else {
                    status["disruptedPods"] = disrupted.into();
                }
                set_condition(budget, condition);
            });
        }
    }

    /// Entries of `disruptedPods` that are still valid: recent, and the pod is not yet terminating.
    fn disrupted(&self, budget: &Value, pods: &[Pod]) -> Map<String, Value> {
        let entries = fields(budget, "/status/disruptedPods").into_iter().flatten();
        let is_pending = |name: &str, time: &Value| {
            let since: Option<jiff::Timestamp> = time.as_str().and_then(|time| time.parse().ok());
            let is_recent =
                since.is_some_and(|since| self.now().duration_since(since) < DISRUPTION);
            let pod = pods.iter().find(|(key, _)| key.name == name);
            is_recent && pod.is_some_and(|(_, pod)| !is_terminating(pod))
        };
        let entries = entries.filter(|(name, time)| is_pending(name, time));
        entries.map(|(name, time)| (name.clone(), time.clone())).collect()
    }

    /// The expected number of pods and the desired number of healthy ones.
    fn expectation(&self, spec: &Value, pods: &[Pod]) -> (i64, i64) {
        let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        if let Some(unavailable) = spec.get("maxUnavailable") {
            let expected = self.replicas(pods);
            return (expected, (expected - amount(unavailable, expected)).max(0));
        }
        match &spec["minAvailable"] {
            Value::String(percentage) => {
                let expected = self.replicas(pods);
                (expected, amount(&json!(percentage), expected))
            }
            minimum => (count, minimum.as_i64().unwrap_or(1)),
        }
    }

    /// Sum of `spec.replicas` of the controllers of these pods; pods without a scalable controller count as one each.
    fn replicas(&self, pods: &[Pod]) -> i64 {
        let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
        let mut others = 0;
        for (_, pod) in pods {
            let Some(owner) = controller(pod) else {
                others += 1;
                continue;
            };
            let replicas = self
                .store
                .with_uid(text(owner, "/uid"))
                .and_then(|owner| number(owner, "/spec/replicas"));
            match replicas {
                Some(replicas) => drop(wanted.insert(text(owner, "/uid"), replicas)),
                None => others += 1,
            }
        }
        wanted.values().sum::<i64>() + others
    }
}

/// An absolute number, or a percentage of `whole`, rounded up.
fn amount(value: &Value, whole: i64) -> i64 {
    let percentage = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match percentage {
        Some(percentage) => (whole * percentage + 99) / 100,
        None => value.as_i64().unwrap_or_default(),
    }
}
