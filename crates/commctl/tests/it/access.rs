//! `commctl access` and `commctl health-check`

use serde_json::json;

use crate::support::Fleet;

#[tokio::test]
async fn each_kind_of_subject_is_bound() {
    for (flag, kind, subject) in [
        ("--user corp:ann", "user", "corp:ann"),
        ("--group corp:web-team", "group", "corp:web-team"),
        ("--certificate CA/backup", "certificate", "CA/backup"),
    ] {
        let fleet = Fleet::new().await;
        fleet.answers("PUT", "binding/b1", 201, json!({"name": "b1"})).await;
        let line = format!("access create {flag} --role operator -c web --cluster web-* b1");
        fleet.run(&line).await.printed("name: b1\n");
        let body = json!({"kind": kind, "subject": subject, "role": "operator",
            "clusters": ["web", "web-*"], "run_commands": false});
        assert_eq!(fleet.body().await, body);
    }
}

#[tokio::test]
async fn subject_that_loses_its_last_binding_is_named() {
    for (rest, note) in [
        (
            json!([]),
            "note: the user \"ann\" has no binding any more: what the configuration gives it counts again, \
             on all clusters\n",
        ),
        (json!([{"name": "b2", "kind": "user", "subject": "ann"}]), ""),
    ] {
        let fleet = Fleet::new().await;
        fleet.answers("GET", "binding/b1", 200, json!({"kind": "user", "subject": "ann"})).await;
        fleet.answers("DELETE", "binding/b1", 200, json!([])).await;
        fleet.answers("GET", "bindings", 200, rest).await;
        let run = fleet.run("access delete b1").await;
        assert_eq!((run.status, run.stdout.as_str()), (0, ""));
        assert_eq!(run.stderr, format!("{note}deleted b1\n"));
    }
}

#[tokio::test]
async fn deletion_succeeds_without_the_check_of_other_bindings() {
    let fleet = Fleet::new().await;
    for name in ["b1", "b2"] {
        let binding = json!({"kind": "user", "subject": "ann"});
        fleet.answers("GET", &format!("binding/{name}"), 200, binding).await;
        fleet.answers("DELETE", &format!("binding/{name}"), 200, json!([])).await;
    }
    fleet.refuses("GET", "bindings", 503, "busy").await;
    let run = fleet.run("access delete b1 b2").await;
    let warning = "warning: cannot check whether the user \"ann\" has another binding: \
                   busy (503 Service Unavailable)\n";
    assert_eq!(run.stderr, format!("{warning}deleted b1\n{warning}deleted b2\n"));
    assert_eq!(run.status, 0);
}

#[tokio::test]
async fn health_check_is_created_and_chosen() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "healthcheck/web", 201, json!({"name": "web"})).await;
    let run = fleet.home.run(&["health-check", "create", "web", "systemctl is-active web"]).await;
    run.printed("name: web\n");
    assert_eq!(fleet.body().await, json!({"command": "systemctl is-active web"}));
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/c1/restart", 201, json!({"name": "c1"})).await;
    fleet.run("cluster restart start --health web c1").await.printed("name: c1\n");
    assert_eq!(fleet.body().await, json!({"health": "web"}));
}
