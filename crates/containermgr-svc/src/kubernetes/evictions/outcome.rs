//! What the answer to an eviction means. Pure.

use kube::Error;
use kube::core::Status;
use model::abridged;
use model::messages::{EvictedPod, Eviction};

use crate::kubernetes::{failure, with_manifests};

/// The cause of a refusal by a disruption budget.
const DISRUPTION_BUDGET: &str = "DisruptionBudget";

/// The cause of a refusal in a namespace that is being deleted.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// What the API server says of a request that an admission webhook has denied, such as one that lets an operator move a
/// database first.
const ADMISSION_WEBHOOK: &str = "admission webhook";

/// What the API server says of a pod in several disruption budgets; it names none of them.
const SEVERAL_BUDGETS: &str = "more than one PodDisruptionBudget";

/// Seconds until an eviction is requested again if the API server does not say when.
const LATER: u64 = 5;

/// The outcome of an eviction, or what is missing to know it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Known(Eviction),
    /// The pod is in several disruption budgets, which are named by [`several_budgets`]. The message of the API server.
    SeveralBudgets(String),
}

/// The outcome of an eviction.
///
/// # Errors
/// A failure that every other eviction has as well.
pub(super) fn of(pod: &EvictedPod, evicted: kube::Result<()>) -> Result<Outcome, Error> {
    let status = match evicted {
        Ok(()) => return Ok(Outcome::Known(Eviction::Accepted)),
        Err(Error::Api(status)) => status,
        Err(error) if failure::is_transient(&error) => return Ok(Outcome::Known(unanswered())),
        Err(error) => return Err(error),
    };
    let message = failure::text(&status);
    let outcome = match status.code {
        401 => return Err(Error::Api(status)),
        404 if failure::is_missing_status(&status, "pods") => Eviction::Gone,
        409 if message.contains("precondition") => Eviction::Gone,
        // Others have changed the disruption budget at the same time.
        409 => Eviction::Later { seconds: LATER, message },
        429 => throttled(pod, &status, message),
        403 if cause(&status, NAMESPACE_TERMINATING).is_some() => {
            Eviction::Later { seconds: LATER, message }
        }
        403 if message.contains(ADMISSION_WEBHOOK) => Eviction::Impossible { message },
        403 => Eviction::Denied { message: with_manifests(&message) },
        500 if message.contains(SEVERAL_BUDGETS) => return Ok(Outcome::SeveralBudgets(message)),
        500.. => Eviction::Later { seconds: seconds(&status), message },
        _ => Eviction::Impossible { message },
    };
    Ok(Outcome::Known(outcome))
}

/// The outcome of an eviction that was not answered: it may have been carried out.
pub(super) fn unanswered() -> Eviction {
    let message = "the API server does not answer".to_owned();
    Eviction::Later { seconds: LATER, message }
}

/// The outcome for a pod that is in these disruption budgets, which are empty if they cannot be listed.
pub(super) fn several_budgets(pod: &EvictedPod, budgets: &[String], message: String) -> Eviction {
    if budgets.is_empty() {
        return Eviction::Impossible { message };
    }
    let EvictedPod { namespace, name, .. } = pod;
    let (count, budgets) = (budgets.len(), abridged(budgets, ", "));
    let message = format!(
        "{namespace}/{name} is in {count} disruption budgets, and can be evicted with one only: {budgets}"
    );
    Eviction::Impossible { message }
}

/// A 429 is the refusal of a disruption budget, unless it says when to ask again: a budget that was created just now, or
/// an API server that is busy.
fn throttled(pod: &EvictedPod, status: &Status, message: String) -> Eviction {
    let cause = cause(status, DISRUPTION_BUDGET);
    let has_time = retry_after(status) > 0;
    match cause {
        Some(cause) if !has_time => Eviction::Budget { message: budget(&pod.namespace, cause) },
        Some(cause) => {
            let message = budget(&pod.namespace, cause);
            Eviction::Later { seconds: seconds(status), message }
        }
        None => Eviction::Later { seconds: seconds(status), message },
    }
}

/// The sentence about a disruption budget, from `The disruption budget web needs 10 healthy pods and has 10 currently`.
fn budget(namespace: &str, cause: &str) -> String {
    let cause = cause.trim_end_matches('.');
    let sentence = cause.strip_suffix(" currently").unwrap_or(cause);
    match sentence.strip_prefix("The disruption budget ") {
        Some(rest) => format!("disruption budget {namespace}/{rest}"),
        None => format!("a disruption budget in {namespace}: {sentence}"),
    }
}

/// The message of a cause with this reason.
fn cause<'a>(status: &'a Status, reason: &str) -> Option<&'a str> {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.find(|cause| cause.reason == reason).map(|cause| cause.message.as_str())
}

fn retry_after(status: &Status) -> u64 {
    status.details.as_ref().map_or(0, |details| details.retry_after_seconds.into())
}

fn seconds(status: &Status) -> u64 {
    match retry_after(status) {
        0 => LATER,
        seconds => seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::failure::recorded_error;

    fn pod() -> EvictedPod {
        let [namespace, name, uid] = ["default", "web-1", "u"].map(str::to_owned);
        EvictedPod { namespace, name, uid, grace_period: None }
    }

    fn outcome(id: &str) -> Eviction {
        match of(&pod(), Err(recorded_error(id))).unwrap() {
            Outcome::Known(eviction) => eviction,
            Outcome::SeveralBudgets(message) => panic!("{message}"),
        }
    }

    #[test]
    fn recorded_answers_are_told_apart() {
        assert_eq!(of(&pod(), Ok(())).unwrap(), Outcome::Known(Eviction::Accepted));
        assert_eq!(outcome("evict-missing-404"), Eviction::Gone);
        assert_eq!(outcome("evict-uid-mismatch-409"), Eviction::Gone);
        for (id, expected) in [
            ("evict-pdb-429", "disruption budget default/web-pdb needs 1 healthy pods and has 1"),
            (
                "evict-pdb-second-429",
                "disruption budget default/web-pdb does not allow evicting pods",
            ),
        ] {
            let Eviction::Budget { message } = outcome(id) else { panic!("{id}") };
            assert!(message.starts_with(expected) && !message.contains("currently"), "{message}");
        }
        let Eviction::Later { seconds, message } = outcome("evict-pdb-unprocessed-429") else {
            panic!("later")
        };
        let expected = "disruption budget default/web-pdb is still being processed by the server";
        assert_eq!((seconds, message.as_str()), (10, expected));
        let id = "noright-post-api-v1-namespaces-default-pods-agent-x1-eviction-403";
        assert!(matches!(outcome(id), Eviction::Denied { .. }));
        assert!(matches!(outcome("etcddown-create-1x-504"), Eviction::Later { seconds: 5, .. }));
        assert!(matches!(outcome("patch-stale-rv-409"), Eviction::Later { .. }));
        assert!(matches!(outcome("evict-name-mismatch-400"), Eviction::Impossible { .. }));
        assert!(matches!(outcome("unknown-path-404"), Eviction::Impossible { .. }));
        assert!(of(&pod(), Err(recorded_error("auth-badtoken-401"))).is_err());
    }

    #[test]
    fn namespace_that_is_deleted_delays_the_eviction() {
        let id = "noright-post-api-v1-namespaces-default-pods-agent-x1-eviction-403";
        let Error::Api(mut status) = recorded_error(id) else { panic!("a status") };
        let cause =
            serde_json::json!({"reason": NAMESPACE_TERMINATING, "message": "", "field": ""});
        let details = status.details.as_mut().unwrap();
        details.causes.push(serde_json::from_value(cause).unwrap());
        let Ok(Outcome::Known(outcome)) = of(&pod(), Err(Error::Api(status))) else {
            panic!("known")
        };
        assert!(matches!(outcome, Eviction::Later { seconds: 5, .. }));
    }

    #[test]
    fn eviction_that_a_webhook_denies_is_no_missing_right() {
        let id = "noright-post-api-v1-namespaces-default-pods-agent-x1-eviction-403";
        let Error::Api(mut status) = recorded_error(id) else { panic!("a status") };
        "admission webhook \"drain.test\" denied the request: not now"
            .clone_into(&mut status.message);
        let outcome = of(&pod(), Err(Error::Api(status))).unwrap();
        assert!(matches!(outcome, Outcome::Known(Eviction::Impossible { .. })), "{outcome:?}");
    }

    #[test]
    fn several_budgets_are_named() {
        let outcome = of(&pod(), Err(recorded_error("evict-two-pdbs-500"))).unwrap();
        let Outcome::SeveralBudgets(message) = outcome else { panic!("{outcome:?}") };
        let budgets = ["default/a".to_owned(), "default/b".to_owned()];
        let Eviction::Impossible { message: named } =
            several_budgets(&pod(), &budgets, message.clone())
        else {
            panic!("impossible")
        };
        assert_eq!(
            named,
            "default/web-1 is in 2 disruption budgets, and can be evicted with one only: default/a, default/b"
        );
        let unnamed = several_budgets(&pod(), &[], message.clone());
        assert_eq!(unnamed, Eviction::Impossible { message });
    }

    #[test]
    fn other_causes_are_passed_on() {
        assert_eq!(
            budget("shop", "Something else."),
            "a disruption budget in shop: Something else"
        );
    }
}
