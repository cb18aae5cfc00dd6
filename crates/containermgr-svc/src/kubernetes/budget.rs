//! Disruption budgets. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt as _};

/// What a disruption budget allows now.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    pub(super) namespace: String,
    name: String,
    /// The pods that are in it; `None` for none.
    selector: Option<Selector>,
    /// The number of pods that may be evicted now.
    pub(super) allowed: usize,
}

impl Budget {
    pub(super) fn of(budget: PodDisruptionBudget) -> Self {
        let selector = budget.spec.and_then(|spec| spec.selector);
        let allowed = budget.status.and_then(|status| status.disruptions_allowed).unwrap_or(0);
        Self {
            namespace: budget.metadata.namespace.unwrap_or_default(),
            name: budget.metadata.name.unwrap_or_default(),
            selector: selector.and_then(|selector| selector.try_into().ok()),
            allowed: allowed.try_into().unwrap_or(0),
        }
    }

    /// Whether a pod with these labels is in it.
    pub(super) fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace
            && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// `NAMESPACE/NAME`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::recorded::one;

    #[test]
    fn recorded_budget_selects_its_pods() {
        let mut value = one("pdb-status-one-200").response;
        let labels = [("app".to_owned(), "web".to_owned())].into();
        let budget = Budget::of(serde_json::from_value(value.clone()).unwrap());
        assert_eq!((budget.full_name().as_str(), budget.allowed), ("default/web-pdb", 1));
        assert!(budget.selects("default", &labels));
        assert!(!budget.selects("shop", &labels) && !budget.selects("default", &BTreeMap::new()));
        // An empty selector selects all pods of the namespace, a missing one none.
        value["spec"]["selector"] = json!({});
        let budget = Budget::of(serde_json::from_value(value.clone()).unwrap());
        assert!(budget.selects("default", &BTreeMap::new()));
        value["spec"].as_object_mut().unwrap().remove("selector");
        let budget = Budget::of(serde_json::from_value(value).unwrap());
        assert!(!budget.selects("default", &labels));
    }
}
