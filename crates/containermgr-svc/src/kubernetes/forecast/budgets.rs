//! What disruption budgets allow of a drain. Pure.

use model::PodKind;

use super::drained::{DrainedPod, count};
use crate::kubernetes::budget::Budget;

/// Warnings about the pods of one node that a drain evicts, taken together.
pub(super) fn warnings(evicted: &[&DrainedPod], budgets: &[Budget]) -> Vec<String> {
    // The API server evicts pods that do not run without regard to disruption budgets.
    let running: Vec<_> = evicted
        .iter()
        .filter(|pod| !pod.is_pending && pod.pod.state.kind != PodKind::Finished)
        .collect();
    let is_in =
        |budget: &Budget, pod: &DrainedPod| budget.selects(&pod.pod.state.namespace, &pod.labels);
    let mut warnings = Vec::new();
    for budget in budgets {
        let pods = running.iter().filter(|pod| is_in(budget, pod)).count();
        if pods > budget.allowed {
            warnings.push(format!(
                "disruption budget {} allows {} now, and {} in it",
                budget.full_name(),
                count(budget.allowed, "disruption"),
                match pods {
                    1 => "1 pod of the node is".to_owned(),
                    _ => format!("{pods} pods of the node are"),
                }
            ));
        }
    }
    for pod in running {
        let names: Vec<_> =
            budgets.iter().filter(|budget| is_in(budget, pod)).map(Budget::full_name).collect();
        if names.len() > 1 {
            warnings.push(format!(
                "{} is in {} disruption budgets, and can be evicted with one only: {}",
                pod.pod.state.full_name(),
                names.len(),
                model::abridged(names, ", ")
            ));
        }
    }
    warnings
}
