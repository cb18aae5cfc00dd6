//! Operations on hosts that are nodes of a Kubernetes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use clusterexec_svc::Config;
use model::{BudgetClaims, DebtState, HostPlacement, OperationStatus, Outcome, Step, Wanted};
use serde_json::{Value, json};
use simulated_kubernetes::{Effect, Fault, FaultAction, MASTERS, NodeSettings};
use tokio::time::{Instant, sleep};

use crate::fleet::{Executor, address};
use crate::kubernetes::{KubernetesFleet, USER, node};

#[tokio::test(start_paused = true)]
async fn nodes_are_cordoned_and_drained_before_their_reboot_and_uncordoned_afterwards() {
    let all = KubernetesFleet::start(3, 0).await;
    all.deploy("web", 6, 1).await;
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    let ended = all.fleet.ended("o1").await;
    assert_eq!(ended.status, OperationStatus::Finished, "{:?}", all.fleet.events("o1").await);
    all.fleet.assert_commands(&[0, 1, 2], 1);
    let changes = all.changes();
    for number in 0..3 {
        assert!(!all.is_cordoned(number));
        let place = |what: &str| {
            let found = changes.iter().position(|change| {
                change.contains(&format!("nodes {}", node(number))) && change.contains(what)
            });
            found.unwrap_or_else(|| panic!("{what} of {number} in {changes:#?}"))
        };
        assert!(place("unschedulable=true") < place("unschedulable=-"), "{changes:#?}");
        let part = all.fleet.part("o1", number).await;
        let node = part.node.unwrap();
        assert!(node.was_ready && !node.is_cordoned);
        assert_ne!(part.boot_id_after, part.boot_id_before);
    }
    assert_eq!(all.debts().await, []);
    // The pods are where they can be.
    assert_eq!((0..3).map(|number| all.pods_on(number).len()).sum::<usize>(), 6);
}

#[tokio::test(start_paused = true)]
async fn drain_that_a_budget_blocks_postpones_its_host_and_pauses_the_operation_at_the_end() {
    let all = KubernetesFleet::start(3, 0).await;
    all.deploy("web", 3, 0).await;
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"drain": {"timeout": 60, "attempts": 2}})).await.unwrap();
    let blocked = async || {
        let events = all.fleet.logged("o1", 0, Step::Drain).await;
        events.into_iter().find(|(outcome, _)| *outcome == Outcome::Waiting)
    };
    let (_, sentence) = all.fleet.until("the drain is blocked", blocked).await;
    assert!(sentence.starts_with("drain of node w0: 1 pod cannot be evicted: "), "{sentence}");
    assert!(sentence.contains("default/web"), "{sentence}");
    let second_turn = async || {
        let part = all.fleet.part("o1", 0).await;
        (part.step == Step::Drain && part.postponements == 1).then_some(())
    };
    all.fleet.until("its second turn", second_turn).await;
    let debts = all.debts().await;
    assert!(debts.contains(&("w0".to_owned(), DebtState::Held)), "{debts:?}");
    let reason = all.fleet.paused("o1").await;
    assert!(reason.contains("only hosts are left whose nodes could not be drained"), "{reason}");
    assert!(all.fleet.hosts.commands().is_empty(), "nothing was rebooted");
    all.settled().await;
    assert!((0..3).all(|number| !all.is_cordoned(number)));
    for number in 0..3 {
        let part = all.fleet.part("o1", number).await;
        assert_eq!(part.step, Step::Pending);
        assert!(part.postponed.unwrap().starts_with("drain of node"), "{number}");
    }
    // Once the budget allows it and the operation is resumed, all are restarted.
    let mut budget = all.kubernetes.object("poddisruptionbudgets", "default", "web").unwrap();
    budget["spec"]["maxUnavailable"] = json!(1);
    all.kubernetes.apply(budget);
    all.fleet.say("o1", Wanted::Run).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(all.fleet.hosts.commands().len(), 3);
    assert_eq!(all.debts().await, []);
}

#[tokio::test(start_paused = true)]
async fn paused_operation_evicts_no_further_pod() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 0).await;
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"drain": {"timeout": 60}})).await.unwrap();
    all.fleet.at("o1", 0, Step::Drain).await;
    all.fleet.say("o1", Wanted::Pause).await;
    sleep(Duration::from_secs(5)).await;
    let mut budget = all.kubernetes.object("poddisruptionbudgets", "default", "web").unwrap();
    budget["spec"]["maxUnavailable"] = json!(1);
    all.kubernetes.apply(budget);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(all.pods_on(0).len(), 1, "nothing is evicted");
    assert_eq!(all.fleet.part("o1", 0).await.step, Step::Drain, "nor does its time run out");
    all.fleet.say("o1", Wanted::Run).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn host_whose_node_may_not_be_read_is_postponed_only_so_often() {
    let all = KubernetesFleet::start(1, 0).await;
    all.kubernetes.add_node(&NodeSettings::new("spare", "10.9.9.9"));
    let executor = all.fleet.executor().await;
    let denied = Fault::new(FaultAction::Answer {
        status: 403,
        headers: Vec::new(),
        body: json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                     "reason": "Forbidden", "message": "pods is forbidden"})
        .to_string(),
    });
    executor.start("restart", json!({})).await.unwrap();
    all.kubernetes.fault(denied.on_path("/api/v1/pods"));
    let reason = all.fleet.paused("o1").await;
    assert!(reason.contains("pods is forbidden"), "{reason}");
    let postponed = all.fleet.events("o1").await.into_iter();
    let postponed = postponed.filter(|event| event.outcome == Outcome::Postponed).count();
    assert_eq!(postponed, 3);
    all.kubernetes.clear_faults();
    all.fleet.say("o1", Wanted::Run).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn cordons_of_others_are_left_alone() {
    let all = KubernetesFleet::start(3, 0).await;
    all.change_node(1, |node| node["spec"]["unschedulable"] = json!(true));
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"max_unavailable": 2})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    all.fleet.assert_commands(&[0, 2], 2);
    assert!(all.is_cordoned(1));
    let skipped = all.fleet.part("o1", 1).await;
    assert_eq!(skipped.step, Step::Skipped);
    assert!(skipped.skipped.unwrap().contains("cordoned by"), "it says by whom");
    let executor_options = json!({"cluster_name": "c1", "operation_id": "o2",
        "options": {"max_unavailable": 2, "drain": {"include_cordoned": true}}});
    executor.ask("restart", executor_options).await.unwrap();
    assert_eq!(all.fleet.ended("o2").await.status, OperationStatus::Finished);
    let last = all.fleet.hosts.commands().pop().unwrap();
    assert_eq!(last.address, address(1).as_str(), "it is the last one");
    assert!(all.is_cordoned(1), "and its cordon stays");
}

#[tokio::test(start_paused = true)]
async fn operation_is_rejected_while_pods_without_a_controller_block_it() {
    let all = KubernetesFleet::start(2, 0).await;
    all.kubernetes.apply(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "naked", "namespace": "default"},
        "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "i"}]}}));
    sleep(Duration::from_secs(5)).await;
    let executor = all.fleet.executor().await;
    let refused = executor.start("restart", json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("default/naked") && refused.contains("w1"), "{refused}");
    assert!(all.changes().is_empty(), "nothing was started");
    executor.start("restart", json!({"drain": {"force": true}})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    assert!(all.kubernetes.object("pods", "default", "naked").is_none());
}

#[tokio::test(start_paused = true)]
async fn host_that_runs_a_kubelet_and_is_no_node_is_never_touched() {
    let all = KubernetesFleet::start(2, 0).await;
    // The address now belongs to another machine.
    all.fleet.hosts.edit(&address(0), |machine| machine.facts.machine_id = "f".repeat(32));
    all.kubernetes.kubelet_down("w0");
    all.fleet.hosts.reboot(&address(0));
    all.kubernetes.kubelet_down("w0");
    let executor = all.fleet.executor().await;
    executor
        .start("restart", json!({"max_failures": 1, "hosts": [address(0).as_str()]}))
        .await
        .ok();
    sleep(Duration::from_mins(5)).await;
    assert!(all.fleet.hosts.commands().is_empty());
    assert!(!all.is_cordoned(0));
}

#[tokio::test(start_paused = true)]
async fn node_is_uncordoned_after_an_outage_of_the_api_server_that_began_at_any_step() {
    for step in [Step::Cordon, Step::Drain, Step::Verify, Step::Ready, Step::Uncordon] {
        let all = KubernetesFleet::start(2, 0).await;
        all.deploy("web", 2, 1).await;
        all.slow_down();
        let executor = all.fleet.executor().await;
        executor.start("restart", json!({})).await.unwrap();
        all.fleet.at("o1", 0, step).await;
        all.kubernetes.set_api_unavailable(true);
        sleep(Duration::from_mins(1)).await;
        all.kubernetes.set_api_unavailable(false);
        let ended = all.fleet.ended("o1").await;
        assert_eq!(
            ended.status,
            OperationStatus::Finished,
            "{step} {:?}",
            all.fleet.events("o1").await
        );
        all.settled().await;
        assert!((0..2).all(|number| !all.is_cordoned(number)), "{step}");
        all.fleet.assert_commands(&[0, 1], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_is_not_ready_again_stays_cordoned_until_it_is() {
    let all = KubernetesFleet::start(2, 0).await;
    all.slow_down();
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"ready": {"timeout": 120}})).await.unwrap();
    all.fleet.at("o1", 0, Step::Drain).await;
    all.kubernetes.set_kubelet_ready("w0", false);
    let ended = all.fleet.ended("o1").await;
    assert_eq!(ended.status, OperationStatus::Failed);
    let part = all.fleet.part("o1", 0).await;
    assert_eq!((part.step, part.reason.as_str()), (Step::Failed, "node-not-ready"));
    assert!(all.is_cordoned(0));
    assert_eq!(all.debts().await, [("w0".to_owned(), DebtState::Kept)]);
    all.kubernetes.set_kubelet_ready("w0", true);
    all.settled().await;
    assert!(!all.is_cordoned(0) && all.fleet.part("o1", 0).await.late);
}

#[tokio::test(start_paused = true)]
async fn node_that_is_ready_for_too_short_at_the_deadline_fails_its_host_with_that_reason() {
    let all = KubernetesFleet::start(2, 0).await;
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"ready": {"timeout": 60, "settle": 59}})).await.unwrap();
    all.fleet.at("o1", 0, Step::Verify).await;
    all.kubernetes.set_kubelet_ready("w0", false);
    all.fleet.at("o1", 0, Step::Ready).await;
    all.kubernetes.set_kubelet_ready("w0", true);
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Failed);
    let failure = all.fleet.part("o1", 0).await.failure.unwrap();
    let message = serde_json::to_string(&failure).unwrap();
    assert!(message.contains("it is ready, but only for "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn node_that_others_uncordon_is_cordoned_again_once() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 0).await;
    let executor = all.fleet.executor().await;
    let options = json!({"drain": {"timeout": 300, "attempts": 1}});
    executor.start("restart", options).await.unwrap();
    for _ in 0..2 {
        all.fleet.until("it is cordoned", async || all.is_cordoned(0).then_some(())).await;
        all.change_node(0, |node| {
            node["spec"].as_object_mut().unwrap().remove("unschedulable");
        });
    }
    let postponed = async || all.fleet.part("o1", 0).await.postponed;
    let reason = all.fleet.until("it is postponed", postponed).await;
    assert!(reason.contains("removed by others"), "{reason}");
    let events = all.fleet.logged("o1", 0, Step::Drain).await;
    assert!(events.iter().any(|(_, detail)| detail.contains("cordoned again")), "{events:?}");
    assert!(all.fleet.hosts.commands().is_empty());
}

#[tokio::test(start_paused = true)]
async fn control_plane_loses_one_node_at_a_time_and_comes_after_the_workers() {
    let all = KubernetesFleet::start(5, 3).await;
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"max_unavailable": 3})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    let commands = all.fleet.hosts.commands();
    let order: Vec<_> =
        commands.iter().map(|command| command.address.as_str().to_owned()).collect();
    let workers: Vec<_> = (3..5).map(|number| address(number).to_string()).collect();
    assert_eq!(order[..2], workers, "the workers are first");
    for command in &commands[2..] {
        let control_plane = (0..3).map(|number| address(number).to_string());
        let down = control_plane.filter(|other| command.down.contains(other)).count();
        assert_eq!(down, 0, "{command:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn executor_that_is_killed_at_any_request_leaves_no_cordon_without_a_debt() {
    for number in (3..120).step_by(4) {
        for is_carried_out in [true, false] {
            let all = KubernetesFleet::start(2, 0).await;
            all.deploy("web", 2, 1).await;
            let config = clusterexec_svc::Config::default();
            let first = all.fleet.executor_killed_at(config, number, is_carried_out).await;
            let started = first.start("restart", json!({}));
            let died = all.fleet.until("it dies", async || first.is_dead().then_some(()));
            tokio::select! {
                biased;
                () = died => {}
                started = started => { started.unwrap(); }
            }
            let second = all.fleet.executor().await;
            if all.fleet.find::<model::Operation>("o1").await.is_none() {
                second.start("restart", json!({})).await.unwrap();
            }
            let ended = all.fleet.ended("o1").await;
            assert_eq!(ended.status, OperationStatus::Finished, "{number} {is_carried_out}");
            all.settled().await;
            assert!((0..2).all(|number| !all.is_cordoned(number)), "{number} {is_carried_out}");
            all.fleet.assert_commands(&[0, 1], 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn eviction_that_the_api_server_throttles_is_repeated_when_it_says() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 1).await;
    let throttle = Fault::new(FaultAction::Throttle { retry_after: 7 });
    all.kubernetes.fault(throttle.on_method("POST").on_path_containing("/eviction").times(1));
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    let effects = all.kubernetes.effects();
    let first = |is_wanted: fn(&Effect) -> bool| effects.iter().find(|e| is_wanted(e)).unwrap().at;
    let cordon = first(|effect| effect.verb == "patch" && effect.resource == "nodes");
    let evicted = first(|effect| effect.subresource == "eviction" && effect.status == 201);
    assert!(evicted >= cordon + Duration::from_secs(7), "{effects:?}");
}

/// Starts a restart of the second cluster.
async fn restart_second(executor: &Executor, options: Value) {
    let params = json!({"cluster_name": "c2", "operation_id": "o2", "options": options});
    executor.ask("restart", params).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn operations_of_two_clusters_share_the_budget_of_their_kubernetes() {
    let all = KubernetesFleet::start(4, 0).await;
    all.split(2).await;
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"settle": 120})).await.unwrap();
    all.fleet.at("o1", 0, Step::Settle).await;
    restart_second(&executor, json!({})).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(all.fleet.ended("o2").await.status, OperationStatus::Finished);
    let reasons = all.fleet.reasons("o2", Outcome::Waiting).await;
    assert!(reasons.contains(&"node-budget".to_owned()), "{reasons:?}");
    for command in all.fleet.hosts.commands() {
        assert!(command.down.is_empty(), "{command:?}");
    }
    let claims = all.fleet.storage.list::<BudgetClaims>().await.unwrap();
    assert!(claims.iter().all(|claims| claims.record.claims.is_empty()), "{claims:?}");
}

#[tokio::test(start_paused = true)]
async fn quorum_group_over_two_clusters_keeps_its_majority() {
    let all = KubernetesFleet::start(4, 0).await;
    all.split(2).await;
    let executor = all.fleet.executor().await;
    for number in [0, 2] {
        let placement = HostPlacement {
            address: address(number),
            quorum_group: "etcd".to_owned(),
            ..HostPlacement::default()
        };
        all.fleet.storage.save(&placement).await.unwrap();
    }
    let refused = executor.start("restart", json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("one of 2 hosts of the quorum group etcd"), "{refused}");
    let third = HostPlacement {
        address: address(3),
        quorum_group: "etcd".to_owned(),
        ..HostPlacement::default()
    };
    all.fleet.storage.save(&third).await.unwrap();
    let options = || json!({"max_unavailable": 2, "settle": 120});
    executor.start("restart", options()).await.unwrap();
    all.fleet.at("o1", 0, Step::Settle).await;
    restart_second(&executor, options()).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(all.fleet.ended("o2").await.status, OperationStatus::Finished);
    let reasons = all.fleet.reasons("o2", Outcome::Waiting).await;
    assert!(reasons.contains(&"quorum-group".to_owned()), "{reasons:?}");
    let group: Vec<_> = [0, 2, 3].map(|number| address(number).to_string()).to_vec();
    for command in all.fleet.hosts.commands() {
        if group.contains(&command.address) {
            assert!(command.down.iter().all(|down| !group.contains(down)), "{command:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drained_node_is_postponed_while_its_quorum_group_has_no_place_and_other_hosts_pause() {
    for (drain, begun) in [(json!({"attempts": 1}), Step::Drain), (json!(false), Step::Probe)] {
        let all = KubernetesFleet::start(4, 0).await;
        all.split(2).await;
        for number in [0, 2, 3] {
            let placement = HostPlacement {
                address: address(number),
                quorum_group: "etcd".to_owned(),
                ..HostPlacement::default()
            };
            all.fleet.storage.save(&placement).await.unwrap();
        }
        all.slow_down();
        let executor = all.fleet.executor().await;
        let options = json!({"hosts": [address(0)], "drain": drain});
        executor.start("restart", options).await.unwrap();
        all.fleet.at("o1", 0, begun).await;
        all.fleet.hosts.power_off(&address(3));
        let reason = all.fleet.paused("o1").await;
        assert!(reason.contains("of the quorum group etcd"), "{drain} {reason}");
        assert!(all.fleet.hosts.commands().is_empty(), "{drain}");
        all.settled().await;
        assert!(!all.is_cordoned(0), "{drain}");
        // Each wait is one event, however often it was looked.
        let waits = all.fleet.reasons("o1", Outcome::Waiting).await;
        assert!(waits.len() < 10, "{drain} {waits:?}");
        all.fleet.hosts.power_on(&address(3));
        all.fleet.say("o1", Wanted::Run).await;
        assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished, "{drain}");
        all.settled().await;
        assert!(!all.is_cordoned(0), "{drain}");
    }
}

#[tokio::test(start_paused = true)]
async fn drain_that_times_out_stops_the_operation_or_is_overridden_if_that_is_asked_for() {
    for (on_timeout, status, commands) in
        [("stop", OperationStatus::Failed, 0), ("reboot", OperationStatus::Finished, 2)]
    {
        let all = KubernetesFleet::start(2, 0).await;
        all.deploy("web", 2, 0).await;
        let executor = all.fleet.executor().await;
        let options = json!({"drain": {"timeout": 30, "on_timeout": on_timeout}});
        executor.start("restart", options).await.unwrap();
        assert_eq!(all.fleet.ended("o1").await.status, status, "{on_timeout}");
        assert_eq!(all.fleet.hosts.commands().len(), commands, "{on_timeout}");
        if status == OperationStatus::Failed {
            assert_eq!(all.fleet.part("o1", 0).await.reason, "drain-timeout");
        }
        all.settled().await;
        assert!((0..2).all(|number| !all.is_cordoned(number)), "{on_timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_while_the_api_server_does_not_answer_or_denies_the_account() {
    let all = KubernetesFleet::start(2, 0).await;
    let executor = all.fleet.executor().await;
    all.kubernetes.set_api_unavailable(true);
    let error = executor.start("restart", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), bus::Kind::Unavailable, "{error}");
    // The gateway passes on the message of an error that names what is unavailable.
    assert_eq!(error.part(), Some("container manager"), "{error:?}");
    assert!(
        error.to_string().contains("the container manager k at api.test does not answer"),
        "{error}"
    );
    all.kubernetes.set_api_unavailable(false);
    all.kubernetes.remove_user("token");
    let error = executor.start("restart", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), bus::Kind::ContainerManager, "{error}");
    assert!(error.to_string().contains("the container manager k did not"), "{error}");
    assert!(error.to_string().contains("the token or certificate is not accepted"), "{error}");
    // The account has lost its rights.
    all.kubernetes.add_user("token", "commissaire", &[]);
    let error = executor.start("restart", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), bus::Kind::ContainerManager, "{error}");
    assert!(error.to_string().contains("conf/kubernetes/rbac.yaml"), "{error}");
    assert!(all.fleet.hosts.commands().is_empty());
    all.kubernetes.add_user("token", "commissaire", &[MASTERS]);
    executor.start("restart", json!({})).await.unwrap();
    all.fleet.at("o1", 0, Step::Verify).await;
    all.kubernetes.add_user("token", "commissaire", &[]);
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Failed);
    assert_eq!(all.fleet.part("o1", 0).await.reason, "kubernetes-denied");
    all.kubernetes.add_user("token", "commissaire", &[MASTERS]);
}

#[tokio::test(start_paused = true)]
async fn rollout_waits_while_the_api_server_does_not_answer_and_the_webhook_is_called() {
    let all = KubernetesFleet::start(2, 0).await;
    let executor = all.fleet.executor_with(config_with_webhook()).await;
    executor.start("restart", json!({"soak": 60})).await.unwrap();
    all.fleet.at("o1", 0, Step::Done).await;
    all.kubernetes.set_api_unavailable(true);
    assert_webhook_reports_the_wait(&all, "nodes-unknown").await;
    all.kubernetes.set_api_unavailable(false);
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn webhook_is_called_about_a_wait_for_the_nodes_of_others() {
    let all = KubernetesFleet::start(3, 0).await;
    let executor = all.fleet.executor_with(config_with_webhook()).await;
    all.kubernetes.set_kubelet_ready("w1", false);
    executor.start("restart", json!({"hosts": [address(0)]})).await.unwrap();
    assert_webhook_reports_the_wait(&all, "node-budget").await;
    all.kubernetes.set_kubelet_ready("w1", true);
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
}

fn config_with_webhook() -> Config {
    let webhook_url = Some("http://receiver.example/".parse().unwrap());
    Config { webhook_url, ..Config::default() }
}

/// Waits until the operation waits for this reason, then until the webhook is called about that.
async fn assert_webhook_reports_the_wait(all: &KubernetesFleet, reason: &str) {
    let waits = async || {
        let reasons = all.fleet.reasons("o1", Outcome::Waiting).await;
        reasons.contains(&reason.to_owned()).then_some(())
    };
    all.fleet.until("it waits", waits).await;
    let called = async || {
        let posts = all.fleet.receiver.take().into_iter();
        let mut events = posts.map(|post| post.headers["X-Commissaire-Event"].clone());
        events.any(|event| event == "waiting").then_some(())
    };
    all.fleet.until("the webhook is called", called).await;
}

#[tokio::test(start_paused = true)]
async fn operators_cordon_and_uncordon_single_hosts_and_operations_leave_them_alone() {
    let all = KubernetesFleet::start(3, 0).await;
    let executor = all.fleet.executor().await;
    let host = |number: usize| json!({"address": address(number).as_str()});
    let cordoned = executor.ask("cordon", host(0)).await.unwrap();
    assert_eq!((&cordoned["node"], &cordoned["cordoned"]), (&json!("w0"), &json!(true)));
    assert!(all.is_cordoned(0));
    assert_eq!(all.debts().await, [("w0".to_owned(), DebtState::Kept)]);
    executor.start("restart", json!({"max_unavailable": 2})).await.unwrap();
    let busy = executor.ask("cordon", host(1)).await.unwrap_err().to_string();
    assert!(busy.contains("an operation is in process"), "{busy}");
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(all.fleet.part("o1", 0).await.step, Step::Skipped);
    assert!(all.is_cordoned(0), "it stays cordoned");
    executor.ask("uncordon", host(0)).await.unwrap();
    assert!(!all.is_cordoned(0) && all.debts().await.is_empty());
    // A cordon of others is removed only if that is asked for.
    all.change_node(2, |node| node["spec"]["unschedulable"] = json!(true));
    let foreign = executor.ask("uncordon", host(2)).await.unwrap_err().to_string();
    assert!(foreign.contains("cordoned by"), "{foreign}");
    let mut asked = host(2);
    asked["foreign"] = json!(true);
    executor.ask("uncordon", asked).await.unwrap();
    assert!(!all.is_cordoned(2));
}

#[tokio::test(start_paused = true)]
async fn drained_host_is_not_rebooted_and_its_node_stays_cordoned() {
    let all = KubernetesFleet::start(3, 0).await;
    all.deploy("web", 3, 1).await;
    let executor = all.fleet.executor().await;
    executor.start("drain", json!({"hosts": [address(0).as_str()]})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(all.fleet.part("o1", 0).await.step, Step::Done);
    assert!(all.fleet.hosts.commands().is_empty());
    assert!(all.is_cordoned(0) && all.pods_on(0).is_empty());
    assert_eq!(all.debts().await, [("w0".to_owned(), DebtState::Kept)]);
    let host = json!({"address": address(0).as_str()});
    executor.ask("uncordon", host).await.unwrap();
    assert!(!all.is_cordoned(0) && all.debts().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn upgrade_drains_the_node_before_anything_is_applied() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 1).await;
    let executor = all.fleet.executor().await;
    executor.start("upgrade", json!({"reboot": "always"})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    let events = all.fleet.events("o1").await.into_iter();
    let steps =
        events.filter(|event| event.host == address(0) && event.outcome == Outcome::Started);
    let steps: Vec<_> = steps.map(|event| event.step).collect();
    let expected =
        ["probe", "cordon", "drain", "apply", "reboot", "verify", "settle", "ready", "uncordon"];
    assert_eq!(steps, expected);
    assert_eq!(all.debts().await, []);
}

/// Waits for a call of the webhook about this event, resolved or not; calls are not ordered, and those seen are kept.
async fn called(
    all: &KubernetesFleet,
    calls: &RefCell<Vec<Value>>,
    event: &str,
    resolved: bool,
) -> Value {
    let what = format!("the webhook is called about {event}, resolved: {resolved}");
    all.fleet
        .until(&what, async || {
            let new = all.fleet.receiver.take().into_iter();
            let new = new.map(|post| serde_json::from_str(&post.body).unwrap());
            calls.borrow_mut().extend(new);
            let is_wanted = |body: &&Value| body["event"] == event && body["resolved"] == resolved;
            calls.borrow().iter().find(is_wanted).cloned()
        })
        .await
}

fn with_webhook() -> Config {
    Config { webhook_url: Some("http://receiver.test/".parse().unwrap()), ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn blocked_drain_is_reported_to_the_webhook_and_resolved() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 0).await;
    let executor = all.fleet.executor_with(with_webhook()).await;
    executor.start("restart", json!({"drain": {"timeout": 600}})).await.unwrap();
    let is_rejection =
        |effect: &Effect| (effect.subresource.as_str(), effect.status) == ("eviction", 429);
    all.fleet
        .until("an eviction is rejected", async || {
            all.kubernetes.effects().iter().any(is_rejection).then_some(())
        })
        .await;
    let rejected = Instant::now();
    let calls = RefCell::default();
    let report = called(&all, &calls, "drain-blocked", false).await;
    assert!(report.to_string().contains("default/web"), "{report}");
    let wait = all.fleet.part("o1", 0).await.wait.unwrap();
    assert!(wait.detail.contains("default/web"), "{wait:?}");
    let events = all.fleet.logged("o1", 0, Step::Drain).await;
    assert!(events.iter().any(|(_, detail)| detail.contains("default/web")), "{events:?}");
    assert!(rejected.elapsed() <= Duration::from_secs(5), "{:?}", rejected.elapsed());
    let mut budget = all.kubernetes.object("poddisruptionbudgets", "default", "web").unwrap();
    budget["spec"]["maxUnavailable"] = json!(1);
    all.kubernetes.apply(budget);
    called(&all, &calls, "drain-blocked", true).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn pause_for_hosts_that_could_not_be_drained_is_reported_to_the_webhook() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 0).await;
    let executor = all.fleet.executor_with(with_webhook()).await;
    let options = json!({"drain": {"timeout": 60, "attempts": 1}});
    executor.start("restart", options).await.unwrap();
    let calls = RefCell::default();
    let paused = called(&all, &calls, "paused", false).await;
    assert_eq!(paused["state"], "paused", "{paused}");
    assert!(paused["explanation"].to_string().contains("default/web"), "{paused}");
    called(&all, &calls, "drain-blocked", true).await;
    let mut budget = all.kubernetes.object("poddisruptionbudgets", "default", "web").unwrap();
    budget["spec"]["maxUnavailable"] = json!(1);
    all.kubernetes.apply(budget);
    all.fleet.say("o1", Wanted::Run).await;
    called(&all, &calls, "paused", true).await;
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
}

#[tokio::test(start_paused = true)]
async fn node_on_which_there_is_nothing_to_upgrade_is_not_drained() {
    let all = KubernetesFleet::start(2, 0).await;
    all.deploy("web", 2, 1).await;
    all.fleet.hosts.edit(&address(0), |machine| {
        machine.command_output = "nothing to upgrade\n".to_owned();
    });
    let executor = all.fleet.executor().await;
    executor.start("upgrade", json!({})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    let skipped = all.fleet.part("o1", 0).await;
    assert_eq!(skipped.skipped.as_deref(), Some("there is nothing to upgrade"));
    assert_eq!(all.fleet.part("o1", 1).await.step, Step::Done);
    assert!(all.changes().iter().all(|change| !change.contains("w0")), "{:?}", all.changes());
}

#[tokio::test(start_paused = true)]
async fn node_whose_version_is_booted_is_not_drained_for_its_deployment() {
    let all = KubernetesFleet::start(2, 0).await;
    for host in 0..2 {
        all.fleet.hosts.edit(&address(host), |machine| {
            machine.facts.ostree = true;
            let deployments = json!({"deployments": [{"version": "42.1", "booted": true}]});
            machine.command_output = deployments.to_string();
        });
    }
    let executor = all.fleet.executor().await;
    executor.start("deploy", json!({})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    for host in 0..2 {
        let skipped = all.fleet.part("o1", host).await.skipped;
        assert_eq!(skipped.as_deref(), Some("42.1 is booted already"));
    }
    let is_cordon = |change: &String| change.contains("unschedulable");
    assert!(!all.changes().iter().any(is_cordon), "{:?}", all.changes());
}

#[tokio::test(start_paused = true)]
async fn host_costs_few_requests_and_its_node_is_cordoned_for_little_longer_than_it_has_to_be() {
    let all = KubernetesFleet::start(5, 0).await;
    all.deploy("web", 15, 15).await;
    let executor = all.fleet.executor().await;
    let before = all.kubernetes.requests_of(USER);
    executor.start("restart", json!({})).await.unwrap();
    assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished);
    let requests = all.kubernetes.requests_of(USER) - before;
    let effects = all.kubernetes.effects();
    let evicted = effects.iter().filter(|effect| effect.subresource == "eviction").count();
    let mut cordoned = Vec::new();
    for number in 0..5 {
        let (name, marks) = (node(number), ["unschedulable=true", "unschedulable=-"]);
        let times = marks.map(|mark| {
            let is_wanted = |effect: &&Effect| {
                effect.user == USER
                    && effect.name == name
                    && effect.summary.as_ref().is_some_and(|summary| summary.contains(mark))
            };
            effects.iter().find(is_wanted).unwrap().at
        });
        cordoned.push(times[1].saturating_sub(times[0]));
    }
    let waited: u64 = cordoned.iter().map(Duration::as_secs).sum();
    let allowed = 5 * 14 + u64::try_from(evicted).unwrap() + waited;
    let mut kinds = BTreeMap::<_, usize>::new();
    for effect in effects.iter().filter(|effect| effect.user == USER) {
        *kinds.entry((effect.verb.clone(), effect.resource.clone())).or_default() += 1;
    }
    assert!(requests <= allowed, "{requests} requests, and {allowed} are allowed: {kinds:?}");
    cordoned.sort_unstable();
    // Hosts shut down and boot for 22 seconds, then they settle; pods end within a second.
    let needed = Duration::from_secs(22 + 30 + 1);
    let median = cordoned[2].saturating_sub(needed);
    assert!(median <= Duration::from_secs(20), "{cordoned:?}");
}
