//! Operations as they happen: `--wait` and `status --follow` by the stream of events.

use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, ResponseTemplate};

use crate::support::{Fleet, Home, NOWHERE, config, finish};

const AT: &str = "cluster/c1/restart";
const ID: &str = "0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5";
const STARTED: &str = "2026-11-26T05:00:00.000000";

fn record(status: &str) -> Value {
    json!({"name": "c1", "status": status, "started_at": STARTED})
}

fn operation(status: &str, reason: &str, hosts: &Value) -> Value {
    json!({"id": ID, "kind": "restart", "status": status, "reason": reason,
           "started_at": STARTED, "hosts": hosts})
}

/// An event as the server sends it.
fn event(seq: u64, host: &str, step: &str, outcome: &str, detail: &str) -> String {
    let event = json!({"seq": seq, "time": STARTED, "host": host, "step": step,
                       "outcome": outcome, "detail": detail});
    format!("id: {seq}\ndata: {event}\n\n")
}

const END: &str = "event: end\ndata: {\"status\":\"finished\"}\n\n";

/// A stream of events for whoever has seen those up to `after`.
async fn streams(fleet: &Fleet, after: u64, text: String) {
    let mut mock = Mock::given(method("GET"))
        .and(path(format!("/api/v0/operation/{ID}/events")))
        .and(header("accept", "text/event-stream"));
    if after > 0 {
        mock = mock.and(header("last-event-id", after.to_string()));
    }
    let answer = ResponseTemplate::new(200).set_body_raw(text, "text/event-stream");
    mock.respond_with(answer).up_to_n_times(1).mount(&fleet.server).await;
}

/// The start is answered as a server does that has streams.
async fn starts(fleet: &Fleet) {
    let answer = ResponseTemplate::new(201)
        .insert_header("location", format!("/api/v0/operation/{ID}"))
        .set_body_json(record("in_process"));
    let mock = Mock::given(method("PUT")).and(path(format!("/api/v0/{AT}")));
    mock.respond_with(answer).mount(&fleet.server).await;
}

#[tokio::test]
async fn a_restart_is_seen_through_across_streams_that_break() {
    let fleet = Fleet::new().await;
    starts(&fleet).await;
    let first = event(1, "10.0.0.1", "probe", "started", "")
        + &event(2, "10.0.0.1", "reboot", "failed", "no answer; looking whether it got through");
    let second = event(3, "10.0.0.1", "verify", "started", "")
        + &event(4, "10.0.0.1", "verify", "ok", "boot id b")
        + &event(5, "10.0.0.2", "probe", "started", "");
    streams(&fleet, 0, first).await;
    streams(&fleet, 2, format!(": nothing new\n\n{second}")).await;
    streams(&fleet, 5, END.to_owned()).await;
    let hosts =
        json!([{"address": "10.0.0.1", "step": "done"}, {"address": "10.0.0.2", "step": "done"}]);
    fleet.answers("GET", &format!("operation/{ID}"), 200, operation("finished", "", &hosts)).await;
    fleet.answers("GET", AT, 200, record("finished")).await;
    let run = fleet.run("cluster restart start --wait c1").await;
    run.printed(&format!("name: c1\nstarted_at: '{STARTED}'\nstatus: finished\n"));
    assert_eq!(
        run.stderr,
        "10.0.0.1 probe\n10.0.0.1 failed: reboot: no answer; looking whether it got through\n\
         10.0.0.1 verify\n10.0.0.1 restarted\n10.0.0.2 probe\n10.0.0.2 restarted\n"
    );
}

#[tokio::test]
async fn another_endpoint_goes_on_where_one_has_stopped() {
    let (first, second) = (Fleet::new().await, Fleet::new().await);
    starts(&first).await;
    streams(&first, 0, event(1, "10.0.0.1", "probe", "started", "")).await;
    let rest = event(2, "10.0.0.1", "verify", "failed", "it did not come back") + END;
    streams(&second, 1, rest).await;
    let failure = json!({"step": "verify", "reason": "it did not come back"});
    let hosts = json!([{"address": "10.0.0.1", "step": "failed", "failure": failure}]);
    let ended = operation("failed", "1 host failed, and 0 may", &hosts);
    second.answers("GET", &format!("operation/{ID}"), 200, ended).await;
    second.answers("GET", AT, 200, record("failed")).await;
    let endpoints = [first.server.uri(), NOWHERE.to_owned(), second.server.uri()];
    let home = Home::with(&config(&endpoints.each_ref().map(String::as_str)));
    let run = home.run(&["-o", "json", "cluster", "restart", "start", "--wait", "c1"]).await;
    assert_eq!(run.status, 1);
    assert_eq!(
        run.stderr,
        "10.0.0.1 probe\n10.0.0.1 failed: verify: it did not come back\n\
         error: the restart of c1 failed: 1 host failed, and 0 may\n"
    );
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(printed, record("failed"));
}

#[tokio::test]
async fn ctrl_c_leaves_the_operation_alone_and_says_how_to_come_back() {
    let fleet = Fleet::new().await;
    starts(&fleet).await;
    // It never ends.
    let mock = Mock::given(method("GET")).and(path(format!("/api/v0/operation/{ID}/events")));
    let silence = ResponseTemplate::new(200).set_body_raw("", "text/event-stream");
    mock.respond_with(silence).mount(&fleet.server).await;
    let mut command = fleet.home.command(&["cluster", "restart", "start", "--wait", "c1"]);
    let child = command.spawn().unwrap();
    fleet.is_asked(2).await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    finish(child).await.failed(
        130,
        "no longer waiting: the restart of c1 goes on; \
         come back with: commctl cluster restart status --follow c1\n",
    );
    let requests = fleet.requests().await;
    assert!(requests.iter().all(|request| !request.contains("abort")), "{requests:?}");
}

#[tokio::test]
async fn the_newest_one_is_followed() {
    let fleet = Fleet::new().await;
    fleet.answers_once("GET", AT, 200, record("in_process")).await;
    fleet.answers("GET", AT, 200, record("failed")).await;
    let other =
        json!({"id": "other", "kind": "upgrade", "status": "in_process", "started_at": "x"});
    let list = json!([other, operation("in_process", "", &json!([]))]);
    fleet.answers("GET", "cluster/c1/operations", 200, list).await;
    let text = event(1, "", "abort", "started", "by admin") + END;
    streams(&fleet, 0, text).await;
    let hosts = json!([{"address": "10.0.0.1", "step": "pending"},
                       {"address": "10.0.0.2", "step": "skipped", "skipped": "unreachable"}]);
    let ended = operation("failed", "aborted by admin", &hosts);
    fleet.answers("GET", &format!("operation/{ID}"), 200, ended).await;
    let run = fleet.run("cluster restart status --follow c1").await;
    assert_eq!((run.status, run.stdout.contains("status: failed\n")), (1, true));
    assert_eq!(
        run.stderr,
        "abort started: by admin\n10.0.0.2 skipped: unreachable\n\
         error: the restart of c1 failed: aborted by admin\n"
    );
}

#[tokio::test]
async fn an_outage_is_told_once_and_a_refusal_ends_it() {
    let fleet = Fleet::new().await;
    starts(&fleet).await;
    let events = format!("operation/{ID}/events");
    let away = json!({"title": "Service Unavailable"});
    fleet.answers_once("GET", &events, 503, away.clone()).await;
    fleet.answers_once("GET", &events, 503, away).await;
    fleet.refuses("GET", &events, 404, "there is no such operation").await;
    fleet.run("cluster restart start --wait c1").await.failed(
        1,
        "the server answers 503 Service Unavailable; still trying\n\
         error: there is no such operation (404 Not Found)\n",
    );
}

#[tokio::test]
async fn outage_that_the_server_can_explain_is_noted_with_its_reason() {
    let fleet = Fleet::new().await;
    starts(&fleet).await;
    let events = format!("operation/{ID}/events");
    fleet.answers_once("GET", &events, 503, json!({"title": "Service Unavailable"})).await;
    let sentence = "the installation cannot work: no storage service answers";
    let explanation = json!({"reason": "storage-away", "sentence": sentence});
    fleet.answers("GET", "explain", 200, explanation).await;
    fleet.refuses("GET", &events, 404, "there is no such operation").await;
    fleet.run("cluster restart start --wait c1").await.failed(
        1,
        "the server answers 503 Service Unavailable: the installation cannot work: no storage service \
         answers; still trying\n\
         error: there is no such operation (404 Not Found)\n",
    );
}

#[tokio::test]
async fn events_are_printed_as_data() {
    let fleet = Fleet::new().await;
    let mock = Mock::given(method("GET"))
        .and(path(format!("/api/v0/operation/{ID}/events")))
        .and(query_param("follow", "false"))
        .and(query_param("after", "4"));
    let text = event(5, "10.0.0.1", "probe", "ok", "boot id a") + &event(6, "", "end", "ok", "");
    let answer = ResponseTemplate::new(200).set_body_raw(text, "text/event-stream");
    mock.respond_with(answer).mount(&fleet.server).await;
    let run = fleet.run(&format!("-o json operation events --after 4 {ID}")).await;
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.status, printed.as_array().unwrap().len()), (0, 2));
    assert_eq!(printed[1]["seq"], 6);
}

#[tokio::test]
async fn events_are_followed_line_by_line() {
    for (format, expected) in [
        (
            "json",
            "{\"detail\":\"d\",\"host\":\"h\",\"outcome\":\"ok\",\"seq\":1,\"step\":\"probe\",\"time\":\"2026-11-26T05:00:00.000000\"}\n",
        ),
        ("table", "2026-11-26 05:00:00Z  h  probe ok: d\n"),
        (
            "yaml",
            "- detail: d\n  host: h\n  outcome: ok\n  seq: 1\n  step: probe\n  time: '2026-11-26T05:00:00.000000'\n",
        ),
    ] {
        let fleet = Fleet::new().await;
        streams(&fleet, 0, event(1, "h", "probe", "ok", "d") + END).await;
        fleet.run(&format!("-o {format} operation events --follow {ID}")).await.printed(expected);
    }
}
