//! `--wait`

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Fleet, Home, config, finish};

const AT: &str = "cluster/c1/restart";

fn record(status: &str, in_process: &[&str], restarted: &[&str]) -> Value {
    let ended = (status != "in_process").then_some("2026-11-21T23:41:00.000000");
    json!({
        "name": "c1", "status": status, "started_at": "2026-11-21T23:40:23.166348",
        "finished_at": ended, "in_process": in_process, "restarted": restarted,
    })
}

#[tokio::test]
async fn a_restart_that_works() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &[], &[])).await;
    fleet.answers_once("GET", AT, 200, record("in_process", &["10.0.0.1"], &[])).await;
    fleet.answers_once("GET", AT, 200, record("in_process", &["10.0.0.1"], &[])).await;
    fleet.answers_once("GET", AT, 200, record("in_process", &["10.0.0.2"], &["10.0.0.1"])).await;
    fleet.answers("GET", AT, 200, record("finished", &[], &["10.0.0.1", "10.0.0.2"])).await;
    let run = fleet.run("cluster restart start --wait c1").await;
    run.printed(
        "finished_at: '2026-11-21T23:41:00.000000'\nin_process: []\nname: c1\nrestarted:\n\
         - 10.0.0.1\n- 10.0.0.2\nstarted_at: '2026-11-21T23:40:23.166348'\nstatus: finished\n",
    );
    assert_eq!(
        run.stderr,
        "10.0.0.1 restarting\n10.0.0.1 restarted\n10.0.0.2 restarting\n10.0.0.2 restarted\n"
    );
}

#[tokio::test]
async fn the_whole_is_counted() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &[], &[])).await;
    let cluster = json!({"name": "c1", "hostset": ["10.0.0.1", "10.0.0.2"]});
    fleet.answers("GET", "cluster/c1", 200, cluster).await;
    fleet.answers_once("GET", AT, 200, record("in_process", &["10.0.0.2"], &["10.0.0.1"])).await;
    fleet.answers("GET", AT, 200, record("finished", &[], &["10.0.0.1", "10.0.0.2"])).await;
    assert_eq!(
        fleet.run("cluster restart start --wait c1").await.stderr,
        "10.0.0.1 restarted (1 of 2)\n10.0.0.2 restarting\n10.0.0.2 restarted (2 of 2)\n"
    );
}

#[tokio::test]
async fn a_restart_that_fails() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &["10.0.0.1"], &[])).await;
    let mut failed = record("failed", &["10.0.0.1"], &[]);
    failed["failures"] = json!([{"host": "10.0.0.1", "step": "verify", "reason": "no answer"}]);
    fleet.answers("GET", AT, 200, failed).await;
    let run = fleet.run("--output json cluster restart start c1 --wait").await;
    assert_eq!(run.status, 1);
    assert_eq!(
        run.stderr,
        "10.0.0.1 restarting\n10.0.0.1 failed: verify: no answer\n\
         error: the restart of c1 failed\n"
    );
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(printed["status"], "failed");
}

#[tokio::test]
async fn an_outage_is_waited_out() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &[], &[])).await;
    let away = json!({"title": "Service Unavailable"});
    fleet.answers_once("GET", AT, 503, away.clone()).await;
    fleet.answers_once("GET", AT, 503, away).await;
    fleet.answers("GET", AT, 200, record("finished", &[], &[])).await;
    let run = fleet.run("cluster restart start --wait c1").await;
    assert_eq!(run.status, 0);
    assert_eq!(run.stderr, "the server answers 503 Service Unavailable; still trying\n");
}

#[tokio::test]
async fn a_server_that_stays_away() {
    // It answers once, and then nothing listens any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut request = vec![0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let body = record("in_process", &["10.0.0.1"], &[]).to_string();
        let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n", body.len());
        let answer = format!("{head}Connection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let home = Home::with(&config(&[&uri]));
    let args = ["cluster", "restart", "start", "--wait", "--timeout", "2s", "c1"];
    let (run, ()) = tokio::join!(home.run(&args), server);
    let away = format!("cannot reach {uri}: Connection refused (os error 111)");
    run.failed(
        3,
        &format!(
            "10.0.0.1 restarting\n{away}; still trying\nerror: {away}\n\
             it goes on; come back with: commctl cluster restart status c1\n"
        ),
    );
}

#[tokio::test]
async fn waiting_ends_after_the_timeout() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &[], &[])).await;
    fleet.answers("GET", AT, 200, record("in_process", &[], &[])).await;
    fleet.run("cluster restart start --wait --timeout 1 c1").await.failed(
        1,
        "error: the restart of c1 has not ended after 1s\n\
         it goes on; come back with: commctl cluster restart status c1\n",
    );
    assert_eq!(fleet.run("cluster restart start --timeout 1 c1").await.status, 2);
}

#[tokio::test]
async fn anothers_outcome_is_not_ours() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &[], &[])).await;
    let mut other = record("finished", &[], &[]);
    other["started_at"] = json!("2026-11-22T00:00:00.000000");
    fleet.answers("GET", AT, 200, other).await;
    fleet.run("cluster restart start --wait c1").await.failed(
        1,
        "error: another restart of c1 has started since; \
         how the awaited one ended is not known\n",
    );
}

#[tokio::test]
async fn ctrl_c_stops_the_waiting_only() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", AT, 201, record("in_process", &[], &[])).await;
    fleet.answers("GET", AT, 200, record("in_process", &[], &[])).await;
    let mut command = fleet.home.command(&["cluster", "restart", "start", "--wait", "c1"]);
    let child = command.spawn().unwrap();
    fleet.is_asked(2).await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    finish(child).await.failed(
        130,
        "no longer waiting: the restart of c1 goes on; \
         come back with: commctl cluster restart status c1\n",
    );
}

fn host_status(status: &str) -> Value {
    json!({"type": "host_only", "host": {"status": status}, "container_manager": {}})
}

#[tokio::test]
async fn a_host_that_becomes_ready() {
    let fleet = Fleet::new().await;
    let record = |status| json!({"address": "10.0.0.1", "status": status});
    fleet.answers("PUT", "host/10.0.0.1", 201, record("investigating")).await;
    fleet.answers_once("GET", "host/10.0.0.1/status", 200, host_status("investigating")).await;
    fleet.answers_once("GET", "host/10.0.0.1/status", 200, host_status("bootstrapping")).await;
    fleet.answers("GET", "host/10.0.0.1/status", 200, host_status("disassociated")).await;
    fleet.answers("GET", "host/10.0.0.1", 200, record("disassociated")).await;
    let run = fleet.run("host create --wait 10.0.0.1").await;
    run.printed("address: 10.0.0.1\nstatus: disassociated\n");
    assert_eq!(
        run.stderr,
        "10.0.0.1 investigating\n10.0.0.1 bootstrapping\n10.0.0.1 disassociated\n"
    );
}

#[tokio::test]
async fn a_host_that_fails() {
    let fleet = Fleet::new().await;
    let record = json!({"address": "10.0.0.1", "status": "failed"});
    fleet.answers("PUT", "host/10.0.0.1", 201, record.clone()).await;
    let mut status = host_status("failed");
    status["host"]["reason"] = json!("unreachable");
    status["host"]["detail"] = json!("no route to host");
    fleet.answers("GET", "host/10.0.0.1/status", 200, status).await;
    fleet.answers("GET", "host/10.0.0.1", 200, record).await;
    let run = fleet.run("host create --wait 10.0.0.1").await;
    assert_eq!(run.status, 1);
    assert_eq!(run.stdout, "address: 10.0.0.1\nstatus: failed\n");
    assert_eq!(
        run.stderr,
        "10.0.0.1 failed\nerror: 10.0.0.1 failed: unreachable: no route to host\n"
    );
}
