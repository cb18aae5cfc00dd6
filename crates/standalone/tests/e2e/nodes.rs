//! Booted hosts that are nodes of a Kubernetes: cordoned, drained, rebooted, ready again and uncordoned.
//!
//! The Kubernetes is the stand-in API server, over TLS; the account of the container manager has the rights of
//! `conf/kubernetes/rbac.yaml`. What was done to nodes and pods is read from the log of effects of the stand-in, and what
//! was done to hosts from the hosts.

pub(crate) mod fleet;
pub(crate) mod stand_in;

use std::path::Path;
use std::time::Duration;

use daemons::Daemon;
use jiff::{SignedDuration, Timestamp};
use model::Stamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::fleet::{Fleet, node};
use self::stand_in::{ACCOUNT, Effect};
use crate::processes::Form;
use crate::receiver::Receiver;
use crate::server::{Server, eventually};

/// Steps of a host at which a process is killed.
const STEPS: [&str; 4] = ["cordon", "drain", "ready", "uncordon"];

/// Leases expire quickly, and nodes count as ready after two seconds.
fn config() -> Value {
    json!({"lease-ttl": 8, "clusterexec": {"defaults": {"ready": {"settle": 2}}}})
}

async fn nodes_are_restarted_one_at_a_time(form: Form) {
    let count = 6;
    let Some(fleet) = Fleet::start("nodes_are_restarted_one_at_a_time", count).await else {
        return;
    };
    fleet.deploy("web", count, 1, None).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    let start = ["cluster", "restart", "start", "--wait", "c1"];
    let (status, stdout, stderr) = server.commctl(&start);
    assert_eq!(status, 0, "{stdout}{stderr}");
    // A host is shown as restarted once, after its node is uncordoned.
    for host in 0..count {
        let lines: Vec<_> =
            stderr.lines().filter_map(|line| line.strip_prefix(fleet.address(host))).collect();
        let restarted = format!(" restarted ({} of {count})", host + 1);
        assert_eq!(lines.iter().filter(|line| line.contains("restarted")).count(), 1, "{stderr}");
        assert_eq!(lines.last(), Some(&restarted.as_str()), "{stderr}");
    }
    fleet.assert_rebooted(&(0..count).collect::<Vec<_>>());
    assert_eq!(fleet.cordoned().await, Vec::<String>::new());
    let effects = fleet.api.effects().await;
    let turns: Vec<_> = (0..count).map(|host| turn(&fleet, &effects, host)).collect();
    for pair in turns.windows(2) {
        assert!(pair[0].1 < pair[1].0, "two nodes were cordoned at a time: {pair:?}");
    }
}

/// The positions of the cordon and the uncordon of a node in the log of effects; checks what is between them.
fn turn(fleet: &Fleet, effects: &[Effect], host: usize) -> (usize, usize) {
    let name = node(host);
    let position = |what: &str, is_wanted: &dyn Fn(&Effect) -> bool| {
        let found: Vec<_> = (0..effects.len()).filter(|at| is_wanted(&effects[*at])).collect();
        assert_eq!(found.len(), 1, "{what} of {name}: {found:?} in {effects:#?}");
        found[0]
    };
    let is_ours = |effect: &Effect| effect.user == ACCOUNT;
    let cordon = position("cordon", &|effect| {
        is_ours(effect) && effect.changes("nodes", &name, "unschedulable=true")
    });
    let uncordon = position("uncordon", &|effect| {
        is_ours(effect) && effect.changes("nodes", &name, "unschedulable=-")
    });
    let boot_id = format!("bootID={}", fleet.testbed.boot_id(host));
    let report = position("report of the boot id", &|effect| {
        effect.subresource == "status" && effect.changes("nodes", &name, &boot_id)
    });
    // The pods that were scheduled on the node before its cordon.
    let binding = format!("nodeName={name}");
    let pods = effects[..cordon].iter().filter(|effect| effect.subresource == "binding");
    let pods = pods.filter(|effect| effect.changes("pods", &effect.name, &binding));
    let pods: Vec<_> = pods.map(|effect| &effect.name).collect();
    let evicted: Vec<_> = (0..effects.len())
        .filter(|at| {
            let effect = &effects[*at];
            let is_eviction = is_ours(effect) && effect.subresource == "eviction";
            is_eviction && effect.status == 201 && pods.contains(&&effect.name)
        })
        .collect();
    assert!(!evicted.is_empty(), "{name} had the pods {pods:?}");
    let is_in_time = |at: &usize| (cordon..report).contains(at);
    assert!(evicted.iter().all(is_in_time), "{name}: {cordon} {evicted:?} {report}");
    assert!(cordon < report && report < uncordon, "{name}: {cordon} {report} {uncordon}");
    (cordon, uncordon)
}

async fn node_is_not_uncordoned_before_its_kubelet_reports_the_new_boot_id(form: Form) {
    const LATE: Duration = Duration::from_mins(1);
    let test = "node_is_not_uncordoned_before_its_kubelet_reports";
    let Some(fleet) = Fleet::start(test, 2).await else { return };
    fleet.deploy("web", 2, 1, None).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    fleet.delay_reports(1, LATE);
    server.put("/cluster/c1/restart", json!({"hosts": [fleet.address(1)]})).await;
    let event = fleet.event(&server, 1, "still reports the boot id").await;
    assert_eq!((&event["step"], &event["outcome"]), (&json!("ready"), &json!("waiting")));
    // The API server calls the node Ready, with the boot before.
    let shown = fleet.api.get("/api/v1/nodes/w1").await;
    assert_eq!(shown["status"]["nodeInfo"]["bootID"], fleet.first_boots[1].as_str());
    let ready = shown["status"]["conditions"].as_array().unwrap().iter();
    let ready = ready.clone().find(|condition| condition["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "True", "{shown}");
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation}");
    let effects = fleet.api.effects().await;
    let (cordon, uncordon) = turn(&fleet, &effects, 1);
    let cordoned = effects[uncordon].at.saturating_sub(effects[cordon].at);
    eprintln!("the node was cordoned for {cordoned:?}; its kubelet reported after {LATE:?}");
    assert!(cordoned >= LATE, "{effects:#?}");
    fleet.assert_rebooted(&[1]);
}

async fn budget_that_allows_nothing_postpones_its_host_and_pauses_the_operation(form: Form) {
    let test = "budget_that_allows_nothing_postpones_its_host";
    let Some(fleet) = Fleet::start(test, 3).await else { return };
    fleet.deploy("shop", 1, 0, Some(0)).await;
    let receiver = Receiver::start("/").await;
    let mut config = config();
    config["clusterexec"]["webhook-url"] = json!(receiver.url);
    let server = Server::start(form, config).await;
    fleet.cluster(&server).await;
    let drain = json!({"timeout": 30, "attempts": 1});
    server.put("/cluster/c1/restart", json!({"drain": drain})).await;
    let event = fleet.event(&server, 0, "cannot be evicted").await;
    let sentence = event["detail"].as_str().unwrap();
    let expected = "drain of node w0: 1 pod cannot be evicted: disruption budget default/shop ";
    assert!(sentence.starts_with(expected), "{sentence}");
    assert_eq!((&event["step"], &event["outcome"]), (&json!("drain"), &json!("waiting")));
    let operation = server.operation().await;
    let wait = &operation["hosts"][0]["wait"];
    assert_eq!(operation["hosts"][0]["step"], "drain", "{operation}");
    assert!(wait["detail"].as_str().unwrap().starts_with(expected), "{operation}");
    let explained = server.get(&format!("/explain/host/{}", fleet.address(0))).await;
    assert!(explained.to_string().contains(expected.trim_end()), "{explained}");
    let id = operation["id"].as_str().unwrap();
    for command in [
        &["operation", "get", id][..],
        &["explain", fleet.address(0)],
        &["cluster", "restart", "status", "--follow", "--timeout", "1s", "c1"],
    ] {
        let (_, stdout, stderr) = server.commctl(command);
        // YAML breaks long lines.
        let shown = format!("{stdout} {stderr}");
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(expected.trim_end()), "{command:?}: {shown}");
    }
    let is_blocked = |body: &Value, resolved: bool| {
        body["event"] == "drain-blocked" && body["resolved"] == resolved
    };
    let delivery = receiver.next(|body| is_blocked(body, false)).await;
    assert!(delivery.body["explanation"].to_string().contains(expected), "{}", delivery.body);
    let effects = fleet.api.effects().await;
    let refusal = effects.iter().find(|effect| effect.subresource == "eviction").unwrap();
    assert_eq!((refusal.user.as_str(), refusal.status), (ACCOUNT, 429), "{refusal:?}");
    let refusal = fleet.api.time_of(refusal).await;
    for (what, shown) in [
        ("the event", stamp(&event["time"])),
        ("the wait of the host", stamp(&wait["since"])),
        ("the webhook", delivery.at),
    ] {
        let after = shown.duration_since(refusal);
        eprintln!("{what} is {after:#} after the refusal of the eviction");
        // The clocks of the stand-in and of the product are those of this machine. That it takes five seconds at most is
        // tested in paused time.
        let is_soon = !after.is_negative() && after <= SignedDuration::from_secs(50);
        assert!(is_soon, "{what}: {after:#} after the refusal");
    }

    let paused = server.state("paused").await;
    let part = &paused["hosts"][0];
    assert_eq!(part["step"], "pending", "{paused}");
    assert!(part["postponed"].as_str().unwrap().starts_with(expected), "{paused}");
    assert!((1..3).all(|host| paused["hosts"][host]["step"] == "done"), "{paused}");
    fleet.assert_rebooted(&[1, 2]);
    fleet.uncordoned(&server).await;
    receiver.next(|body| is_blocked(body, true)).await;
    receiver.next(|body| body["event"] == "paused" && body["resolved"] == false).await;
    let (_, shown, _) = server.commctl(&["explain", "c1"]);
    assert_eq!(shown.matches("could not be drained").count(), 1, "{shown}");
    assert!(shown.contains(expected) && shown.contains("commctl operation resume"), "{shown}");

    // The operator changes the budget and resumes the operation.
    fleet.set_budget("shop", 1).await;
    server.tell("resume").await;
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation}");
    fleet.assert_rebooted(&[0, 1, 2]);
    fleet.uncordoned(&server).await;
}

/// A time in a record.
fn stamp(value: &Value) -> Timestamp {
    serde_json::from_value::<Stamp>(value.clone()).unwrap().timestamp().unwrap()
}

async fn pod_without_a_controller_rejects_the_start(form: Form) {
    let Some(fleet) = Fleet::start("pod_without_a_controller_rejects", 2).await else { return };
    fleet.create_naked_pod("naked", 1).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    let before = fleet.api.changes().await;
    let (status, refusal) = server.call(Method::PUT, "/cluster/c1/restart", json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refusal}");
    let detail = refusal["detail"].as_str().unwrap();
    assert!(detail.contains("default/naked") && detail.contains("w1"), "{refusal}");
    assert_eq!(fleet.api.changes().await, before);
    assert_eq!(server.get("/cluster/c1/operations").await, json!([]));
    assert_eq!(fleet.cordoned().await, Vec::<String>::new());
    fleet.assert_rebooted(&[]);
}

/// Host after host, a kill at the next one of the steps.
async fn killed_at_each_step_of_a_node_it_leaves_no_cordon(form: Form) {
    let test = "killed_at_each_step_of_a_node";
    let Some(fleet) = Fleet::start(test, STEPS.len()).await else { return };
    fleet.deploy("web", STEPS.len(), 1, None).await;
    let mut server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    // A cordon and an uncordon take as long as the other steps.
    fleet.api.fault_of_node_patches(json!({"delay": {"secs": 2, "nanos": 0}})).await;
    server.put("/cluster/c1/restart", json!({})).await;
    for (host, step) in STEPS.into_iter().enumerate() {
        fleet.at(&server, host, step).await;
        if form == Form::OneProcess {
            server.processes.kill_all();
            server.start_again().await;
        } else {
            server.processes.kill(Some(Daemon::Clusterexec), 0);
            server.processes.start_blindly();
        }
    }
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation} {}", events(&server).await);
    assert_eq!(operation["counts"]["done"], STEPS.len(), "{operation}");
    fleet.uncordoned(&server).await;
    fleet.assert_rebooted(&[0, 1, 2, 3]);
}

/// Four hosts under way, each at another step, when an outage of a minute begins; the fifth was the first one.
async fn api_server_unavailable_at_each_step_of_a_node_leaves_no_cordon(form: Form) {
    const OUTAGE: Duration = Duration::from_mins(1);
    const AT: [(usize, &str); 4] = [(4, "cordon"), (3, "drain"), (2, "ready"), (1, "uncordon")];
    const LONG: Duration = Duration::from_hours(1);
    let test = "api_server_unavailable_at_each_step_of_a_node";
    let Some(fleet) = Fleet::start(test, 5).await else { return };
    fleet.add_spare_node().await;
    fleet.deploy("web", 10, 10, None).await;
    fleet.deploy("shop", 1, 0, Some(3)).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    // What holds each host at its step until all are there.
    fleet.api.fault_of_patches(&node(4), json!("close-before")).await;
    fleet.delay_reports(2, LONG);
    fleet.delay_reports(1, LONG);
    server.put("/cluster/c1/restart", json!({"max_unavailable": 4})).await;
    for (host, step) in [(4, "cordon"), (3, "drain"), (2, "ready"), (1, "ready")] {
        fleet.at(&server, host, step).await;
    }
    fleet.event(&server, 3, "cannot be evicted").await;
    fleet.api.fault_of_patches(&node(1), json!("close-before")).await;
    fleet.report_now(1).await;
    fleet.at(&server, 1, "uncordon").await;

    fleet.api.set_unavailable(true).await;
    fleet.api.clear_faults().await;
    sleep(OUTAGE).await;
    for (host, step) in AT {
        fleet.assert_says_that_the_api_server_is_unavailable(&server, host, step).await;
    }
    fleet.api.set_unavailable(false).await;

    fleet.set_budget("shop", 1).await;
    eventually("the other host is at its step", async || {
        let part = fleet.part(&server, 2).await?;
        (part["step"] == "ready").then_some(())
    })
    .await;
    fleet.report_now(2).await;
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation} {}", events(&server).await);
    assert_eq!(operation["counts"]["done"], 5, "{operation}");
    fleet.uncordoned(&server).await;
    fleet.assert_each_rebooted_once(&[0, 1, 2, 3, 4]);
}

impl Fleet {
    /// The host shows what it waits for; at its last step it is done, and its node is a debt.
    async fn assert_says_that_the_api_server_is_unavailable(
        &self,
        server: &Server,
        host: usize,
        step: &str,
    ) {
        let part = self.part(server, host).await.unwrap();
        let says = "does not answer";
        if step == "uncordon" {
            let debt = self.debt(server, host).await.unwrap();
            assert_eq!((&part["step"], &debt["state"]), (&json!("done"), &json!("due")), "{debt}");
            assert_eq!(debt["node"], node(host).as_str(), "{debt}");
            self.event(server, host, says).await;
        } else {
            assert_eq!(part["step"], step, "{part}");
            assert!(part["wait"]["detail"].as_str().unwrap().contains(says), "{part}");
        }
    }
}

/// A token that is replaced while an operation is under way: the old one is rejected before the new one is there.
async fn token_that_is_replaced_in_its_file_is_used_by_the_operation_under_way(form: Form) {
    let Some(fleet) = Fleet::start("token_that_is_replaced_in_its_file", 2).await else { return };
    fleet.deploy("web", 2, 1, None).await;
    let credentials = tempfile::tempdir().unwrap();
    let (old, new) = (fleet.api.new_token().await, fleet.api.new_token().await);
    replace_token(credentials.path(), &old);
    let mut config = config();
    config["containermgr"] = json!({"credentials-directory": credentials.path()});
    let server = Server::start(form, config).await;
    fleet.cluster_with(&server, fleet.api.options_with("token_path", "token")).await;
    // A cordon takes as long as the other steps.
    fleet.api.fault_of_node_patches(json!({"delay": {"secs": 2, "nanos": 0}})).await;
    server.put("/cluster/c1/restart", json!({})).await;
    fleet.at(&server, 0, "cordon").await;
    fleet.api.revoke(&old).await;
    let event = fleet.event(&server, 0, "the token or certificate is not accepted").await;
    assert_eq!(event["outcome"], "waiting", "{event}");
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains("container manager k"), "{event}");
    let waits = fleet.part(&server, 0).await.unwrap();
    assert!(waits["wait"]["detail"].as_str().unwrap().contains("not accepted"), "{waits}");
    fleet.assert_rebooted(&[]);
    let rejected = fleet.api.effects().await.len();

    replace_token(credentials.path(), &new);
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation} {}", events(&server).await);
    assert_eq!(operation["counts"]["done"], 2, "{operation}");
    fleet.uncordoned(&server).await;
    fleet.assert_rebooted(&[0, 1]);
    let effects = fleet.api.effects().await;
    assert!(effects[rejected..].iter().any(|effect| effect.user == ACCOUNT));
    // Without a valid token nothing is started.
    fleet.api.revoke(&new).await;
    let (status, refusal) = server.call(Method::PUT, "/cluster/c1/restart", json!({})).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{refusal}");
    let refused = refusal["detail"].as_str().unwrap();
    for words in ["container manager k", "the token or certificate is not accepted"] {
        assert!(refused.contains(words), "{refusal}");
    }
    fleet.assert_rebooted(&[0, 1]);
    eprintln!("refused: {refused}");
    let log = server.log();
    assert!(!log.contains(&old) && !log.contains(&new), "a token is in the log");
    eprintln!("rejected: {detail}");
}

/// Replaces the file at once, as those who write tokens do; a tool that prints a token ends it with a line feed.
fn replace_token(folder: &Path, token: &str) {
    let new = folder.join("token.new");
    std::fs::write(&new, format!("{token}\n")).unwrap();
    std::fs::rename(new, folder.join("token")).unwrap();
}

/// The role of the account without one verb: which of them there are, and what each means, is in
/// `clusterexec-svc rights`.
async fn missing_right_is_named_and_leaves_no_cordon(form: Form) {
    let Some(fleet) = Fleet::start("missing_right_is_named", 2).await else { return };
    fleet.deploy("web", 2, 1, None).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    let path = "/cluster/c1/restart";
    for right in [
        // It is read once, and remembered: the first of them.
        ("get", "namespaces"),
        ("list", "nodes"),
        ("list", "pods"),
        ("list", "daemonsets"),
        ("list", "poddisruptionbudgets"),
    ] {
        fleet.api.grant(Some(right)).await;
        let (status, refusal) = server.call(Method::PUT, path, json!({})).await;
        let detail = refusal["detail"].as_str().unwrap();
        eprintln!("without {right:?}: {status}: {detail}");
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{right:?}: {refusal}");
        assert!(names(detail, right), "{right:?}: {refusal}");
        assert!(detail.contains("conf/kubernetes/rbac.yaml"), "{right:?}: {refusal}");
        let dry_run = ["cluster", "restart", "start", "--dry-run", "c1"];
        let (status, stdout, stderr) = server.commctl(&dry_run);
        assert_eq!(status, 1, "{stdout}{stderr}");
        assert!(names(&stderr, right), "{right:?}: {stderr}");
    }
    assert_eq!(server.get("/cluster/c1/operations").await, json!([]));
    assert_eq!(fleet.api.changes().await, Vec::<String>::new());

    // Rights that are missing later: the host is postponed, each time the operation continues.
    let options = json!({"hosts": [fleet.address(0)], "drain": {"attempts": 1}});
    let rights = [
        ("get", "nodes"),
        ("get", "csinodes"),
        ("patch", "nodes"),
        ("create", "pods/eviction"),
        ("list", "volumeattachments"),
    ];
    for (turn, right) in rights.into_iter().enumerate() {
        fleet.api.grant(Some(right)).await;
        if turn == 0 {
            server.put(path, options.clone()).await;
        } else {
            server.tell("resume").await;
        }
        // The reason of the turn before stays until the host is started again.
        let postponed = eventually("the host is postponed, and the operation paused", async || {
            let operation = server.operation().await;
            let postponed = operation["hosts"][0]["postponed"].as_str()?;
            let is_paused = operation["state"] == "paused" && names(postponed, right);
            is_paused.then(|| postponed.to_owned())
        })
        .await;
        eprintln!("without {right:?}: postponed: {postponed}");
        fleet.uncordoned(&server).await;
    }
    fleet.assert_rebooted(&[]);
    fleet.api.grant(None).await;
    server.tell("resume").await;
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation} {}", events(&server).await);
    fleet.uncordoned(&server).await;
    fleet.assert_rebooted(&[0]);

    // A node that is ready again and cannot be uncordoned is a debt.
    fleet.delay_reports(1, Duration::from_secs(10));
    server.put(path, json!({"hosts": [fleet.address(1)]})).await;
    fleet.at(&server, 1, "ready").await;
    fleet.api.grant(Some(("patch", "nodes"))).await;
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation} {}", events(&server).await);
    let debt = eventually("the debt has a reason", async || {
        let debt = fleet.debt(&server, 1).await?;
        names(debt["reason"].as_str()?, ("patch", "nodes")).then_some(debt)
    })
    .await;
    assert_eq!(debt["state"], "due", "{debt}");
    let (_, shown, _) = server.commctl(&["explain"]);
    eprintln!("{shown}");
    assert!(names(&shown, ("patch", "nodes")) && shown.contains("w1"), "{shown}");
    assert_eq!(fleet.cordoned().await, ["w1"]);
    fleet.api.grant(None).await;
    fleet.uncordoned(&server).await;
    fleet.assert_rebooted(&[0, 1]);
}

/// Whether a sentence names the verb and the resource of a right.
fn names(sentence: &str, (verb, resource): (&str, &str)) -> bool {
    sentence.contains(&format!("cannot {verb} resource \"{resource}\""))
}

/// The log of the newest operation, a line an event.
async fn events(server: &Server) -> String {
    let events = server.events().await;
    events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

forms!(
    both: [
        nodes_are_restarted_one_at_a_time,
        node_is_not_uncordoned_before_its_kubelet_reports_the_new_boot_id,
        budget_that_allows_nothing_postpones_its_host_and_pauses_the_operation,
        pod_without_a_controller_rejects_the_start,
        killed_at_each_step_of_a_node_it_leaves_no_cordon,
        api_server_unavailable_at_each_step_of_a_node_leaves_no_cordon,
        token_that_is_replaced_in_its_file_is_used_by_the_operation_under_way,
        missing_right_is_named_and_leaves_no_cordon
    ],
    one_process: [],
    distributed: [],
    full: [],
);
