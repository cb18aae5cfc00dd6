//! `commctl explain`

use serde_json::{Value, json};

use crate::support::Fleet;

fn explanation(kind: &str, id: &str) -> Value {
    json!({
        "kind": kind, "id": id, "state": "waiting", "since": "2026-11-30T05:00:00.000000",
        "reason": "soak", "sentence": format!("the {kind} {id} waits"), "remedy": "none",
        "ends": "the soak time has passed",
    })
}

async fn missing(fleet: &Fleet, path: &str) {
    let problem = json!({"title": "Not Found", "status": 404, "detail": "there is no such object"});
    fleet.answers("GET", path, 404, problem).await;
}

#[tokio::test]
async fn object_is_found_by_its_name_whatever_its_kind() {
    let fleet = Fleet::new().await;
    missing(&fleet, "explain/host/web").await;
    fleet.answers("GET", "explain/cluster/web", 200, explanation("cluster", "web")).await;
    missing(&fleet, "explain/operation/web").await;
    let text = "the cluster web waits\n  state:     waiting\n  since:     2026-11-30T05:00:00.000000\n  \
                reason:    soak\n  remedy:    none\n  ends when: the soak time has passed\n";
    fleet.run("explain web").await.printed(text);
    fleet.run("explain --kind cluster web").await.printed(text);
    let run = fleet.run("explain --kind host web").await;
    assert_eq!(run.status, 1, "{}", run.stderr);
    let run = fleet.run("-o json explain web").await;
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(printed, explanation("cluster", "web"));
}

#[tokio::test]
async fn name_of_several_objects_needs_a_kind_and_an_unknown_one_is_an_error() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "explain/host/web", 200, explanation("host", "web")).await;
    fleet.answers("GET", "explain/cluster/web", 200, explanation("cluster", "web")).await;
    missing(&fleet, "explain/operation/web").await;
    let run = fleet.run("explain web").await;
    let expected =
        "error: both a host and a cluster are called web: add --kind host or --kind cluster\n";
    assert_eq!((run.status, run.stderr.as_str()), (2, expected));
    for kind in ["host", "cluster", "operation"] {
        missing(&fleet, &format!("explain/{kind}/x")).await;
    }
    let run = fleet.run("explain x").await;
    let expected = "error: there is no host, cluster or operation x\n";
    assert_eq!((run.status, run.stderr.as_str()), (1, expected));
}

#[tokio::test]
async fn without_a_name_the_installation_is_explained() {
    let fleet = Fleet::new().await;
    let well = json!({
        "kind": "installation", "id": "", "state": "ok", "since": null, "reason": "", "remedy": "",
        "sentence": "all services are running, and no operation is in process", "ends": "",
    });
    fleet.answers("GET", "explain", 200, well).await;
    let text = "all services are running, and no operation is in process\n  state:     ok\n";
    fleet.run("explain").await.printed(text);
    assert_eq!(fleet.run("explain --kind host").await.status, 2);
}
