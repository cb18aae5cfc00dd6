//! The executor on a storage service of its own. In place of a host there is only a listener, or an `sshd` with a
//! stand-in for the rest of it ([`stand_in`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host_access::{Ansible, Deps, LogInLedger, RunDir, Ssh};
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
mod booted;
mod continuing;
mod done_hosts;
mod go_ahead;
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
        hosts: Arc::new(Ssh::new(
            RunDir::create(folder.path(), "x").unwrap(),
            Ansible::new(playbooks),
        )),
        own_key,
        // No test has the clock go on for so long.
        lease_ttl: Duration::from_hours(24),
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
