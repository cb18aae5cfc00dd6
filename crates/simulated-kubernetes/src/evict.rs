//! Pod subresources `eviction`, with disruption budgets, and `binding`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::cluster::Cluster;
use crate::decode;
use crate::delete::DeleteOptions;
use crate::object::{self, has_condition, is_terminating, number, set_condition, text};
use crate::request::Request;
use crate::resource::{self, Resource};
use crate::route::Target;
use crate::selector::LabelSelector;
use crate::status::{self, Failure};
use crate::store::Key;

/// `Retry-After` for a budget that its controller has not processed yet, in seconds.
const PROCESSING: u64 = 10;

impl Cluster {
    pub(crate) fn evict(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        decode::check_options(request, "CreateOptions")?;
        let eviction =
            decode::object(request, &["policy/v1", "policy/v1beta1"], "Eviction")?.object;
        if object::name(&eviction) != target.name {
            let message = "name in URL does not match name in Eviction object";
            return Err(Failure::bad_request(message));
        }
        check_namespace(&eviction, target)?;
        let mut options = DeleteOptions::parse(&eviction["deleteOptions"]);
        options.is_dry_run |= request.is_dry_run();
        let key = Self::key(resource, target);
        let pod = self.existing(resource, &key)?;
        options.check(resource, &pod)?;
        self.use_budget(&pod, options.is_dry_run)?;
        self.changes = Some(if options.is_dry_run { "(dry run)" } else { "" }.to_owned());
        if !options.is_dry_run {
            let mut evicted = Value::clone(&pod);
            let condition = json!({"type": "DisruptionTarget", "status": "True",
                "lastProbeTime": null, "lastTransitionTime": self.time(),
                "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"});
            set_condition(&mut evicted, condition);
            if !is_terminating(&pod) {
                self.commit(key.clone(), &pod, evicted);
            }
        }
        let options = DeleteOptions { resource_version: None, ..options };
        self.delete_object(resource, &key, &options)?;
        Ok(Answer::json(201, &status::success(201)).into())
    }

    /// Checks the disruption budget of a pod and decrements it.
    fn use_budget(&mut self, pod: &Value, is_dry_run: bool) -> Result<(), Failure> {
        let phase = text(pod, "/status/phase");
        if ["Succeeded", "Failed", "Pending"].contains(&phase) || is_terminating(pod) {
            return Ok(());
        }
        let Some(budgets) = resource::named("poddisruptionbudgets") else { return Ok(()) };
        let all = self.store.list(budgets, Some(object::namespace(pod)));
        let matching =
            all.filter(|(_, budget)| LabelSelector::of(&budget["spec"]["selector"]).selects(pod));
        let matching: Vec<(Key, Arc<Value>)> =
            matching.map(|(key, budget)| (key.clone(), Arc::clone(budget))).collect();
        let (key, budget) = match &matching[..] {
            [] => return Ok(()),
            [one] => one,
            _ => {
                let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(Failure::internal(message));
            }
        };
        let status = |field: &str| number(&budget["status"], field).unwrap_or_default();
        if !has_condition(pod, "Ready") {
            let is_always_allowed = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
            let is_healthy = status("/currentHealthy") >= status("/desiredHealthy")
                && status("/desiredHealthy") > 0;
            if is_always_allowed || is_healthy {
                return Ok(());
            }
        }
        let generation = number(budget, "/metadata/generation").unwrap_or_default();
        let name = &key.name;
        if status("/observedGeneration") < generation {
            let message =
                format!("The disruption budget {name} is still being processed by the server.");
            return Err(refused(&message).with_retry_after(PROCESSING));
        }
        let allowed = status("/disruptionsAllowed");
        let (current, desired) = (status("/currentHealthy"), status("/desiredHealthy"));
        if allowed <= 0 && current <= desired {
            return Err(refused(&format!(
                "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
            )));
        }
        if allowed <= 0 {
            return Err(refused(&format!(
                "The disruption budget {name} does not allow evicting pods currently"
            )));
        }
        if is_dry_run {
            return Ok(());
        }
        let mut used = Value::clone(budget);
        used["status"]["disruptionsAllowed"] = (allowed - 1).into();
        used["status"]["disruptedPods"][object::name(pod)] = self.time().into();
        if allowed == 1 {
            let condition = json!({"type": "DisruptionAllowed", "status": "False",
                "observedGeneration": generation, "lastTransitionTime": self.time(),
                "reason": "InsufficientPods", "message": ""});
            set_condition(&mut used, condition);
        }
        self.commit(key.clone(), budget, used);
        Ok(())
    }

    pub(crate) fn bind(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let binding = decode::object(request, &["v1"], "Binding")?.object;
        check_namespace(&binding, target)?;
        let node = text(&binding, "/target/name").to_owned();
        self.bind_pod(resource, &Self::key(resource, target), &node)?;
        self.changes = Some(format!("nodeName={node}"));
        Ok(Answer::json(201, &status::success(201)).into())
    }

    /// Assigns a pod to a node.
    pub(crate) fn bind_pod(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        node: &str,
    ) -> Result<(), Failure> {
        let pod = self.existing(resource, key)?;
        let name = &key.name;
        let bound = text(&pod, "/spec/nodeName");
        if !bound.is_empty() {
            let message = format!(
                "Operation cannot be fulfilled on pods/binding {name:?}: pod {name} is already assigned to node {bound:?}"
            );
            let details = json!({"name": name, "kind": "pods/binding"});
            return Err(Failure::new(409, "Conflict", message).with_details(details));
        }
        let mut assigned = Value::clone(&pod);
        assigned["spec"]["nodeName"] = node.into();
        let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": self.time()});
        set_condition(&mut assigned, condition);
        self.commit(key.clone(), &pod, assigned);
        Ok(())
    }
}

fn refused(cause: &str) -> Failure {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = json!({"reason": "DisruptionBudget", "message": cause});
    Failure::new(429, "TooManyRequests", message).with_details(json!({"causes": [cause]}))
}

fn check_namespace(object: &Value, target: &Target) -> Result<(), Failure> {
    if ["", target.namespace.as_str()].contains(&object::namespace(object)) {
        return Ok(());
    }
    let message =
        "the namespace of the provided object does not match the namespace sent on the request";
    Err(Failure::bad_request(message))
}
