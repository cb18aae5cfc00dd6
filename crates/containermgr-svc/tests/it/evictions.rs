//! Evictions.

use model::messages::Eviction;
use serde_json::json;
use simulated_kubernetes::{Fault, FaultAction};

use crate::support::simulated::{Simulated, fault_once, workload};

/// Two ready pods of a Deployment on one node.
async fn with_two_pods() -> Simulated {
    let simulated = Simulated::start(&["w1"]).await;
    simulated.kubernetes.apply(workload("Deployment", "web", 2));
    simulated.until_ready("web", 2).await;
    simulated
}

fn fault(action: &FaultAction) -> Fault {
    fault_once("POST", "/api/v1/namespaces/default/pods/", action)
}

#[tokio::test]
async fn pods_are_evicted_as_their_budget_allows() {
    let simulated = with_two_pods().await;
    simulated.apply_budget("web", 1).await;
    let mut pods = simulated.pods_of("web");
    pods.push(("gone".to_owned(), "uid".to_owned()));
    pods.push((pods[1].0.clone(), "another".to_owned()));
    simulated.requests();
    let outcomes = simulated.evict(&pods).await;
    assert_eq!(simulated.requests().len(), 4);
    assert!(outcomes[..2].contains(&Eviction::Accepted), "{outcomes:?}");
    let of_budget = |outcome: &Eviction| {
        let Eviction::Budget { message } = outcome else { return false };
        message.starts_with("disruption budget default/web ")
    };
    assert!(outcomes[..2].iter().any(of_budget), "{outcomes:?}");
    assert_eq!(outcomes[2..], [Eviction::Gone, Eviction::Gone]);
}

#[tokio::test]
async fn several_budgets_of_a_pod_are_named() {
    let simulated = with_two_pods().await;
    for name in ["a", "b"] {
        simulated.apply_budget(name, 0).await;
    }
    let pods = simulated.pods_of("web");
    let outcomes = simulated.evict(&pods[..1]).await;
    let Eviction::Impossible { message } = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(message.ends_with("default/a, default/b"), "{message}");
}

#[tokio::test]
async fn eviction_that_fails_is_not_repeated() {
    let simulated = with_two_pods().await;
    let pods = simulated.pods_of("web");
    for (action, expected) in [
        (FaultAction::CloseBefore, 5),
        (FaultAction::Throttle { retry_after: 7 }, 7),
        (FaultAction::Answer { status: 503, headers: Vec::new(), body: String::new() }, 5),
    ] {
        simulated.requests();
        simulated.kubernetes.fault(fault(&action));
        let outcomes = simulated.evict(&pods[..1]).await;
        let Eviction::Later { seconds, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(*seconds, expected, "{action:?}");
        assert!(simulated.requests().len() <= 1);
    }
    // The answer is lost, and the eviction is carried out.
    simulated.kubernetes.fault(fault(&FaultAction::CloseAfter));
    let outcomes = simulated.evict(&pods[..1]).await;
    assert!(matches!(outcomes[0], Eviction::Later { .. }), "{outcomes:?}");
    assert!(matches!(simulated.evict(&pods[..1]).await[0], Eviction::Accepted | Eviction::Gone));
}

#[tokio::test]
async fn missing_right_and_rejected_credentials_are_told_apart() {
    let simulated = with_two_pods().await;
    let pods = simulated.pods_of("web");
    let mut role = simulated.kubernetes.object("clusterroles", "", "commissaire").unwrap();
    role["rules"] = json!([]);
    simulated.kubernetes.apply(role);
    let outcomes = simulated.evict(&pods).await;
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Eviction::Denied { .. })),
        "{outcomes:?}"
    );
    simulated.kubernetes.remove_user(crate::support::TOKEN);
    let (name, uid) = &pods[0];
    let params = json!({"pods": [{"namespace": "default", "name": name, "uid": uid}]});
    let error = simulated.try_ask("evict", params).await.unwrap_err();
    assert_eq!(error.data(), Some(&json!({"status": 401})));
    let params = json!({"pods": [{"namespace": "default", "name": "../x", "uid": ""}]});
    let error = simulated.try_ask("evict", params).await.unwrap_err();
    assert_eq!(error.kind(), bus::Kind::InvalidParams);
}
