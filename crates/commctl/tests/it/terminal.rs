//! In a terminal: questions, progress, Ctrl-C.

use serde_json::{Value, json};

use crate::support::terminal::Terminal;
use crate::support::{Fleet, Home, problem};

const AT: &str = "cluster/c1/restart";

fn record(status: &str, in_process: &[&str], restarted: &[&str]) -> Value {
    json!({"name": "c1", "status": status, "started_at": "2026-11-21T23:40:23.166348",
           "in_process": in_process, "restarted": restarted})
}

/// A cluster of three hosts, the second of which is being restarted.
async fn restarting() -> Fleet {
    let fleet = Fleet::new().await;
    let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    fleet.answers("GET", "cluster/c1", 200, json!({"name": "c1", "hostset": hosts})).await;
    fleet.answers("PUT", AT, 201, record("in_process", &["10.0.0.1"], &[])).await;
    fleet.answers("GET", AT, 200, record("in_process", &["10.0.0.2"], &["10.0.0.1"])).await;
    fleet
}

fn restart(fleet: &Fleet, environment: &[(&str, &str)]) -> Terminal {
    let arguments = ["--utc", "cluster", "restart", "start", "--wait", "c1"];
    Terminal::run(fleet.home.dir.path(), &arguments, environment)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hosts_step_and_the_whole_are_shown() {
    let fleet = restarting().await;
    let mut terminal = restart(&fleet, &[]);
    terminal.shows(&["10.0.0.1 restarted", "10.0.0.2 restarting (", "1 of 3 hosts"]);
    let screen = terminal.screen();
    let at = |text: &str| screen.find(text).unwrap();
    assert!(at("10.0.0.1") < at("10.0.0.2") && at("10.0.0.2") < at("of 3 hosts"), "{screen}");

    fleet.server.reset().await;
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    fleet.answers("GET", AT, 200, record("finished", &[], &all)).await;
    let (status, screen) = terminal.ends();
    assert_eq!(status, 0);
    // Nothing half-drawn stays, and the data follows.
    assert_eq!(
        screen,
        "10.0.0.1 restarted\n10.0.0.2 restarted\n10.0.0.3 restarted\nNAME       c1\n\
         STATUS     + finished\nSTARTED    2026-11-21 23:40:23Z\n\
         RESTARTED  10.0.0.1, 10.0.0.2, 10.0.0.3\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_it_running_and_says_how_to_come_back() {
    let fleet = restarting().await;
    let mut terminal = restart(&fleet, &[]);
    terminal.shows(&["10.0.0.2 restarting ("]);
    terminal.presses_ctrl_c();
    let (status, screen) = terminal.ends();
    assert_eq!(status, 130);
    assert_eq!(
        screen,
        "10.0.0.1 restarted\nno longer waiting: the restart of c1 goes on; \
         come back with: commctl cluster restart status c1\n"
    );
    // Nobody asked for its end.
    let requests = fleet.requests().await;
    assert!(requests[1..].iter().all(|request| request.starts_with("GET ")), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_colours_where_none_are_wanted() {
    let fleet = restarting().await;
    for environment in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        let terminal = restart(&fleet, environment);
        terminal.shows(&["10.0.0.1 restarted"]);
        assert!(!has_colours(&terminal.written()), "{:?}", terminal.written());
    }
    let home = Home::empty();
    let usage = |environment| {
        let mut terminal = Terminal::run(home.dir.path(), &["cluster", "bogus"], environment);
        assert_eq!(terminal.ends().0, 2);
        has_colours(&terminal.written())
    };
    assert!(usage(&[]), "there would be some");
    assert!(!usage(&[("NO_COLOR", "1")]));
}

/// Whether a graphic rendition other than the plain one is ever chosen.
fn has_colours(written: &str) -> bool {
    let sequences = written.split("\u{1b}[").skip(1);
    let mut parameters = sequences.filter_map(|sequence| {
        let end = sequence.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        sequence[end..].starts_with('m').then(|| &sequence[..end])
    });
    parameters.any(|parameters| !parameters.is_empty() && parameters != "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_lacks_is_asked_for() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!(["c1"])).await;
    let home = Home::empty();
    let yaml = [("COMMCTL_OUTPUT", "yaml")];
    let mut terminal = Terminal::run(home.dir.path(), &["cluster", "list"], &yaml);
    terminal.shows(&["username:"]);
    terminal.types("a\n");
    terminal.shows(&["endpoint:"]);
    terminal.types(&format!("{}/\n", fleet.server.uri()));
    terminal.asks_for_a_secret("password:");
    terminal.types("hunter2\n");
    let (status, screen) = terminal.ends();
    assert_eq!(status, 0, "{screen}");
    assert!(screen.ends_with("- c1\n") && !screen.contains("hunter2"), "{screen}");
    assert_eq!(fleet.request().await.headers["authorization"], "Basic YTpodW50ZXIy");

    // An answer that is none is not asked for again.
    let mut terminal = Terminal::run(home.dir.path(), &["cluster", "list"], &[]);
    terminal.shows(&["username:"]);
    terminal.types("\n");
    let (status, screen) = terminal.ends();
    assert_eq!(status, 2);
    assert!(screen.contains("error: no username is configured"), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_ask() {
    use std::os::unix::fs::PermissionsExt as _;
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, problem(403, "")).await;
    let script = r#"#!/bin/sh
        printf 'your code: ' >&2; read code
        echo "{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\",
               \"status\": {\"token\": \"$code\"}}""#;
    let login = fleet.home.write("login", script);
    std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o700)).unwrap();
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": login,
                      "interactiveMode": "Always"});
    let kubeconfig = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"user": "u"}}],
        "users": [{"name": "u", "user": {"exec": exec}}],
    });
    fleet.home.write("kubeconfig", &kubeconfig.to_string());
    let config = json!({"endpoint": fleet.server.uri(), "kubeconfig": "kubeconfig"});
    fleet.home.write(".commissaire.json", &config.to_string());
    let mut terminal = Terminal::run(fleet.home.dir.path(), &["cluster", "list"], &[]);
    terminal.shows(&["your code:"]);
    terminal.types("123\n");
    assert_eq!(terminal.ends().0, 0);
    assert_eq!(fleet.request().await.headers["authorization"], "Bearer 123");
}

#[tokio::test(flavor = "multi_thread")]
async fn passhash_asks_twice_and_shows_nothing() {
    let home = Home::empty();
    let mut terminal = Terminal::run(home.dir.path(), &["passhash", "-r", "4"], &[]);
    terminal.asks_for_a_secret("Password:");
    terminal.types("hunter2\n");
    terminal.asks_for_a_secret("Again:");
    let status = format!("/proc/{}", terminal.pid());
    for file in ["cmdline", "environ"] {
        let told = std::fs::read(format!("{status}/{file}")).unwrap();
        assert!(!String::from_utf8_lossy(&told).contains("hunter2"), "{file}");
    }
    terminal.types("hunter2\n");
    let (status, screen) = terminal.ends();
    assert_eq!(status, 0);
    let hash = screen.lines().find(|line| line.starts_with("$2b$04$")).unwrap();
    assert!(bcrypt::verify("hunter2", hash).unwrap());
    assert!(!terminal.written().contains("hunter2"));

    let mut terminal = Terminal::run(home.dir.path(), &["passhash"], &[]);
    terminal.asks_for_a_secret("Password:");
    terminal.types("one\n");
    terminal.asks_for_a_secret("Again:");
    terminal.types("other\n");
    let (status, screen) = terminal.ends();
    assert_eq!(status, 2);
    assert!(screen.contains("error: the two passwords differ"), "{screen}");
}
