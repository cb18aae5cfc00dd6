//! Options of operations, steering them, and the freeze.

use serde_json::{Value, json};

use crate::support::Fleet;

#[tokio::test]
async fn every_flag_is_an_option_of_the_server() {
    let flags = "--max-unavailable 30% --max-failures 2 --skip-unreachable --include-self --soak 2m --settle 0s --strict-units \
                 --health-command true --health-url http://{address}/ --health-timeout 90 \
                 --order least-recent --resume-after-alarm auto --host 10.0.0.1 --host 10.0.0.2";
    let options = json!({
        "max_unavailable": "30%", "max_failures": 2, "skip_unreachable": true,
        "include_self": true, "soak": 120, "settle": 0, "strict_units": true, "health_command": "true",
        "health_url": "http://{address}/", "health_timeout": 90, "order": "least_recent",
        "hosts": ["10.0.0.1", "10.0.0.2"], "resume_after_alarm": "auto",
    });
    for (line, member, value) in [
        ("restart start --if-needed", "if_needed", json!(true)),
        ("upgrade start --reboot if-needed", "reboot", json!("if-needed")),
        ("upgrade start --reboot never", "reboot", json!("never")),
        ("deploy start c1 7.2", "version", json!("7.2")),
    ] {
        let fleet = Fleet::new().await;
        let (kind, _) = line.split_once(' ').unwrap();
        fleet.answers("PUT", &format!("cluster/c1/{kind}"), 201, json!({"name": "c1"})).await;
        let name = if kind == "deploy" { "" } else { "c1" };
        fleet.run(&format!("cluster {line} {flags} {name}")).await.printed("name: c1\n");
        let mut expected = options.clone();
        expected[member] = value;
        assert_eq!(fleet.body().await, expected, "{line}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_not_sent() {
    let fleet = Fleet::new().await;
    for line in [
        "restart start --max-unavailable 0 c1",
        "restart start --max-unavailable 101% c1",
        "restart start --soak soon c1",
        "restart start --order random c1",
        "restart start --reboot never c1",
        "upgrade start --if-needed c1",
        "restart start --dry-run --wait c1",
        "restart start --host ../x c1",
        "restart status --timeout 5s c1",
    ] {
        assert_eq!(fleet.run(&format!("cluster {line}")).await.status, 2, "{line}");
    }
    assert_eq!(fleet.requests().await.len(), 0);
}

#[tokio::test]
async fn swapped_arguments_of_a_deployment_are_noticed() {
    let fleet = Fleet::new().await;
    let missing = |name: &str| json!({"title": "Not Found", "status": 404, "detail": format!("there is no cluster {name}")});
    fleet.answers("PUT", "cluster/7.2/deploy", 404, missing("7.2")).await;
    fleet.answers("PUT", "cluster/c9/deploy", 404, missing("c9")).await;
    fleet.answers("GET", "cluster/web", 200, json!({"name": "web"})).await;
    fleet.answers("GET", "cluster/7.2", 404, missing("7.2")).await;
    let run = fleet.run("cluster deploy start 7.2 web").await;
    let expected = "error: there is no cluster 7.2 (404 Not Found)\nthere is a cluster web, and the name of the cluster comes \
                    first: commctl cluster deploy start web 7.2\n";
    assert_eq!((run.status, run.stderr.as_str()), (1, expected));
    let run = fleet.run("cluster deploy start c9 7.2").await;
    let expected = "error: there is no cluster c9 (404 Not Found)\n";
    assert_eq!((run.status, run.stderr.as_str()), (1, expected));
}

#[tokio::test]
async fn a_dry_run_prints_the_plan_and_says_whether_it_would_start() {
    let fleet = Fleet::new().await;
    let plan = |would: bool, refused: Value| json!({"cluster": "c1", "would_start": would, "refused": refused, "hosts": []});
    fleet.answers_once("PUT", "cluster/c1/restart", 200, plan(true, Value::Null)).await;
    fleet.answers("PUT", "cluster/c1/restart", 200, plan(false, json!("one is away"))).await;
    let printed = "cluster: c1\nhosts: []\nrefused: null\nwould_start: true\n";
    fleet.run("cluster restart start --dry-run c1").await.printed(printed);
    assert_eq!(fleet.body().await, json!({"dry_run": true}));
    let run = fleet.run("cluster restart start --dry-run c1").await;
    assert_eq!((run.status, run.stdout.contains("would_start: false\n")), (1, true));
    assert_eq!(run.stderr, "error: the restart of c1 would not start: one is away\n");
}

#[tokio::test]
async fn the_one_in_process_is_steered() {
    let fleet = Fleet::new().await;
    let list = json!([
        {"id": "new", "kind": "restart", "status": "in_process"},
        {"id": "old", "kind": "restart", "status": "finished"},
    ]);
    fleet.answers("GET", "cluster/c1/operations", 200, list).await;
    for verb in ["pause", "resume", "abort"] {
        fleet.answers("POST", &format!("operation/new/{verb}"), 200, json!({"id": "new"})).await;
        fleet.run(&format!("cluster restart {verb} c1")).await.printed("id: new\n");
    }
    fleet.run("cluster upgrade abort c1").await.failed(
        1,
        "error: what is in process on c1 is no upgrade; \
         you may mean: commctl cluster restart abort c1\n",
    );
    fleet.answers("GET", "cluster/c2/operations", 200, json!([])).await;
    fleet
        .run("cluster restart pause c2")
        .await
        .failed(1, "error: no restart of c2 is in process\n");
}

#[tokio::test]
async fn operations_are_listed_shown_and_steered_by_their_ids() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "cluster/c1/operations", 200, json!([{"id": "a"}])).await;
    fleet.run("operation list c1").await.printed("- id: a\n");
    fleet.answers("GET", "operation/a", 200, json!({"id": "a", "hosts": []})).await;
    fleet.run("operation get a").await.printed("hosts: []\nid: a\n");
    for verb in ["pause", "resume"] {
        fleet.answers("POST", &format!("operation/a/{verb}"), 200, json!({"id": "a"})).await;
        fleet.run(&format!("operation {verb} a")).await.printed("id: a\n");
    }
    fleet.refuses("POST", "operation/a/abort", 409, "it has ended already").await;
    fleet.run("operation abort a").await.failed(1, "error: it has ended already (409 Conflict)\n");
}

#[tokio::test]
async fn an_ended_operation_is_continued() {
    let fleet = Fleet::new().await;
    let next = json!({"id": "b", "kind": "restart", "status": "in_process"});
    fleet.answers("POST", "operation/a/continue", 201, next).await;
    let printed = "id: b\nkind: restart\nstatus: in_process\n";
    fleet.run("operation continue a").await.printed(printed);
    assert_eq!(fleet.body().await, json!({"retry_failed": false}));
    assert_eq!(fleet.run("operation continue --wait --dry-run a").await.status, 2);
    fleet.refuses("POST", "operation/c/continue", 409, "it is in process").await;
    fleet.run("operation continue c").await.failed(1, "error: it is in process (409 Conflict)\n");
}

#[tokio::test]
async fn what_a_continued_operation_would_do_is_shown() {
    let fleet = Fleet::new().await;
    fleet.answers("POST", "operation/a/continue", 200, json!({"would_start": true})).await;
    let run = fleet.run("operation continue --retry-failed --dry-run a").await;
    run.printed("would_start: true\n");
    assert_eq!(fleet.body().await, json!({"retry_failed": true, "dry_run": true}));
}

#[tokio::test]
async fn work_is_frozen_and_goes_on() {
    let fleet = Fleet::new().await;
    let frozen = json!({"frozen": true, "by": "admin", "at": "t", "reason": "the network"});
    fleet.answers("PUT", "freeze", 201, frozen).await;
    let run = fleet.home.run(&["freeze", "on", "--reason", "the network"]).await;
    run.printed("at: t\nby: admin\nfrozen: true\nreason: the network\n");
    assert_eq!(fleet.body().await, json!({"reason": "the network"}));
    fleet.answers("GET", "freeze", 200, json!({"frozen": false})).await;
    fleet.run("freeze status").await.printed("frozen: false\n");
    fleet.answers("DELETE", "freeze", 200, json!([])).await;
    let run = fleet.run("freeze off").await;
    run.printed("");
    assert_eq!(run.stderr, "operations go on\n");
}
