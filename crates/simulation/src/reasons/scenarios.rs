//! The scenarios.
//!
//! - `investigations`, `operations`, `installation`: without Kubernetes
//! - `kubernetes`: with hosts that are nodes

mod installation;
mod investigations;
mod kubernetes;
mod operations;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Stage;

/// The scenarios with the reasons that they provoke.
pub(super) const PROVOKED: &[(&str, &[&str])] = &[
    ("log-ins", investigations::LOG_INS),
    ("facts", investigations::FACTS),
    ("playbooks", investigations::PLAYBOOKS),
    ("bootstraps", investigations::BOOTSTRAPS),
    ("restarts", operations::RESTARTS),
    ("fences", operations::FENCED),
    ("waiting-alone", operations::WAITING),
    ("done-hosts", operations::LOST),
    ("deployments", operations::DEPLOYMENTS),
    ("upgrades", operations::UPGRADES),
    ("rollout", operations::ROLLOUT),
    ("operators", operations::OPERATORS),
    ("budget", operations::BUDGET),
    ("shrinking-cluster", operations::SHRINKING),
    ("alarms", installation::ALARMS),
    ("members", installation::MEMBERS),
    ("refusals", installation::REFUSALS),
    ("services", installation::SERVICES),
    ("outages", installation::OUTAGES),
    ("kubernetes-drains", kubernetes::DRAINS),
    ("kubernetes-steps", kubernetes::STEPS),
    ("kubernetes-identities", kubernetes::IDENTITIES),
    ("kubernetes-failures", kubernetes::FAILURES),
    ("kubernetes-budgets", kubernetes::BUDGETS),
    ("kubernetes-quorum", kubernetes::QUORUM),
    ("kubernetes-outages", kubernetes::OUTAGES),
    ("kubernetes-refusals", kubernetes::REFUSALS),
    ("kubernetes-registrations", kubernetes::REGISTRATIONS),
];

/// Reasons that these services, hosts and stores cannot have, and where they are shown.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("internal", "a defect of Commissaire"),
    (
        "broker-away",
        "model explain::tests::installation_is_explained_by_the_worst_and_names_the_rest",
    ),
    ("store-away", "the same test, and http-gateway health.rs"),
    ("store-read-only", "the same test, and http-gateway health.rs"),
    ("audit-log-failed", "the same test"),
    ("no-usable-user", "the same test"),
];

/// A record of these members.
fn of<T: DeserializeOwned>(members: Value) -> T {
    serde_json::from_value(members).unwrap()
}

/// Notes why a restart would be refused.
async fn refused(stage: &mut Stage, options: Value) {
    let mut options = options;
    options["dry_run"] = json!(true);
    let plan = stage.ask("PUT", "/cluster/web/restart", options).await;
    stage.note(&json!({"reason": plan["reason"], "sentence": plan["refused"]}));
}
