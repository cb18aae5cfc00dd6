//! Tests of the executor's parts: races between two decisions, and records. Simulated hosts, an in-memory store and
//! bus, paused time; whole operations are in `tests/it`.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use host_access::{Deps, LogInLedger};
use model::{
    Address, Cluster, ClusterRestart, FailureReason, Freeze, Host, HostCreds, HostState, Lease,
    Network, Operation, OperationControl, OperationEvent, OperationHost, OperationKind,
    OperationStatus, Options, Stamp, Status, Step, Wanted,
};
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, Transaction, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;

mod alarm;
mod continuing;
mod done_hosts;

use super::*;
use crate::Config;
use crate::accept::{OperationRequest, begin, plan};
use crate::budget::Decision;
use crate::host_error::{HostFailure, may_come_back};
use crate::host_run::{Returned, done_late};
use crate::unfinished::Unfinished;
use crate::web::{MemoryServer, Web};

/// A cluster `c1` of hosts that are up.
struct Fixture {
    context: Context,
    storage: StorageClient,
    _folder: tempfile::TempDir,
}

fn address(number: usize) -> Address {
    format!("10.0.0.{}", number + 1).into()
}

async fn fixture(hosts: usize) -> Fixture {
    fixture_at(hosts, "2026-11-28T12:00:00Z".parse().unwrap()).await
}

/// One whose clock shows `start` now.
async fn fixture_at(count: usize, start: jiff::Timestamp) -> Fixture {
    let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
    let config = storage_svc::Config::new(folder.path().join("secret.key"));
    let config = config.or_handler(Handler::memory(Memory::default()));
    storage_svc::run(&bus, &config, &life).await.unwrap();
    let storage = StorageClient::new(bus.clone(), bus::Context::service("test"));
    let hosts = SimulatedHosts::default();
    for address in (0..count).map(address) {
        hosts.add(&address);
        let (status, creds) = (Status::Disassociated, HostCreds::new(&address));
        let host = Host { address, status, ..Host::default() };
        let transaction = Transaction::default().save(&host).unwrap().save(&creds).unwrap();
        storage.transact(&transaction).await.unwrap();
    }
    let (name, network) = ("c1".into(), Network::DEFAULT.to_owned());
    let hostset = (0..count).map(address).collect();
    let cluster = Cluster { name, network, hostset, ..Cluster::default() };
    storage.save(&cluster).await.unwrap();
    let clock = Clock::simulated(start);
    let deps = Deps {
        ledger: LogInLedger::new(&bus, clock.clone()),
        bus,
        clock,
        hosts: Arc::new(hosts),
        own_key: "key".into(),
        lease_ttl: lease::TTL,
    };
    let (web, own) = (Web::Memory(MemoryServer::default()), "the machine".to_owned());
    let context = Context::new(deps, Config::default(), web, own, &life).unwrap();
    Fixture { context, storage, _folder: folder }
}

fn request(options: Value) -> OperationRequest {
    OperationRequest {
        cluster: "c1".into(),
        kind: OperationKind::Restart,
        version: String::new(),
        options: serde_json::from_value(options).unwrap(),
        continues: None,
    }
}

/// An operation of that id, accepted; what is done with it is up to the test.
async fn accepted(fixture: &Fixture, id: &str, options: Value) -> (lease::Held, Operation) {
    let request = request(options);
    let plan = plan(&fixture.context, &request).await.unwrap();
    assert!(plan.refused.is_none());
    let now = fixture.context.deps.clock.stamp();
    let operation = plan.operation(id, &request, &bus::Context::service("test"), now);
    let held = begin(&fixture.context, plan, &operation, None).await.unwrap();
    (held, operation)
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_once_a_freeze_or_a_pause_is_acknowledged() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let journal = Journal::new(&fixture.context, &held, operation);
    let budget = Budget::new(&journal);
    // The way was free when it was looked at …
    let Action::Start(index, pass) = next_action(&journal, &budget).await.unwrap() else {
        panic!("its turn")
    };
    let (name, by, reason) = (Freeze::ALL.to_owned(), "ann".to_owned(), "floods".to_owned());
    fixture
        .storage
        .save(&Freeze { name, by, at: Stamp::default(), reason, restored: false })
        .await
        .unwrap();
    // … and is not any more when it is to be used.
    assert!(!journal.start(index, &pass).await.unwrap());
    assert_eq!(journal.steps(), [Step::Pending]);
    let Action::Wait(Some(Waiting { message: why, .. })) =
        next_action(&journal, &budget).await.unwrap()
    else {
        panic!("it waits")
    };
    assert!(why.contains("ann") && why.contains("floods"), "{why}");
    fixture.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();

    let Action::Start(index, pass) = next_action(&journal, &budget).await.unwrap() else {
        panic!("its turn")
    };
    let control =
        |wanted| OperationControl { id: "o1".to_owned(), wanted, ..OperationControl::default() };
    fixture.storage.save(&control(Wanted::Pause)).await.unwrap();
    assert!(!journal.start(index, &pass).await.unwrap());
    fixture.storage.save(&control(Wanted::Run)).await.unwrap();
    let Action::Start(index, pass) = next_action(&journal, &budget).await.unwrap() else {
        panic!("its turn")
    };
    assert!(journal.start(index, &pass).await.unwrap());
    assert_eq!(journal.steps(), [Step::Probe]);
    fixture.storage.save(&control(Wanted::Abort)).await.unwrap();
    assert!(
        matches!(next_action(&journal, &budget).await.unwrap(), Action::Wait(None)),
        "it is under way"
    );
    journal.skip(0, "aborted").await.unwrap();
    let Action::End(status, _) = next_action(&journal, &budget).await.unwrap() else {
        panic!("the end")
    };
    assert_eq!(status, OperationStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn member_that_is_removed_after_the_decision_is_not_started() {
    let fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let journal = Journal::new(&fixture.context, &held, operation);
    let budget = Budget::new(&journal);
    let Action::Start(index, pass) = next_action(&journal, &budget).await.unwrap() else {
        panic!("its turn")
    };
    let mut cluster = fixture.storage.get::<Cluster>("c1").await.unwrap();
    cluster.record.hostset.retain(|member| *member != journal.operation.hosts[index]);
    fixture.storage.save(&cluster.record).await.unwrap();
    assert!(!journal.start(index, &pass).await.unwrap());
    let Action::Start(next, _) = next_action(&journal, &budget).await.unwrap() else {
        panic!("the turn of the other host")
    };
    assert_ne!(next, index);
    assert_eq!(journal.steps()[index], Step::Skipped);
}

/// Starts the host whose turn it is, as far as the step `reboot`; its index.
async fn at_reboot(journal: &Journal<'_>, budget: &Budget<'_>) -> usize {
    let Action::Start(index, pass) = next_action(journal, budget).await.unwrap() else {
        panic!("its turn")
    };
    assert!(journal.start(index, &pass).await.unwrap());
    journal.save(index, |host| host.step = Step::Reboot, &[]).await.unwrap();
    index
}

async fn decided(budget: &Budget<'_>, index: usize) -> Decision {
    let answering = budget.answering().await.unwrap();
    budget.decide(index, &answering).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn ended_operations_are_removed_but_the_newest() {
    let fixture = fixture(1).await;
    for id in ["o1", "o2", "o3"] {
        let (held, operation) = accepted(&fixture, id, json!({})).await;
        let journal = Journal::new(&fixture.context, &held, operation);
        let budget = Budget::new(&journal);
        let Action::Start(0, pass) = next_action(&journal, &budget).await.unwrap() else {
            panic!("its turn")
        };
        assert!(journal.start(0, &pass).await.unwrap());
        let status = if id == "o3" { continue } else { OperationStatus::Finished };
        journal.skip(0, "left").await.unwrap();
        journal.end(status, "").await.unwrap();
        assert!(fixture.storage.find::<Lease>("operation.c1").await.unwrap().is_none());
    }
    crate::history::prune(&fixture.storage, &"c1".into(), 1).await.unwrap();
    let left = fixture.storage.list::<Operation>().await.unwrap();
    let left: Vec<_> = left.iter().map(|left| left.record.id.as_str()).collect();
    assert_eq!(left, ["o2", "o3"], "the newest that has ended, and what is in process");
    for (id, there) in [("o1", false), ("o2", true), ("o3", true)] {
        let event =
            fixture.storage.find::<OperationEvent>(&OperationEvent::id_of(id, 1)).await.unwrap();
        assert_eq!(event.is_some(), there, "{id}");
    }
}

#[test]
fn options_that_make_no_sense_for_a_kind_are_refused() {
    let complete = |kind, options: Value| {
        let request = OperationRequest { kind, version: "7.2".to_owned(), ..request(options) };
        request.complete(&Options { soak: Some(7), if_needed: Some(true), ..Options::default() })
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
async fn set_members(fixture: &Fixture, hostset: Vec<Address>) {
    let mut cluster = fixture.storage.get::<Cluster>("c1").await.unwrap();
    cluster.record.hostset = hostset;
    fixture.storage.transact(&Transaction::default().update(&cluster).unwrap()).await.unwrap();
}
