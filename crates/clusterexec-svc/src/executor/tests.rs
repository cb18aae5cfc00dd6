//! The executor on a storage service of its own. In place of a host there is only a listener, or an `sshd` with a
//! stand-in for the rest of it ([`stand_in`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host_access::{Ansible, Deps, LogInLedger, RunDir};
use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::{Value, json};
use service_core::bus::Context;
use service_core::model::{
    Cluster, ClusterRestart, Event, Freeze, Host, HostCreds, HostProgress, HostState, Lease,
    Network, Operation, OperationControl, OperationKind, OperationStatus, Options, Status, Step,
    Wanted as Said,
};
use service_core::storage::Transaction;
use service_core::{Bus, Clock, Lifecycle, StorageClient};
use tokio::net::TcpListener;
use tokio::time::Instant;

mod alarm;
mod removed;
mod settling;
mod stand_in;
mod wall_clock;

use super::{Decision, Execution, GiveUp, Turn, Waiting};
use crate::Config;
use crate::accept::Wanted;
use crate::host_run::{NOT_BACK, Returned, done_late};
use crate::service::ClusterExec;

/// A cluster `c1` of hosts on which something listens.
struct Fixture {
    service: Arc<ClusterExec>,
    storage: StorageClient,
    /// One for each host; dropped, its host is unavailable.
    listeners: Vec<TcpListener>,
    _folder: tempfile::TempDir,
}

fn address(number: usize) -> String {
    format!("127.9.0.{}", number + 1)
}

async fn fixture(hosts: usize) -> Fixture {
    fixture_at(hosts, Clock::System).await
}

async fn fixture_at(hosts: usize, clock: Clock) -> Fixture {
    fixture_with(hosts, Setup { clock, ..Setup::default() }).await
}

async fn fixture_with(hosts: usize, setup: Setup) -> Fixture {
    let mut listeners = Vec::new();
    for number in 0..hosts {
        // Connections wait in its backlog, which is all that is looked for.
        listeners.push(TcpListener::bind((address(number), 0)).await.unwrap());
    }
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let hosts = listeners.iter().enumerate().map(|(n, listener)| (address(n), port(listener)));
    let hosts = hosts.collect();
    // Nothing logs in.
    let setup = Setup { own_key: "no key".into(), ..setup };
    Fixture { listeners, ..fixture_of(hosts, setup).await }
}

/// What an executor is given.
#[derive(Default)]
struct Setup {
    own_key: SecretString,
    clock: Clock,
    config: Config,
    /// A folder of other playbooks than the bundled ones.
    playbooks: Option<PathBuf>,
}

/// A cluster of the hosts at these addresses and ports, which let in the user who runs this, by the server's own key.
async fn fixture_of(hosts: Vec<(String, u16)>, setup: Setup) -> Fixture {
    let Setup { own_key, clock, config, playbooks } = setup;
    let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let store = storage_svc::Config::sqlite(path("store.db"), path("secret.key"));
    storage_svc::run(&bus, &store, &life).await.unwrap();
    let storage = StorageClient::new(bus.clone(), Context::service("test"));
    for (address, ssh_port) in &hosts {
        let status = Status::Disassociated;
        let host = Host { address: address.clone(), status, ..Host::default() };
        let (ssh_port, remote_user) = (*ssh_port, testbed::sshd::user());
        let creds = HostCreds { ssh_port, remote_user, ..HostCreds::new(address) };
        let transaction = Transaction::default().save(&host).unwrap().save(&creds).unwrap();
        storage.transact(&transaction).await.unwrap();
    }
    let (name, network) = ("c1".to_owned(), Network::DEFAULT.to_owned());
    let hostset = hosts.into_iter().map(|(address, _)| address).collect();
    let cluster = Cluster { name, network, hostset, ..Cluster::default() };
    storage.save(&cluster).await.unwrap();
    let deps = Deps {
        ledger: LogInLedger::new(&bus, Clock::System),
        bus,
        clock,
        run_dir: RunDir::create(folder.path(), "x").unwrap(),
        ansible: Ansible::new(playbooks),
        own_key,
        lease_ttl: Duration::from_mins(1),
    };
    let service = ClusterExec::new(deps, config, "the machine".to_owned(), &life);
    Fixture { service: Arc::new(service), storage, listeners: Vec::new(), _folder: folder }
}

fn wanted(options: Value) -> Wanted {
    Wanted {
        cluster: "c1".to_owned(),
        kind: OperationKind::Restart,
        version: String::new(),
        options: serde_json::from_value(options).unwrap(),
        continues: None,
    }
}

/// An operation of that id, accepted; what is done with it is up to the test.
async fn accepted(
    fixture: &Fixture,
    id: &str,
    options: Value,
) -> (service_core::lease::Held, Operation) {
    let wanted = wanted(options);
    let plan = fixture.service.plan(&wanted).await.unwrap();
    assert!(plan.refused.is_none());
    let now = fixture.service.deps.clock.stamp();
    let operation = plan.operation(id, &wanted, &Context::service("test"), now);
    let held = fixture.service.write_down(plan, &operation, None).await.unwrap();
    (held, operation)
}

#[tokio::test]
async fn nothing_starts_once_a_freeze_or_a_pause_is_acknowledged() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    // The way was free when it was looked at …
    let Turn::Start(index, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    let (name, by, reason) = (Freeze::ALL.to_owned(), "ann".to_owned(), "floods".to_owned());
    fixture.storage.save(&Freeze { name, by, at: String::new(), reason }).await.unwrap();
    // … and is not any more when it is to be used.
    assert!(!execution.start(index, &pass).await.unwrap());
    assert_eq!(execution.steps(), [Step::Pending]);
    let Turn::Wait(Some(Waiting::Gate(why))) = execution.turn().await.unwrap() else {
        panic!("it waits")
    };
    assert!(why.contains("ann") && why.contains("floods"), "{why}");
    fixture.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();

    let Turn::Start(index, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    let control =
        |wanted| OperationControl { id: "o1".to_owned(), wanted, ..OperationControl::default() };
    fixture.storage.save(&control(Said::Pause)).await.unwrap();
    assert!(!execution.start(index, &pass).await.unwrap());
    fixture.storage.save(&control(Said::Run)).await.unwrap();
    let Turn::Start(index, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(index, &pass).await.unwrap());
    assert_eq!(execution.steps(), [Step::Probe]);
    fixture.storage.save(&control(Said::Abort)).await.unwrap();
    assert!(matches!(execution.turn().await.unwrap(), Turn::Wait(None)), "it is under way");
    execution.leave(0, "aborted").await.unwrap();
    let Turn::End(status, _) = execution.turn().await.unwrap() else { panic!("the end") };
    assert_eq!(status, OperationStatus::Failed);
}

/// Starts the host whose turn it is, as far as the step `reboot`; its index.
async fn at_reboot(execution: &Execution<'_>) -> usize {
    let Turn::Start(index, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(index, &pass).await.unwrap());
    execution.save(index, |host| host.step = Step::Reboot, &[]).await.unwrap();
    index
}

async fn decided(execution: &Execution<'_>, index: usize) -> Decision {
    let answering = execution.answering().await.unwrap();
    execution.decide(index, &answering).await.unwrap()
}

#[tokio::test]
async fn a_member_that_fails_at_the_last_moment_keeps_the_host_from_its_reboot() {
    let mut fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    let index = at_reboot(&execution).await;
    execution.go_aheads.wait(index);
    // It answers in the first look, and does not any more in the second.
    let answering = execution.answering().await.unwrap();
    drop(fixture.listeners.pop());
    let Decision::Wait(Waiting::Room(why)) = execution.decide(index, &answering).await.unwrap()
    else {
        panic!("it has to wait")
    };
    assert!(why.contains(&address(1)), "{why}");
    assert_eq!(execution.host(index).step, Step::Reboot);
    assert!(execution.host(index).failure.is_none());
    // It is asked about in earnest when it is looked at next, although it was found open a moment ago.
    let Some(Waiting::Room(why)) = execution.no_room(index).await.unwrap() else {
        panic!("there is no room")
    };
    assert!(why.contains(&address(1)), "{why}");
}

#[tokio::test]
async fn a_host_that_reboots_again_by_itself_keeps_the_next_from_its_reboot() {
    let mut fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    let first = at_reboot(&execution).await;
    assert!(matches!(decided(&execution, first).await, Decision::Go(_)));
    assert!(execution.host(first).rebooted_at.is_some(), "the intent is saved");
    execution.save(first, |host| host.step = Step::Done, &[]).await.unwrap();
    let second = at_reboot(&execution).await;
    let first_listener = fixture.listeners.swap_remove(first);
    let port = first_listener.local_addr().unwrap();
    drop(first_listener);
    let Decision::Wait(Waiting::Room(why)) = decided(&execution, second).await else {
        panic!("it has to wait")
    };
    assert!(why.contains(&address(first)), "{why}");
    assert!(execution.host(second).rebooted_at.is_none(), "nothing was done to it");
    let _back = TcpListener::bind(port).await.unwrap();
    assert!(matches!(decided(&execution, second).await, Decision::Go(_)));
}

#[tokio::test]
async fn hosts_that_wait_for_their_go_ahead_go_one_after_the_other() {
    let mut fixture = fixture(4).await;
    let (held, operation) = accepted(&fixture, "o1", json!({"max_unavailable": 2})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    // The first goes alone.
    let first = at_reboot(&execution).await;
    execution.save(first, |host| host.step = Step::Done, &[]).await.unwrap();
    let (second, third) = (at_reboot(&execution).await, at_reboot(&execution).await);
    drop(fixture.listeners.pop());
    for index in [second, third] {
        execution.go_aheads.wait(index);
    }
    assert!(matches!(decided(&execution, second).await, Decision::Go(_)));
    assert!(matches!(decided(&execution, third).await, Decision::Wait(Waiting::Room(_))));
    execution.save(second, |host| host.step = Step::Done, &[]).await.unwrap();
    assert!(matches!(decided(&execution, third).await, Decision::Go(_)));
}

#[tokio::test]
async fn a_go_ahead_needs_the_permission_of_operators() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    let index = at_reboot(&execution).await;
    let control =
        |wanted| OperationControl { id: "o1".to_owned(), wanted, ..OperationControl::default() };
    fixture.storage.save(&control(Said::Pause)).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Wait(Waiting::Gate(_))));
    fixture.storage.save(&control(Said::Abort)).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Abort(_)));
    fixture.storage.save(&control(Said::Run)).await.unwrap();
    let name = Freeze::ALL.to_owned();
    let freeze = Freeze { name, by: String::new(), at: String::new(), reason: String::new() };
    fixture.storage.save(&freeze).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Wait(Waiting::Gate(_))));
    fixture.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Go(_)));
}

#[tokio::test]
async fn a_done_host_that_reboots_by_itself_pauses_the_operation() {
    let fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    let first = at_reboot(&execution).await;
    let boot = |boot_id: &str| HostState {
        address: address(first),
        boot_id: boot_id.to_owned(),
        ..HostState::default()
    };
    fixture.storage.save(&boot("verified")).await.unwrap();
    let done = |host: &mut HostProgress| {
        host.step = Step::Done;
        host.boot_id_after = Some("verified".to_owned());
    };
    execution.save(first, done, &[]).await.unwrap();
    assert!(matches!(execution.turn().await.unwrap(), Turn::Start(..)));
    // Members that were read before it was done show the boot from before.
    let service = &fixture.service;
    let (kind, all) = (OperationKind::Restart, [address(first)]);
    let mut earlier = crate::members::recorded(&service.storage, &all, kind, "").await.unwrap();
    earlier[0].boot_id = "before".to_owned();
    assert!(execution.pause_for_reboots(&earlier).await.unwrap().is_none());
    // As the watcher writes it down.
    fixture.storage.save(&boot("another")).await.unwrap();
    let Turn::Wait(Some(Waiting::Gate(why))) = execution.turn().await.unwrap() else {
        panic!("it is paused")
    };
    assert!(why.starts_with("unexpected-reboot: ") && why.contains(&address(first)), "{why}");
    let control = fixture.storage.get::<OperationControl>("o1").await.unwrap().record;
    assert_eq!((control.wanted, &control.reason), (Said::Pause, &why));
    assert_eq!(execution.host(first).boot_id_after.as_deref(), Some("another"));
    // Resumed, it goes on.
    fixture.storage.save(&OperationControl { wanted: Said::Run, ..control }).await.unwrap();
    assert!(matches!(execution.turn().await.unwrap(), Turn::Start(..)));
}

#[tokio::test]
async fn an_operation_that_has_lost_a_done_host_by_its_end_is_failed() {
    let mut fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    let index = at_reboot(&execution).await;
    execution.save(index, |host| host.step = Step::Done, &[]).await.unwrap();
    fixture.listeners.clear();
    execution.roll().await.unwrap();
    let ended = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert!(ended.reason.starts_with("lost-after: "), "{}", ended.reason);
    let failure = execution.host(index).failure.unwrap();
    assert!(failure.reason.starts_with("lost-after: "), "{}", failure.reason);
    let state = fixture.storage.get::<HostState>(&address(index)).await.unwrap().record;
    assert_eq!(state.reason, HostState::UNREACHABLE, "the watcher sees when it is back");
}

#[tokio::test]
async fn a_done_host_that_was_removed_and_is_down_fails_nothing() {
    let mut fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    let index = at_reboot(&execution).await;
    execution.save(index, |host| host.step = Step::Done, &[]).await.unwrap();
    fixture.listeners.clear();
    set_members(&fixture, vec![]).await;
    execution.roll().await.unwrap();
    let ended = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    assert_eq!((ended.status, ended.reason.as_str()), (OperationStatus::Finished, ""));
}

#[tokio::test]
async fn another_executor_goes_on_with_the_steps_and_the_numbers_of_events() {
    let fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({"max_unavailable": 2})).await;
    let execution = Execution::new(&fixture.service, &held, operation.clone());
    let Turn::Start(index, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(index, &pass).await.unwrap());
    for _ in 0..5 {
        execution.log(index, &[]).await.unwrap();
        let line = super::Line(Step::Probe, service_core::model::Outcome::Ok, "seen");
        execution.log(index, &[line]).await.unwrap();
    }
    let mut next = Execution::new(&fixture.service, &held, operation);
    next.load().await.unwrap();
    assert_eq!(next.steps(), [Step::Probe, Step::Pending]);
    // The first healthy one goes alone.
    assert!(matches!(next.turn().await.unwrap(), Turn::Wait(None)));
    next.leave(0, "left").await.unwrap();
    let last = fixture.storage.get::<Event>(&Event::id_of("o1", 8)).await.unwrap().record;
    assert_eq!((last.seq, last.detail.as_str()), (8, "left"));
    assert!(fixture.storage.find::<Event>(&Event::id_of("o1", 9)).await.unwrap().is_none());
}

#[tokio::test]
async fn members_that_are_away_leave_no_room_also_when_no_record_says_so() {
    let fixture = fixture(2).await;
    let gone = HostCreds { ssh_port: 1, ..HostCreds::new(&address(1)) };
    fixture.storage.save(&gone).await.unwrap();
    let plan = fixture.service.plan(&wanted(json!({}))).await.unwrap();
    let refused = plan.refused.unwrap().to_string();
    assert!(refused.contains(&address(1)) && refused.contains("max_unavailable"), "{refused}");

    let options = json!({"max_unavailable": 2, "skip_unreachable": true});
    let (held, operation) = accepted(&fixture, "o1", options).await;
    assert_eq!((&operation.hosts, &operation.left_out), (&vec![address(0)], &vec![address(1)]));
    let execution = Execution::new(&fixture.service, &held, operation);
    let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(0, &pass).await.unwrap());
    execution.end(OperationStatus::Finished, "").await.unwrap();

    // This very machine, by the boot id that was seen last.
    let boot_id = "the machine".to_owned();
    let own = HostState { address: address(0), boot_id, ..HostState::default() };
    fixture.storage.save(&own).await.unwrap();
    let refused = fixture.service.plan(&wanted(json!({"max_unavailable": 2}))).await.unwrap();
    assert!(refused.refused.unwrap().to_string().contains("include_self"));
}

#[tokio::test]
async fn ended_operations_are_removed_but_the_newest() {
    let fixture = fixture(1).await;
    for id in ["o1", "o2", "o3"] {
        let (held, operation) = accepted(&fixture, id, json!({})).await;
        let execution = Execution::new(&fixture.service, &held, operation);
        let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
        assert!(execution.start(0, &pass).await.unwrap());
        let status = if id == "o3" { continue } else { OperationStatus::Finished };
        execution.leave(0, "left").await.unwrap();
        execution.end(status, "").await.unwrap();
        assert!(fixture.storage.find::<Lease>("operation.c1").await.unwrap().is_none());
    }
    crate::history::prune(&fixture.storage, "c1", 1).await.unwrap();
    let left = fixture.storage.list::<Operation>().await.unwrap();
    let left: Vec<_> = left.iter().map(|left| left.record.id.as_str()).collect();
    assert_eq!(left, ["o2", "o3"], "the newest that has ended, and what is in process");
    for (id, there) in [("o1", false), ("o2", true), ("o3", true)] {
        let event = fixture.storage.find::<Event>(&Event::id_of(id, 1)).await.unwrap();
        assert_eq!(event.is_some(), there, "{id}");
    }
}

#[test]
fn options_that_make_no_sense_for_a_kind_are_refused() {
    let complete = |kind, options: Value| {
        let wanted = Wanted { kind, version: "7.2".to_owned(), ..wanted(options) };
        wanted.complete(&Options { soak: Some(7), if_needed: Some(true), ..Options::default() })
    };
    for (kind, options) in [
        (OperationKind::Restart, json!({"reboot": "never"})),
        (OperationKind::Deploy, json!({"reboot": "always"})),
        (OperationKind::Upgrade, json!({"if_needed": true})),
        (OperationKind::Restart, json!({"soak": 1_000_000})),
    ] {
        assert!(complete(kind, options.clone()).is_err(), "{kind} {options}");
    }
    let upgrade = complete(OperationKind::Upgrade, json!({"reboot": "always"})).unwrap();
    assert_eq!((upgrade.options.soak, upgrade.options.if_needed), (Some(7), None));
    assert_eq!(complete(OperationKind::Restart, json!({})).unwrap().options.if_needed, Some(true));
}

/// Gives the cluster other members, as an operator does.
async fn set_members(fixture: &Fixture, hostset: Vec<String>) {
    let mut cluster = fixture.storage.get::<Cluster>("c1").await.unwrap();
    cluster.record.hostset = hostset;
    fixture.storage.transact(&Transaction::default().update(&cluster).unwrap()).await.unwrap();
}

/// Ends an operation of three hosts: the first done, the second failed for this reason, the third untouched.
async fn failed_operation(fixture: &Fixture, word: &'static str) {
    let (held, operation) = accepted(fixture, "o1", json!({"soak": 5})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    for index in [0, 1] {
        let change = |host: &mut HostProgress| host.step = Step::Verify;
        execution.save(index, change, &[]).await.unwrap();
    }
    execution.save(0, |host| host.step = Step::Done, &[]).await.unwrap();
    execution.give_up(1, &GiveUp::new(word, "no answer".to_owned())).await.unwrap();
    let Turn::End(status, reason) = execution.turn().await.unwrap() else { panic!("the end") };
    execution.end(status, &reason).await.unwrap();
}

async fn continued(fixture: &Fixture, id: &str, retry_failed: bool) -> Result<Wanted, String> {
    let wanted = crate::continuation::wanted(&fixture.storage, id, retry_failed).await;
    wanted.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_continued_operation_works_on_the_hosts_that_are_not_done() {
    let fixture = fixture(4).await;
    failed_operation(&fixture, "unhealthy").await;
    let hosts = |wanted: &Wanted| wanted.options.hosts.clone().unwrap();
    let wanted = continued(&fixture, "o1", true).await.unwrap();
    assert_eq!(hosts(&wanted), [address(1), address(2), address(3)]);
    assert_eq!(wanted.options.soak, Some(5), "the same options");
    set_members(&fixture, vec![address(0), address(1), address(2)]).await;
    let wanted = continued(&fixture, "o1", false).await.unwrap();
    assert_eq!(hosts(&wanted), [address(2)]);

    let plan = fixture.service.plan(&wanted).await.unwrap();
    let next = plan.operation("o2", &wanted, &Context::service("test"), "t".to_owned());
    let before = wanted.continues.as_ref();
    let held = fixture.service.write_down(plan, &next, before).await.unwrap();
    let [first, second] = [
        fixture.storage.get::<Operation>("o1").await.unwrap().record,
        fixture.storage.get::<Operation>("o2").await.unwrap().record,
    ];
    assert_eq!(
        (first.continued_by.as_deref(), second.continues.as_deref()),
        (Some("o2"), Some("o1"))
    );
    // The same again, from before the first was written down, makes no second one.
    held.release(Transaction::default()).await.unwrap();
    let plan = fixture.service.plan(&wanted).await.unwrap();
    let again = plan.operation("o3", &wanted, &Context::service("test"), "t".to_owned());
    let refused = fixture.service.write_down(plan, &again, before).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    for (id, why) in [("o1", "continued by o2"), ("o2", "in process"), ("o9", "no operation o9")] {
        let refused = continued(&fixture, id, true).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn nothing_is_continued_where_nothing_is_left() {
    let fixture = fixture(2).await;
    failed_operation(&fixture, "unhealthy").await;
    let refused = continued(&fixture, "o1", false).await.unwrap_err();
    assert!(refused.contains("no host left") && refused.contains("retry_failed"), "{refused}");
    set_members(&fixture, vec![address(0)]).await;
    let refused = continued(&fixture, "o1", true).await.unwrap_err();
    assert!(refused.contains("no host left"), "{refused}");
}

#[tokio::test]
async fn an_ended_operation_has_only_failed_hosts_in_process_and_the_untouched_are_skipped() {
    let fixture = fixture(3).await;
    failed_operation(&fixture, "unhealthy").await;
    let record = fixture.storage.get::<ClusterRestart>("c1").await.unwrap().record;
    assert_eq!((record.in_process, record.done), (vec![address(1)], vec![address(0)]));
    let operation = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    let untouched = &operation.untouched()[2];
    assert_eq!((untouched.step, untouched.address.clone()), (Step::Skipped, address(2)));
}

/// Writes down that the second host has come back.
async fn late(execution: &Execution<'_>) -> Returned {
    done_late(execution, 1, "b2").await.unwrap_or_else(|_| panic!("the store answers"))
}

#[tokio::test]
async fn a_host_that_returns_late_is_done_and_the_operation_stays_failed() {
    let fixture = fixture(2).await;
    failed_operation(&fixture, NOT_BACK).await;
    // The lease that has it looked for was written with the end.
    let held = fixture.service.take("late.o1").await.unwrap().expect("it is due").1;
    let operation = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    let mut execution = Execution::new(&fixture.service, &held, operation);
    execution.load().await.unwrap();
    assert!(
        crate::late::may_come_back(&execution.host(1))
            && !crate::late::may_come_back(&execution.host(0))
    );
    // Not while another operation of the cluster is in process.
    let lock = Lease { name: "operation.c1".to_owned(), ..crate::late::due("x") };
    fixture.storage.save(&lock).await.unwrap();
    assert_eq!(late(&execution).await, Returned::NotYet);
    fixture.storage.delete::<Lease>("operation.c1").await.unwrap();
    assert_eq!(late(&execution).await, Returned::Done);

    let id = HostProgress::id_of("o1", &address(1));
    let host = fixture.storage.get::<HostProgress>(&id).await.unwrap().record;
    assert_eq!((host.step, host.late, host.failure), (Step::Done, true, None));
    let record = fixture.storage.get::<ClusterRestart>("c1").await.unwrap().record;
    assert_eq!((record.in_process, record.done.len()), (vec![], 2));
    assert_eq!((record.status, record.failures), (OperationStatus::Failed, vec![]));
    let status = fixture.storage.get::<Host>(&address(1)).await.unwrap().record.status;
    assert_eq!(status, Status::Disassociated, "the status from before");
}
