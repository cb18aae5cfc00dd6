//! Booted hosts that are nodes of a Kubernetes: cordoned, drained, rebooted, ready again and uncordoned.
//!
//! The Kubernetes is the stand-in API server, over TLS; the account of the container manager has the rights of
//! `conf/kubernetes/rbac.yaml`. What was done to nodes and pods is read from the log of effects of the stand-in, and what
//! was done to hosts from the hosts.

pub(crate) mod fleet;
pub(crate) mod stand_in;

use std::time::Duration;

use daemons::Daemon;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::fleet::{Fleet, node};
use self::stand_in::{ACCOUNT, Effect};
use crate::processes::Form;
use crate::server::Server;

/// Steps of a host at which a process is killed, or the API server becomes unavailable.
const STEPS: [&str; 4] = ["cordon", "drain", "ready", "uncordon"];

/// Leases expire quickly, and nodes count as ready after two seconds.
fn config() -> Value {
    json!({"lease-ttl": 8, "clusterexec": {"defaults": {"ready": {"settle": 2}}}})
}

async fn nodes_are_restarted_one_at_a_time(form: Form) {
    let count = if form == Form::OneProcess { 6 } else { 3 };
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
    const LATE: Duration = Duration::from_secs(20);
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
    assert!(effects[uncordon].at >= effects[cordon].at + LATE, "{effects:#?}");
    fleet.assert_rebooted(&[1]);
}

async fn budget_that_allows_nothing_postpones_its_host_and_pauses_the_operation(form: Form) {
    let test = "budget_that_allows_nothing_postpones_its_host";
    let Some(fleet) = Fleet::start(test, 3).await else { return };
    fleet.deploy("shop", 1, 0, Some(0)).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    let drain = json!({"timeout": 10, "attempts": 1});
    server.put("/cluster/c1/restart", json!({"drain": drain})).await;
    let event = fleet.event(&server, 0, "cannot be evicted").await;
    let sentence = event["detail"].as_str().unwrap();
    let expected = "drain of node w0: 1 pod cannot be evicted: disruption budget default/shop ";
    assert!(sentence.starts_with(expected), "{sentence}");
    assert_eq!((&event["step"], &event["outcome"]), (&json!("drain"), &json!("waiting")));
    let operation = server.operation().await;
    assert_eq!(operation["hosts"][0]["step"], "drain", "{operation}");
    assert!(operation["hosts"][0]["wait"]["detail"].as_str().unwrap().starts_with(expected));
    let id = operation["id"].as_str().unwrap();
    for command in [&["operation", "get", id][..], &["explain", fleet.address(0)]] {
        // YAML breaks long lines.
        let (_, shown, _) = server.commctl(command);
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(expected.trim_end()), "{shown}");
    }

    let paused = server.state("paused").await;
    let part = &paused["hosts"][0];
    assert_eq!(part["step"], "pending", "{paused}");
    assert!(part["postponed"].as_str().unwrap().starts_with(expected), "{paused}");
    assert!((1..3).all(|host| paused["hosts"][host]["step"] == "done"), "{paused}");
    fleet.assert_rebooted(&[1, 2]);
    fleet.uncordoned(&server).await;
    let (_, shown, _) = server.commctl(&["explain", "c1"]);
    assert_eq!(shown.matches("could not be drained").count(), 1, "{shown}");
    assert!(shown.contains(expected) && shown.contains("commctl operation resume"), "{shown}");

    // The operator changes the budget and resumes the operation.
    let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/shop";
    let budget = json!({"spec": {"maxUnavailable": 1}});
    fleet.api.call(Method::PATCH, path, &budget).await;
    server.tell("resume").await;
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation}");
    fleet.assert_rebooted(&[0, 1, 2]);
    fleet.uncordoned(&server).await;
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

/// Host after host, an outage that begins at the next one of the steps.
async fn api_server_unavailable_at_each_step_of_a_node_leaves_no_cordon(form: Form) {
    const OUTAGE: Duration = Duration::from_secs(30);
    let test = "api_server_unavailable_at_each_step_of_a_node";
    let Some(fleet) = Fleet::start(test, STEPS.len()).await else { return };
    fleet.deploy("web", STEPS.len(), 1, None).await;
    let server = Server::start(form, config()).await;
    fleet.cluster(&server).await;
    for (host, step) in STEPS.into_iter().enumerate() {
        if host == 0 {
            fleet.api.fault_of_node_patches(json!("close-before")).await;
            server.put("/cluster/c1/restart", json!({})).await;
        }
        if step == "uncordon" {
            fleet.at(&server, host, "ready").await;
            fleet.api.fault_of_node_patches(json!("close-before")).await;
        }
        fleet.at(&server, host, step).await;
        fleet.api.set_unavailable(true).await;
        fleet.api.clear_faults().await;
        sleep(OUTAGE).await;
        fleet.assert_says_that_the_api_server_is_unavailable(&server, host, step).await;
        fleet.api.set_unavailable(false).await;
    }
    let operation = fleet.ended(&server).await;
    assert_eq!(operation["status"], "finished", "{operation} {}", events(&server).await);
    assert_eq!(operation["counts"]["done"], STEPS.len(), "{operation}");
    fleet.uncordoned(&server).await;
    fleet.assert_rebooted(&[0, 1, 2, 3]);
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
            let debt = server.stored("/commissaire/cordon_debts/").await.unwrap();
            assert_eq!((&part["step"], &debt["state"]), (&json!("done"), &json!("due")), "{debt}");
            assert_eq!(debt["node"], node(host).as_str(), "{debt}");
            self.event(server, host, says).await;
        } else {
            assert_eq!(part["step"], step, "{part}");
            assert!(part["wait"]["detail"].as_str().unwrap().contains(says), "{part}");
        }
    }
}

/// The log of the newest operation, a line an event.
async fn events(server: &Server) -> String {
    let events = server.events().await;
    events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

forms!(
    both: [nodes_are_restarted_one_at_a_time, killed_at_each_step_of_a_node_it_leaves_no_cordon],
    one_process: [
        node_is_not_uncordoned_before_its_kubelet_reports_the_new_boot_id,
        pod_without_a_controller_rejects_the_start
    ],
    distributed: [
        budget_that_allows_nothing_postpones_its_host_and_pauses_the_operation,
        api_server_unavailable_at_each_step_of_a_node_leaves_no_cordon
    ],
    full: [],
);
