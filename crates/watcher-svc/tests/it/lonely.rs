//! One watcher and one host, which need not even be there.

use std::time::Duration;

use bus::{Context, topology};
use model::{
    Cluster, Failing, Host, HostCreds, HostState, Lease, Operation, OperationHost, Status, Step,
};
use serde_json::json;
use simulated_hosts::LogIn;
use storage_client::Transaction;
use tokio::time::{Instant, sleep};
use watcher_svc::Config;

use crate::fixture::{Fixture, Watcher, config, eventually, gaps};

const ADDRESS: &str = "10.0.0.1";
const OTHER: &str = "10.0.0.2";

/// A fixture whose host at [`ADDRESS`] is active, and accepts connections without ever saying anything.
async fn silent() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Active).await;
    fixture.hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Silent);
    fixture
}

/// Asks a watcher for a check.
async fn ask(watcher: &Watcher, address: &str, last_check: &str) {
    let record = json!({"address": address, "last_check": last_check});
    watcher.bus.notify(topology::WATCH, &record, &Context::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_unreachable_and_waited_for_no_longer_than_told() {
    let fixture = silent().await;
    let quick = json!({"retry_pauses": [1], "connect_timeout": 4});
    let _watcher = fixture.watch(config(quick)).await;
    fixture.until(ADDRESS, Status::Failed).await;
    let state = fixture.state(ADDRESS).await;
    assert_eq!((state.reason.as_str(), state.previous_status), ("unreachable", Status::Active));
    assert!(state.detail.contains("no answer within 4s"), "{}", state.detail);
    assert_eq!(state.failing, Failing { reason: "unreachable".to_owned(), count: 3 });
    // The timeout, and the pause, which is a quarter shorter or longer.
    let pauses = gaps(&fixture.probes(ADDRESS));
    assert!(pauses.iter().all(|pause| (4.7..5.4).contains(pause)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_turns_connections_away_keeps_its_status() {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Active).await;
    // As sshd does when MaxStartups is reached.
    fixture.hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Throttled);
    let _watcher = fixture.watch(Config::default()).await;
    fixture.probed(ADDRESS, 4).await;
    sleep(Duration::from_secs(1)).await;
    let host = fixture.host(ADDRESS).await;
    assert_eq!((host.status, host.last_check.len()), (Status::Active, 26));
    assert_eq!(fixture.state(ADDRESS).await, HostState::default());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_deleted_during_its_check_is_not_made_again() {
    let fixture = silent().await;
    let watcher = fixture.watch(config(json!({"interval": 3600}))).await;
    ask(&watcher, ADDRESS, "").await;
    fixture.probed(ADDRESS, 1).await;
    fixture.delete::<Host>(ADDRESS).await;
    fixture.delete::<HostCreds>(ADDRESS).await;
    // The check ends after the timeout of ten seconds.
    sleep(Duration::from_mins(1)).await;
    assert!(fixture.storage.find::<Host>(ADDRESS).await.unwrap().is_none());
    assert!(fixture.storage.find::<HostState>(ADDRESS).await.unwrap().is_none());
    assert_eq!(fixture.probes(ADDRESS).len(), 1);
}

/// An operation of the cluster `c1`, under its lease, in which the host is at this step.
async fn at_step(fixture: &Fixture, id: &str, step: Step) {
    let progress = OperationHost { step, ..OperationHost::pending(id, ADDRESS) };
    let operation = json!({
        "id": id, "cluster": "c1", "kind": "restart", "started_at": "", "hosts": [ADDRESS, OTHER],
    });
    let operation: Operation = serde_json::from_value(operation).unwrap();
    let (name, owner) = ("operation.c1".into(), "executor".into());
    let lease = Lease { name, owner, counter: 1, ttl_ms: 15_000, operation: id.to_owned() };
    let all = Transaction::default().save(&progress).unwrap().save(&operation).unwrap();
    fixture.storage.transact(&all.save(&lease).unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_the_hosts_under_way_in_an_operation_are_left_alone() {
    let fixture = Fixture::start().await;
    let (name, network) = ("c1".into(), "default".to_owned());
    let hostset = vec![ADDRESS.into(), OTHER.into()];
    let cluster = Cluster { name, network, hostset, ..Cluster::default() };
    fixture.storage.save(&cluster).await.unwrap();
    at_step(&fixture, "o1", Step::Reboot).await;
    fixture.register_all(&[ADDRESS, OTHER], Status::Active).await;
    fixture.hosts.power_off(OTHER);
    let _watcher = fixture.watch(Config::default()).await;
    // A member whose turn has not come is watched: it fails, and is checked again and again.
    fixture.until(OTHER, Status::Failed).await;
    sleep(Duration::from_mins(10)).await;
    assert!(fixture.probes(OTHER).len() >= 13);
    assert_eq!(fixture.probes(ADDRESS), [], "it is not checked");
    // Its turn is over, the operation goes on.
    at_step(&fixture, "o1", Step::Done).await;
    fixture.checked(ADDRESS).await;
    // Its turn in the next operation is noticed at once.
    at_step(&fixture, "o2", Step::Probe).await;
    let checked = fixture.probes(ADDRESS);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(fixture.probes(ADDRESS), checked);
}

#[tokio::test(start_paused = true)]
async fn a_host_under_investigation_is_left_to_the_investigator() {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Investigating).await;
    fixture.register(OTHER, Status::Active).await;
    let watcher = fixture.watch(Config::default()).await;
    ask(&watcher, ADDRESS, "").await;
    fixture.probed(OTHER, 4).await;
    assert_eq!(fixture.probes(ADDRESS), []);
    assert_eq!(fixture.host(ADDRESS).await.last_check, "");
    // Set up: from now on it is watched.
    let ready = Host { status: Status::Active, ..fixture.host(ADDRESS).await };
    fixture.storage.save(&ready).await.unwrap();
    fixture.checked(ADDRESS).await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_heard_and_nonsense_is_not() {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Active).await;
    let watcher = fixture.watch(config(json!({"interval": 3600}))).await;
    for nonsense in [json!({}), json!(null), json!({"address": "-x"}), json!({"address": 7})] {
        let asked = watcher.bus.request(topology::WATCH, &nonsense, &Context::default()).await;
        assert_eq!(asked.unwrap_err().kind(), bus::Kind::InvalidParams, "{nonsense}");
    }
    ask(&watcher, "10.255.255.255", "").await;
    ask(&watcher, ADDRESS, "").await;
    let first = eventually("it is checked", async || {
        Some(fixture.host(ADDRESS).await.last_check).filter(|last| !last.is_empty())
    })
    .await;
    // It has been checked since then.
    let stale = json!({"address": ADDRESS, "last_check": "2026-11-21T23:40:21.397282"});
    watcher.bus.request(topology::WATCH, &stale, &Context::default()).await.unwrap();
    assert_eq!(fixture.probes(ADDRESS).len(), 1);
    // What the sender knows is the newest.
    ask(&watcher, ADDRESS, &first).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.probes(ADDRESS).len(), 2);
    fixture.checked(ADDRESS).await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_stops_during_a_check_leaves_no_trace() {
    let fixture = silent().await;
    let watcher = fixture.watch(config(json!({"interval": 3600, "connect_timeout": 60}))).await;
    ask(&watcher, ADDRESS, "").await;
    fixture.probed(ADDRESS, 1).await;
    let begun = Instant::now();
    watcher.life.shutdown(Duration::from_secs(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "it does not wait for the host");
    assert_eq!(fixture.host(ADDRESS).await.last_check, "", "still due");
    assert_eq!(fixture.storage.list::<Lease>().await.unwrap(), [], "the others need not wait");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_waits_for_the_storage_service() {
    let fixture = Fixture::without_storage();
    let _watcher = fixture.watch(Config::default()).await;
    sleep(Duration::from_secs(570)).await;
    let count = |words: &str| fixture.log().lines().filter(|line| line.contains(words)).count();
    let begins = "the storage service is unavailable: no replica of the storage service takes";
    // Hundreds of attempts.
    assert_eq!((count("WARN"), count(begins)), (1, 1), "{}", fixture.log());
    fixture.start_storage().await;
    fixture.register(ADDRESS, Status::Active).await;
    fixture.checked(ADDRESS).await;
    let ends = "the storage service is available again after 9 min";
    assert_eq!((count("WARN"), count(ends)), (1, 1), "{}", fixture.log());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_was_taken_for_dead_comes_back() {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Active).await;
    let _watcher = fixture.watch(Config::default()).await;
    fixture.checked(ADDRESS).await;
    let lease = fixture.storage.list::<Lease>().await.unwrap().remove(0);
    fixture.delete::<Lease>(&lease.record.name).await;
    eventually("it holds its lease again", async || {
        let again = fixture.storage.find::<Lease>(&lease.record.name).await.unwrap();
        again.filter(|again| again.revision > lease.revision)
    })
    .await;
    fixture.checked(ADDRESS).await;
}
