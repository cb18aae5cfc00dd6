//! Tables and other formats: which one is chosen, lists with details, filters, prefixes of ids.

use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

use crate::support::Fleet;
use crate::support::terminal::Terminal;

/// Two clusters, one of them with a host that has failed.
async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    let host = |address: &str, status: &str| {
        json!({"address": address, "status": status, "os": "debian", "cpus": 2, "memory": 4096, "space": 0,
               "last_check": "2026-12-01T11:58:00.123456", "source": ""})
    };
    let hosts =
        [host("10.0.0.10", "failed"), host("10.0.0.2", "disassociated"), host("10.0.0.3", "new")];
    fleet.answers("GET", "hosts", 200, json!(hosts)).await;
    fleet.answers("GET", "clusters", 200, json!(["web10", "web2"])).await;
    fleet.answers("GET", "cluster/web10/hosts", 200, json!(["10.0.0.10", "10.0.0.2"])).await;
    fleet.answers("GET", "cluster/web2/hosts", 200, json!([])).await;
    let status = json!({"type": "host_only", "container_manager": {},
                        "host": {"status": "failed", "reason": "unreachable"}});
    fleet.answers("GET", "host/10.0.0.10/status", 200, status).await;
    let cluster = |name: &str, status: &str, available: u64, total: u64| {
        json!({"name": name, "status": status, "network": "default", "container_manager": "", "hostset": [],
               "hosts": {"available": available, "total": total, "unavailable": total - available}})
    };
    fleet.answers("GET", "cluster/web10", 200, cluster("web10", "degraded", 1, 2)).await;
    fleet.answers("GET", "cluster/web2", 200, cluster("web2", "ok", 0, 0)).await;
    let operation = |id: &str, state: &str, status: &str, started_at: &str| {
        json!({"id": id, "kind": "restart", "state": state, "status": status, "started_at": started_at,
               "finished_at": null, "started_by": "ann", "reason": ""})
    };
    let web10 = json!([
        operation(
            "0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5",
            "waiting",
            "in_process",
            "2026-12-01T11:00:00.000000"
        ),
        operation(
            "0b8a52b1-33d4-4c0f-b8e4-0d7c8a6d43b1",
            "finished",
            "finished",
            "2026-12-01T09:00:00.000000"
        ),
    ]);
    let web2 = json!([operation(
        "77777777-33d4-4c0f-b8e4-0d7c8a6d43b1",
        "failed",
        "failed",
        "2026-12-01T10:00:00.000000"
    )]);
    fleet.answers("GET", "cluster/web10/operations", 200, web10).await;
    fleet.answers("GET", "cluster/web2/operations", 200, web2).await;
    fleet
}

/// A failure that is wrong usage, with these words, before anything was requested.
async fn is_refused(fleet: &Fleet, line: &str, words: &str) {
    let run = fleet.run(line).await;
    assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{line}: {run:?}");
    assert!(run.stderr.contains(words), "{line}: {}", run.stderr);
}

#[tokio::test]
async fn hosts_are_listed_with_cluster_and_reason() {
    let fleet = fleet().await;
    fleet.run("--utc -o table host list").await.printed(
        "ADDRESS    STATUS    CLUSTER  REASON       LAST SEEN             OS      CPUS\n\
         10.0.0.2   + ready   web10    -            2026-12-01 11:58:00Z  debian  2\n\
         10.0.0.3   - new     -        -            2026-12-01 11:58:00Z  debian  2\n\
         10.0.0.10  x failed  web10    unreachable  2026-12-01 11:58:00Z  debian  2\n",
    );
    let run = fleet.run("--utc -o table host list web10").await;
    assert!(run.stdout.contains("10.0.0.10  x failed  web10    unreachable"), "{run:?}");
    assert!(!run.stdout.contains("10.0.0.3"), "{run:?}");
    fleet.run("-o name host list").await.printed("10.0.0.2\n10.0.0.3\n10.0.0.10\n");
}

#[tokio::test]
async fn clusters_are_listed_with_their_state_and_operation() {
    let fleet = fleet().await;
    fleet.run("-o table cluster list").await.printed(
        "NAME   STATUS      READY  OPERATION        NETWORK\n\
         web2   + ok        0/0    -                default\n\
         web10  ! degraded  1/2    restart waiting  default\n",
    );
    fleet.run("cluster list").await.printed("- web10\n- web2\n");
}

#[tokio::test]
async fn lists_are_filtered() {
    let fleet = fleet().await;
    for (filters, names) in [
        ("--filter status=ready", "10.0.0.2\n"),
        ("--filter status=disassociated", "10.0.0.2\n"),
        ("--filter cluster=web10 --filter status!=ready", "10.0.0.10\n"),
        ("--filter cluster=", "10.0.0.3\n"),
        ("--filter reason=unreachable", "10.0.0.10\n"),
    ] {
        fleet.run(&format!("-o name host list {filters}")).await.printed(names);
    }
    let run = fleet.run("-o json host list --filter cluster=web10 --filter status=failed").await;
    let hosts: Value = serde_json::from_str(&run.stdout).unwrap();
    // The answer of the server, without the fields that commctl has added for the filter.
    assert_eq!(hosts[0]["address"], "10.0.0.10");
    assert_eq!(hosts[0].get("cluster"), None);
    fleet.run("cluster list --filter status=ok").await.printed("- web2\n");
    is_refused(
        &fleet,
        "cluster list --filter state=ok",
        "unknown field \"state\"; it is one of name, status, ",
    )
    .await;
    is_refused(
        &fleet,
        "host list --filter status=redy",
        "it is one of new, investigating, bootstrapping, ready, ",
    )
    .await;
    is_refused(&fleet, "host list --filter cluster=wbe", "it is one of web10, web2").await;
    is_refused(&fleet, "host list --filter status", "write FIELD=VALUE").await;
}

#[tokio::test]
async fn operations_of_all_clusters_are_listed() {
    let fleet = fleet().await;
    fleet.run("-o wide --utc operation list --filter state!=failed").await.printed(
        "ID                                    KIND     CLUSTER  STATE       DONE  STARTED               FINISHED  BY   VERSION  REASON  EXPLANATION  REMEDY  ENDS WHEN\n\
         0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5  restart  web10    ! waiting   -     2026-12-01 11:00:00Z  -         ann  -        -       -            -       -\n\
         0b8a52b1-33d4-4c0f-b8e4-0d7c8a6d43b1  restart  web10    + finished  -     2026-12-01 09:00:00Z  -         ann  -        -       -            -       -\n",
    );
    let names = "0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5\n77777777-33d4-4c0f-b8e4-0d7c8a6d43b1\n\
                 0b8a52b1-33d4-4c0f-b8e4-0d7c8a6d43b1\n";
    fleet.run("-o name operation list").await.printed(names);
}

#[tokio::test]
async fn ids_are_prefixes_or_last() {
    let fleet = fleet().await;
    for (id, given) in [
        ("0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5", "@last"),
        ("0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5", "0b8ad"),
        ("77777777-33d4-4c0f-b8e4-0d7c8a6d43b1", "7777"),
    ] {
        fleet.answers("GET", &format!("operation/{id}"), 200, json!({"id": id})).await;
        fleet.run(&format!("-o name operation get {given}")).await.printed(&format!("{id}\n"));
    }
    let words = "2 operations begin with 0b8a: 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5 (restart of web10), \
                 0b8a52b1-33d4-4c0f-b8e4-0d7c8a6d43b1 (restart of web10); write more of the id";
    is_refused(&fleet, "operation abort 0b8a", words).await;
    fleet.refuses("GET", "operation/abcd", 404, "there is no operation abcd").await;
    fleet
        .run("operation get abcd")
        .await
        .failed(1, "error: there is no operation abcd (404 Not Found)\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn format_is_chosen_by_option_environment_configuration_and_terminal() {
    let fleet = fleet().await;
    let home = fleet.home.dir.path();
    let table = "NAME   STATUS      READY  OPERATION        NETWORK\n";
    let on_terminal = |environment: &[(&str, &str)]| {
        let mut terminal = Terminal::run(home, &["cluster", "list"], environment);
        let (status, screen) = terminal.ends();
        assert_eq!(status, 0, "{screen}");
        screen
    };
    assert!(on_terminal(&[("LANG", "C.UTF-8")]).starts_with(table));
    assert_eq!(on_terminal(&[("COMMCTL_OUTPUT", "name")]), "web2\nweb10\n");

    let endpoint = fleet.server.uri();
    let config = json!({"username": "a", "password": "b", "endpoint": endpoint, "output": "name"});
    fleet.home.write(".commissaire.json", &config.to_string());
    fleet.run("cluster list").await.printed("web2\nweb10\n");
    assert_eq!(on_terminal(&[("COMMCTL_OUTPUT", "yaml")]), "- web10\n- web2\n");
    fleet.run("-o yaml cluster list").await.printed("- web10\n- web2\n");

    let mut command = fleet.home.command(&["cluster", "list"]);
    let run = command.env("COMMCTL_OUTPUT", "xml").output().await.unwrap();
    assert_eq!(run.status.code(), Some(2));
    let message =
        "error: COMMCTL_OUTPUT: unknown format \"xml\"; it is yaml, json, table, wide or name\n";
    assert_eq!(String::from_utf8(run.stderr).unwrap(), message);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_colors_on_a_terminal_only() {
    let fleet = fleet().await;
    let written = |environment: &[(&str, &str)]| {
        let arguments = ["-o", "table", "cluster", "list"];
        let mut terminal = Terminal::run(fleet.home.dir.path(), &arguments, environment);
        assert_eq!(terminal.ends().0, 0);
        terminal.written()
    };
    assert!(written(&[]).contains("\u{1b}[33m! degraded\u{1b}[0m"));
    assert!(!written(&[("NO_COLOR", "1")]).contains('\u{1b}'));
    let run = fleet.run("-o table cluster list").await;
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
}

#[tokio::test]
async fn filters_need_the_details_of_all() {
    let fleet = Fleet::new().await;
    let names: Vec<_> = (0..201).map(|at| format!("c{at}")).collect();
    fleet.answers("GET", "clusters", 200, json!(names)).await;
    fleet.answers("GET", "hosts", 200, json!([{"address": "10.0.0.1", "status": "active"}])).await;
    let run = fleet.run("-o name host list --filter cluster=c200").await;
    assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.contains("the details of 201 objects"), "{run:?}");
    let run = fleet.run("-o name host list --filter status=active").await;
    run.printed("10.0.0.1\n");
    assert_eq!(run.stderr, "note: details are shown for 200 of 201 only\n");
}

#[tokio::test]
async fn broken_configuration_does_not_hide_the_contexts() {
    let fleet = Fleet::new().await;
    fleet.home.write(".commissaire.json", "{");
    let run = fleet.run("context list").await;
    assert!(run.status == 0 && run.stdout.contains("name: default\n"), "{run:?}");
    assert!(run.stderr.contains("is not valid JSON"), "{run:?}");
    assert_eq!(fleet.run("cluster list").await.status, 2);
}

#[tokio::test]
async fn followed_events_fit_the_terminal() {
    let fleet = Fleet::new().await;
    let id = "0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5";
    let event = json!({"id": "1-1", "seq": 1, "time": "2026-12-01T11:00:00.000000", "host": "10.0.0.1", "step": "probe",
                       "outcome": "failed", "detail": "word ".repeat(50)});
    let text = format!("id: 1-1\ndata: {event}\n\nevent: end\ndata: {{}}\n\n");
    let answer = ResponseTemplate::new(200).set_body_raw(text, "text/event-stream");
    let at = format!("/api/v0/operation/{id}/events");
    Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(&fleet.server).await;
    let run = fleet.run(&format!("-o table operation events --follow {id}")).await;
    let line = "2026-12-01 11:00:00Z  10.0.0.1  probe failed: word word word word word word word";
    run.printed(&format!("{}~\n", &line[..79]));
}
