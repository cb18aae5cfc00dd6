//! Restarts: the budget, the reboot of each host and the proof that it is back.

use std::time::Duration;

use model::{
    Cluster, ClusterChange, ClusterRestart, Host, HostCreds, HostState, OperationHost,
    OperationStatus, Outcome, Status, Step,
};
use serde_json::{Value, json};
use simulated_hosts::LogIn;
use storage_client::Transaction;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, OWN_BOOT_ID, address};

#[tokio::test(start_paused = true)]
async fn hosts_are_restarted_one_after_the_other() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    let before: Vec<_> = (0..3).map(|number| fleet.hosts.boot_id(&address(number))).collect();
    executor.restart(json!({"settle": 0})).await;
    let ended = fleet.ended("o1").await;
    assert_eq!((ended.status, ended.reason.as_str()), (OperationStatus::Finished, ""));
    let accepted = fleet.events("o1").await.remove(0).detail;
    assert!(accepted.starts_with("restart of 3 hosts by "), "{accepted}");
    assert_eq!(fleet.last_event("o1").await, (Outcome::Ok, "3 of 3 done".to_owned()));
    fleet.assert_commands(&[0, 1, 2], 1);
    assert_eq!(fleet.take_log_ins(), 3 * 3, "the probe, the verification, the check at the end");
    let settled = fleet.logged("o1", 0, Step::Settle).await;
    assert!(settled.is_empty(), "without a time to settle: {settled:?}");
    for (number, before) in before.into_iter().enumerate() {
        let part = fleet.part("o1", number).await;
        let boot_id = fleet.hosts.boot_id(&address(number));
        assert_eq!((part.step, part.boot_id_before), (Step::Done, Some(before)));
        assert_eq!(part.failed_units_before, None, "without a time to settle");
        assert_eq!(part.boot_id_after.as_ref(), Some(&boot_id));
        assert_eq!(fleet.state(number).await.boot_id, boot_id);
    }
}

#[tokio::test(start_paused = true)]
async fn first_healthy_host_goes_alone_then_as_many_as_the_budget_allows() {
    let fleet = Fleet::start(5).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"max_unavailable": 2})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let commands = fleet.hosts.commands();
    assert_eq!(commands.len(), 5);
    assert!(commands.iter().all(|command| command.down.len() < 2), "{commands:?}");
    let first_back = Duration::from_secs(22);
    assert!(commands[1].at - commands[0].at > first_back, "the first one is a canary");
    assert!(commands[2].at - commands[1].at < first_back, "then two at a time");
}

#[tokio::test(start_paused = true)]
async fn percentage_of_a_large_cluster_is_its_budget() {
    let fleet = Fleet::start(40).await;
    let executor = fleet.executor().await;
    executor.restart(json!({"max_unavailable": "10%"})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let commands = fleet.hosts.commands();
    assert_eq!(commands.len(), 40);
    let most = commands.iter().map(|command| command.down.len() + 1).max();
    assert!(most.is_some_and(|most| (3..=4).contains(&most)), "{most:?} at a time");
}

#[tokio::test(start_paused = true)]
async fn host_that_does_not_come_back_stops_the_operation() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(1), |machine| machine.boot = None);
    executor.restart(json!({})).await;
    let ended = fleet.ended("o1").await;
    assert_eq!(ended.status, OperationStatus::Failed);
    fleet.assert_commands(&[0, 1], 1);
    let part = fleet.part("o1", 1).await;
    assert_eq!((part.step, part.reason.as_str()), (Step::Failed, "not-back"));
    let failure = part.failure.unwrap();
    assert!(
        failure.reason.contains("900 s") && failure.reason.contains(address(1).as_str()),
        "{failure:?}"
    );
    assert_eq!(
        (fleet.status(1).await, fleet.state(1).await.reason.as_str()),
        (Status::Failed, "not-back")
    );
    let untouched = OperationHost::id_of("o1", &address(2));
    assert_eq!(fleet.find::<OperationHost>(&untouched).await, None);
    let record = fleet.find::<ClusterRestart>("c1").await.unwrap();
    assert_eq!(record.in_process, [address(1)]);
}

#[tokio::test(start_paused = true)]
async fn host_on_which_the_command_has_no_effect_is_not_restarted() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.ignores_commands = true);
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    let accepted = fleet.events("o1").await.remove(0).detail;
    assert!(accepted.starts_with("restart of 1 host by "), "{accepted}");
    let part = fleet.part("o1", 0).await;
    assert_eq!(part.reason, "not-restarted");
    assert!(part.failure.unwrap().reason.contains("the reboot had no effect"));
    fleet.assert_commands(&[0], 1);
}

#[tokio::test(start_paused = true)]
async fn tolerated_failures_do_not_stop_the_operation() {
    let fleet = Fleet::start(4).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(1), |machine| machine.boot = None);
    executor.restart(json!({"max_failures": 1, "max_unavailable": 2})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    let steps = [fleet.part("o1", 2).await.step, fleet.part("o1", 3).await.step];
    assert_eq!(steps, [Step::Done, Step::Done]);
    let commands = fleet.hosts.commands();
    assert!(commands.iter().all(|command| command.down.len() < 2), "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn connection_lost_before_the_command_is_followed_by_another() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.loses_commands = 2);
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0], 1);
    let log = fleet.logged("o1", 0, Step::Reboot).await;
    let lost = log.iter().filter(|(outcome, _)| *outcome == Outcome::Failed);
    assert_eq!(lost.count(), 2, "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn connection_lost_after_the_command_is_not_followed_by_another() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.loses_answers = 1);
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0], 1);
    let (_, last) = fleet.logged("o1", 0, Step::Reboot).await.pop().unwrap();
    assert_eq!(last, "it has been restarted already");
}

#[tokio::test(start_paused = true)]
async fn host_that_is_lost_three_times_over_the_command_fails() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.loses_commands = 3);
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert_eq!(fleet.part("o1", 0).await.reason, "disconnected");
    fleet.assert_commands(&[], 1);
}

#[tokio::test(start_paused = true)]
async fn late_go_ahead_is_tried_again_and_fails_the_host_after_ten() {
    let cases = [
        ("restart", Step::Reboot, true),
        ("restart", Step::Reboot, false),
        ("upgrade", Step::Apply, true),
        ("upgrade", Step::Apply, false),
    ];
    for (kind, waits_at, heals) in cases {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        fleet.hosts.edit(&address(0), |machine| machine.go_ahead_delay = Duration::from_secs(3));
        executor.start(kind, json!({})).await.unwrap();
        let is_late = |(outcome, detail): &(Outcome, String)| {
            *outcome == Outcome::Waiting && detail.contains("go-ahead in time: late")
        };
        fleet
            .until("it is late", async || {
                let log = fleet.logged("o1", 0, waits_at).await;
                log.iter().any(is_late).then_some(())
            })
            .await;
        if heals {
            fleet.hosts.edit(&address(0), |machine| machine.go_ahead_delay = Duration::ZERO);
        }
        fleet.ended("o1").await;
        let part = fleet.part("o1", 0).await;
        assert_eq!(part.step, if heals { Step::Done } else { Step::Failed }, "{kind}");
        assert_eq!(part.reason, if heals { "" } else { "go-ahead-late" }, "{kind}");
        fleet.assert_commands(if heals && kind == "restart" { &[0] } else { &[] }, 1);
        let begun = fleet.hosts.edit(&address(0), |machine| machine.upgrades_begun());
        assert_eq!(begun, usize::from(heals && kind == "upgrade"));
    }
}

#[tokio::test(start_paused = true)]
async fn host_that_refuses_the_log_in_fails_untouched() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.log_in = LogIn::Refused);
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert_eq!(fleet.part("o1", 0).await.reason, "auth-refused");
    fleet.assert_commands(&[], 1);
}

#[tokio::test(start_paused = true)]
async fn host_that_refuses_log_ins_while_it_boots_is_done_once_it_accepts_them() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.hosts.edit(&address(0), |machine| machine.log_in = LogIn::Refused);
    fleet.take_log_ins();
    sleep(Duration::from_mins(2)).await;
    let log_ins = fleet.take_log_ins();
    assert!((2..=5).contains(&log_ins), "{log_ins} log-ins, of which servers ban many");
    fleet.hosts.edit(&address(0), |machine| machine.log_in = LogIn::Accepted);
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    assert_eq!(fleet.part("o1", 0).await.step, Step::Done);
}

#[tokio::test(start_paused = true)]
async fn host_with_another_key_after_its_reboot_fails_at_once() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.hosts.edit(&address(0), |machine| machine.host_key = "ssh-ed25519 other".to_owned());
    let begun = Instant::now();
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Failed);
    assert!(begun.elapsed() < Duration::from_mins(2), "it is not waited for");
    assert_eq!(fleet.part("o1", 0).await.reason, "host-key-changed");
    assert_eq!(fleet.state(0).await.seen_host_key, "ssh-ed25519 other");
}

#[tokio::test(start_paused = true)]
async fn host_that_throttles_connections_is_tried_for_as_long_as_a_reboot_may_take() {
    for (minutes, step) in [(10, Step::Done), (60, Step::Failed)] {
        let fleet = Fleet::start(1).await;
        let executor = fleet.executor().await;
        fleet.hosts.edit(&address(0), |machine| machine.log_in = LogIn::Throttled);
        executor.restart(json!({})).await;
        sleep(Duration::from_mins(minutes)).await;
        fleet.hosts.edit(&address(0), |machine| machine.log_in = LogIn::Accepted);
        fleet.ended("o1").await;
        assert_eq!(fleet.part("o1", 0).await.step, step, "{minutes} min");
    }
}

#[tokio::test(start_paused = true)]
async fn host_that_dies_before_its_turn_is_waited_for_and_then_pauses_the_operation() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.hosts.power_off(&address(2));
    let reason = fleet.paused("o1").await;
    assert!(reason.contains(address(2).as_str()) && reason.contains("at most 1"), "{reason}");
    fleet.assert_commands(&[0], 1);
    let waited = fleet.clock.wall().duration_since("2026-11-28T12:00:00Z".parse().unwrap());
    assert!(waited.as_secs() > 15 * 60, "{waited}");
}

#[tokio::test(start_paused = true)]
async fn member_that_dies_while_another_waits_for_its_go_ahead_stops_that_one() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    // Ansible is connecting.
    fleet.at("o1", 0, Step::Reboot).await;
    fleet.hosts.power_off(&address(1));
    fleet.until("it waits", async || fleet.part("o1", 0).await.waiting_for).await;
    fleet.assert_commands(&[], 1);
    fleet.hosts.power_on(&address(1));
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn done_host_that_reboots_again_is_not_joined_by_the_next() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    fleet.at("o1", 1, Step::Reboot).await;
    fleet.hosts.reboot(&address(0));
    let reason = fleet.paused("o1").await;
    assert!(
        reason.starts_with("unexpected-reboot: ") && reason.contains(address(0).as_str()),
        "{reason}"
    );
    fleet.assert_commands(&[0], 1);
    fleet.say("o1", model::Wanted::Run).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn only_hosts_that_need_it_are_restarted_if_needed() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(1), |machine| machine.needs_reboot = false);
    executor.restart(json!({"if_needed": true})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[0, 2], 1);
    let part = fleet.part("o1", 1).await;
    assert_eq!(part.skipped.as_deref(), Some("it does not need a restart"));
}

#[tokio::test(start_paused = true)]
async fn machine_of_the_executor_is_restarted_last_and_only_when_asked_for() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor().await;
    let boot_id = OWN_BOOT_ID.to_owned();
    let own = HostState { address: address(0), boot_id, ..HostState::default() };
    fleet.storage.save(&own).await.unwrap();
    let refused = executor.start("restart", json!({})).await.unwrap_err().to_string();
    assert!(refused.contains(address(0).as_str()) && refused.contains("include_self"), "{refused}");
    executor.restart(json!({"include_self": true})).await;
    fleet.ended("o1").await;
    fleet.assert_commands(&[1, 0], 1);
}

#[tokio::test(start_paused = true)]
async fn machine_of_the_executor_is_skipped_where_only_its_probe_shows_what_it_is() {
    let fleet = Fleet::start(2).await;
    let executor = fleet.executor_on_host(0).await;
    executor.restart(json!({})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    let part = fleet.part("o1", 0).await;
    assert_eq!(part.step, Step::Skipped);
    assert!(part.skipped.unwrap().contains("include_self"));
    fleet.assert_commands(&[1], 1);
}

#[tokio::test(start_paused = true)]
async fn unreachable_members_are_left_out_but_count() {
    let fleet = Fleet::start(4).await;
    let executor = fleet.executor().await;
    fleet.hosts.power_off(&address(3));
    let refused = executor.start("restart", json!({})).await.unwrap_err().to_string();
    assert!(
        refused.contains(address(3).as_str()) && refused.contains("max_unavailable"),
        "{refused}"
    );
    executor.restart(json!({"max_unavailable": 2, "skip_unreachable": true})).await;
    let ended = fleet.ended("o1").await;
    assert_eq!((ended.status, ended.left_out), (OperationStatus::Finished, vec![address(3)]));
    fleet.assert_commands(&[0, 1, 2], 2);
}

#[tokio::test(start_paused = true)]
async fn sick_hosts_go_first() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    let sick = Host {
        address: address(2),
        status: Status::Failed,
        os: "debian".to_owned(),
        ..Host::default()
    };
    let reason = "playbook-failed".to_owned();
    let state = HostState { address: address(2), reason, ..HostState::default() };
    let transaction = Transaction::default().save(&sick).unwrap().save(&state).unwrap();
    fleet.storage.transact(&transaction).await.unwrap();
    executor.restart(json!({})).await;
    fleet.ended("o1").await;
    fleet.assert_commands(&[2, 0, 1], 1);
}

#[tokio::test(start_paused = true)]
async fn named_hosts_alone_are_restarted() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    let stranger = executor.start("restart", json!({"hosts": ["10.9.9.9"]})).await.unwrap_err();
    assert!(stranger.to_string().contains("10.9.9.9"), "{stranger}");
    executor.restart(json!({"hosts": [address(1)]})).await;
    assert_eq!(fleet.ended("o1").await.status, OperationStatus::Finished);
    fleet.assert_commands(&[1], 1);
}

#[tokio::test(start_paused = true)]
async fn removed_member_is_skipped_and_deleted_host_under_way_fails_plainly() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    fleet.hosts.edit(&address(0), |machine| machine.boot = None);
    executor.restart(json!({"max_failures": 1})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.set_members(vec![address(1)]).await;
    let gone = Transaction::default().delete::<Host>(&address(0));
    let gone = gone.delete::<HostCreds>(&address(0)).delete::<HostState>(&address(0));
    fleet.storage.transact(&gone).await.unwrap();
    let deleted = Instant::now();
    let failure = async || fleet.part("o1", 0).await.failure;
    let reason = fleet.until("a failure", failure).await.reason;
    assert!(deleted.elapsed() < Duration::from_secs(10), "{:?}", deleted.elapsed());
    assert!(reason.starts_with("deleted: ") && reason.contains(address(0).as_str()), "{reason}");
    assert_eq!(fleet.find::<Host>(&address(0)).await, None);
    fleet.ended("o1").await;
    let part = fleet.part("o1", 2).await;
    assert_eq!(part.skipped.as_deref(), Some("removed from the cluster"));
    fleet.assert_commands(&[0, 1], 2);
}

#[tokio::test(start_paused = true)]
async fn second_operation_on_a_cluster_is_rejected_until_the_first_has_ended() {
    let fleet = Fleet::start(1).await;
    let executor = fleet.executor().await;
    executor.restart(json!({})).await;
    // The same id: the same answer.
    executor.restart(json!({})).await;
    let other = json!({"cluster_name": "c1", "operation_id": "o2"});
    let refused = executor.ask("restart", other.clone()).await.unwrap_err();
    assert!(refused.is_conflict() && refused.to_string().contains("o1"), "{refused}");
    fleet.ended("o1").await;
    executor.ask("restart", other).await.unwrap();
    fleet.ended("o2").await;
    fleet.assert_commands(&[0, 0], 1);
}

#[tokio::test(start_paused = true)]
async fn dry_run_names_the_reason_of_a_rejection_in_one_word() {
    let fleet = Fleet::start(3).await;
    let executor = fleet.executor().await;
    let boot_id = OWN_BOOT_ID.to_owned();
    let own = HostState { address: address(0), boot_id, ..HostState::default() };
    fleet.storage.save(&own).await.unwrap();
    let plan = async |options: Value| {
        let params = json!({"cluster_name": "c1", "options": options, "dry_run": true});
        let plan = executor.ask("restart", params).await.unwrap();
        let is_refused = !plan["refused"].is_null();
        assert_eq!(
            (plan["would_start"] == true, plan["reason"].is_string()),
            (!is_refused, is_refused)
        );
        plan["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(plan(json!({"include_self": true})).await, "");
    assert_eq!(plan(json!({})).await, "controller-is-member");
    fleet.hosts.power_off(&address(1));
    sleep(Duration::from_mins(1)).await;
    assert_eq!(plan(json!({"include_self": true})).await, "budget-used-up");
    let only = json!({"include_self": true, "max_unavailable": 2, "skip_unreachable": true,
                      "hosts": [address(1)]});
    assert_eq!(plan(only).await, "none-reachable");
    fleet.hosts.power_on(&address(1));
    sleep(Duration::from_mins(1)).await;
    let mut cluster = fleet.find::<Cluster>("c1").await.unwrap();
    cluster.change = Some(ClusterChange::Deleting);
    fleet.storage.save(&cluster).await.unwrap();
    assert_eq!(plan(json!({"include_self": true})).await, "cluster-is-changing");
    cluster.change = None;
    fleet.storage.save(&cluster).await.unwrap();
    executor.restart(json!({"include_self": true})).await;
    assert_eq!(plan(json!({"include_self": true})).await, "in-process");
}
